package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"troy/internal/durable"
	"troy/server/protocol"
	"troy/server/rooms"
	"troy/server/state"
)

const (
	bodyMost   = 64 << 10
	changeTime = 20 * time.Second // below the deadlines that package server gives a request
)

// Prefix is where the calls lie under the server's base URL.
const Prefix = "/v1/admin/"

// HostDetail is one machine with its history and logs.
type HostDetail struct {
	rooms.Host
	CheckIn *protocol.CheckIn `json:"checkin,omitempty"`
	Order   *protocol.Order   `json:"order,omitempty"`
	Report  *state.Report     `json:"report,omitempty"`
	History []state.Event     `json:"history"`
	Log     string            `json:"log"`      // tail of the last report
	FailLog string            `json:"fail_log"` // tail of the last failed report
}

// Stop asks that no machine of a room begins. Why "" lets them begin again.
type Stop struct {
	Room string `json:"room"`
	Why  string `json:"why"`
}

// Assign names the machine that shows a code.
type Assign struct {
	Code string `json:"code"`
	Name string `json:"name"`
	Room string `json:"room"`
}

// Which names a machine, or a room.
type Which struct {
	Room string `json:"room,omitempty"`
	Host string `json:"host,omitempty"`
}

// Woken says how many machines were called.
type Woken struct {
	Machines int `json:"machines"`
}

// Revision counts changes.
type Revision struct {
	Revision uint64 `json:"revision"`
}

// LoadToken reads the token in a file, or draws one and makes the file.
func LoadToken(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		if t := strings.TrimSpace(string(b)); len(t) >= 32 {
			return t, nil
		}
		return "", fmt.Errorf("%s holds no token: remove it, and a new one is made", path)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	raw := make([]byte, 32)
	rand.Read(raw)
	t := base64.RawURLEncoding.EncodeToString(raw)
	return t, durable.WriteFile(path, []byte(t+"\n"), 0o600)
}

// handler answers the calls.
type handler struct {
	k   *rooms.Keeper
	mux *http.ServeMux
}

// Open answers every caller: for one whose right was checked before.
func Open(k *rooms.Keeper) http.Handler {
	h := &handler{k, http.NewServeMux()}
	h.get("status", func(*http.Request) (any, error) { return k.Status(), nil })
	h.get("hosts", func(r *http.Request) (any, error) { return k.Hosts(r.URL.Query().Get("room")), nil })
	h.get("hosts/{id}", func(r *http.Request) (any, error) { return h.host(r.PathValue("id")) })
	h.get("nights", h.nights)
	h.get("previous", func(r *http.Request) (any, error) { return k.Previous(r.URL.Query().Get("room")) })
	h.get("changes", h.changes)
	post(h, "estimate", func(ctx context.Context, p rooms.Promotion) (any, error) { return k.Estimate(ctx, p) })
	post(h, "promote", func(ctx context.Context, p rooms.Promotion) (any, error) { return k.Promote(ctx, p) })
	post(h, "rollback", func(ctx context.Context, p rooms.Promotion) (any, error) { return k.Rollback(ctx, p) })
	post(h, "stop", func(_ context.Context, s Stop) (any, error) {
		return struct{}{}, k.Stop(s.Room, protocol.Clean(s.Why, 200))
	})
	post(h, "assign", func(_ context.Context, a Assign) (any, error) {
		_, err := k.Assign(a.Code, a.Name, a.Room)
		return struct{}{}, err
	})
	post(h, "forget", func(_ context.Context, w Which) (any, error) { return struct{}{}, h.forget(w) })
	post(h, "wake", func(ctx context.Context, w Which) (any, error) {
		n, err := k.WakeNow(ctx, w.Room, w.Host)
		return Woken{n}, err
	})
	post(h, "reload", func(context.Context, struct{}) (any, error) {
		k.Reload(true)
		return struct{}{}, k.LabError()
	})
	return h.mux
}

// NewHandler answers callers that have the token.
func NewHandler(k *rooms.Keeper, token string) http.Handler {
	open := Open(k)
	want := sha256.Sum256([]byte("Bearer " + token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := sha256.Sum256([]byte(r.Header.Get("Authorization")))
		if token == "" || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			answer(w, http.StatusUnauthorized, protocol.Failure{Error: "the admin's token is needed"})
			return
		}
		open.ServeHTTP(w, r)
	})
}

func (h *handler) get(name string, call func(r *http.Request) (any, error)) {
	h.mux.HandleFunc("GET "+Prefix+name, func(w http.ResponseWriter, r *http.Request) {
		v, err := call(r)
		finish(w, v, err)
	})
}

// post reads one JSON value with known members and hands it to call.
func post[T any](h *handler, name string, call func(ctx context.Context, in T) (any, error)) {
	h.mux.HandleFunc("POST "+Prefix+name, func(w http.ResponseWriter, r *http.Request) {
		var in T
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyMost))
		d.DisallowUnknownFields()
		err := d.Decode(&in)
		if err == nil {
			if _, more := d.Token(); more != io.EOF {
				err = errors.New("more than one value")
			}
		}
		if err != nil {
			finish(w, nil, fmt.Errorf("%w: JSON: %w", rooms.ErrInvalid, err))
			return
		}
		v, err := call(r.Context(), in)
		finish(w, v, err)
	})
}

func finish(w http.ResponseWriter, v any, err error) {
	if err == nil {
		answer(w, http.StatusOK, v)
		return
	}
	answer(w, statusOf(err), protocol.Failure{Error: strings.ReplaceAll(err.Error(), "\n", "; ")})
}

func statusOf(err error) int {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, rooms.ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, rooms.ErrNotFound), errors.Is(err, state.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, state.ErrFull):
		return http.StatusInsufficientStorage
	}
	return http.StatusInternalServerError
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // who asked may be gone
}

func (h *handler) host(id string) (any, error) {
	host, m, err := h.k.Host(id)
	if err != nil {
		return nil, err
	}
	d := HostDetail{Host: *host, History: []state.Event{}}
	if m != nil {
		d.CheckIn, d.Order, d.Report = &m.CheckIn, &m.Order, m.Report
		d.History = append(d.History, m.History...)
		d.Log, d.FailLog, err = h.k.Log(m.Key)
	}
	return d, err
}

func (h *handler) forget(w Which) error {
	host, _, err := h.k.Host(w.Host)
	if err != nil {
		return err
	}
	return h.k.Forget(host.Key)
}

func (h *handler) nights(r *http.Request) (any, error) {
	days := 30
	if text := r.URL.Query().Get("days"); text != "" {
		var err error
		if days, err = strconv.Atoi(text); err != nil || days < 1 || days > 10_000 {
			return nil, fmt.Errorf("%w: days %q", rooms.ErrInvalid, text)
		}
	}
	list, err := h.k.Nights(time.Now().AddDate(0, 0, -days))
	return append([]state.Night{}, list...), err
}

// changes waits for something new.
func (h *handler) changes(r *http.Request) (any, error) {
	after, _ := strconv.ParseUint(r.URL.Query().Get("after"), 10, 64) // nonsense is 0: now
	ctx, cancel := context.WithTimeout(r.Context(), changeTime)
	defer cancel()
	rev, err := h.k.Changed(ctx, after)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return Revision{rev}, err
}
