package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"troy/server/jsonhttp"
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

// handler answers the calls.
type handler struct {
	l   *Local
	mux *http.ServeMux
}

// NewHandler answers callers that show the token.
func NewHandler(k *rooms.Keeper, token Token) http.Handler {
	all := Open(k)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !token.admits(r.Header.Get("Authorization")) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			jsonhttp.Write(w, http.StatusUnauthorized, protocol.Failure{Error: "the admin's token is needed: 'troy token show' on the server prints it"})
			return
		}
		all.ServeHTTP(w, r)
	})
}

// Open answers every caller: it is for those that were let through before (Listen).
func Open(k *rooms.Keeper) http.Handler {
	l := NewLocal(k)
	h := &handler{l, http.NewServeMux()}
	h.get("status", func(r *http.Request) (any, error) { return l.Status(r.Context()) })
	h.get("hosts", func(r *http.Request) (any, error) { return l.Hosts(r.Context(), r.URL.Query().Get("room")) })
	h.get("hosts/{id}", func(r *http.Request) (any, error) { return l.Host(r.Context(), r.PathValue("id")) })
	h.get("nights", h.nights)
	h.get("previous", func(r *http.Request) (any, error) { return l.Previous(r.Context(), r.URL.Query().Get("room")) })
	h.get("changes", h.changes)
	post(h, callEstimate, func(ctx context.Context, p rooms.Promotion) (any, error) { return l.Estimate(ctx, p) })
	post(h, "promote", func(ctx context.Context, p rooms.Promotion) (any, error) { return l.Promote(ctx, p) })
	post(h, "rollback", func(ctx context.Context, p rooms.Promotion) (any, error) { return l.Rollback(ctx, p) })
	post(h, "stop", func(ctx context.Context, s Stop) (any, error) { return struct{}{}, l.Stop(ctx, s.Room, s.Why) })
	post(h, "assign", func(ctx context.Context, a Assign) (any, error) {
		return struct{}{}, l.Assign(ctx, a.Code, a.Name, a.Room)
	})
	post(h, "confirm", func(ctx context.Context, c Confirm) (any, error) {
		return struct{}{}, l.Confirm(ctx, c.Host, c.Key)
	})
	post(h, "forget", func(ctx context.Context, f Forget) (any, error) {
		n, err := l.Forget(ctx, f)
		return Forgotten{n}, err
	})
	post(h, "verify", func(ctx context.Context, v Verify) (any, error) {
		n, err := l.Verify(ctx, v.Room, v.Host, v.Adopt)
		return Woken{n}, err
	})
	post(h, "setup", func(ctx context.Context, e EndSetup) (any, error) { return l.EndSetup(ctx, e.Host, e.Leave) })
	post(h, "wake", func(ctx context.Context, w Which) (any, error) {
		n, err := l.Wake(ctx, w.Room, w.Host)
		return Woken{n}, err
	})
	post(h, "reload", func(context.Context, struct{}) (any, error) {
		k.Reload(true)
		return struct{}{}, k.LabError()
	})
	h.mux.HandleFunc("/", h.missing)
	return h.mux
}

// missing answers what is no call, with a Failure as all others.
func (h *handler) missing(w http.ResponseWriter, r *http.Request) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		if _, pattern := h.mux.Handler(&http.Request{Method: method, URL: r.URL, Host: r.Host}); pattern != "/" {
			w.Header().Set("Allow", method)
			jsonhttp.Fail(w, http.StatusMethodNotAllowed, fmt.Errorf("%s takes %s, not %s", r.URL.Path, method, r.Method))
			return
		}
	}
	jsonhttp.Fail(w, http.StatusNotFound, fmt.Errorf("%s is no call of the admin's", r.URL.Path))
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
		err := jsonhttp.Read(http.MaxBytesReader(w, r.Body, bodyMost), &in)
		if err != nil {
			finish(w, nil, fmt.Errorf("%w: %w", rooms.ErrInvalid, err))
			return
		}
		v, err := call(r.Context(), in)
		finish(w, v, err)
	})
}

func finish(w http.ResponseWriter, v any, err error) {
	if err != nil {
		jsonhttp.Fail(w, statusOf(err), err)
		return
	}
	jsonhttp.Write(w, http.StatusOK, v)
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

func (h *handler) nights(r *http.Request) (any, error) {
	days := 30
	if text := r.URL.Query().Get("days"); text != "" {
		var err error
		if days, err = strconv.Atoi(text); err != nil || days < 1 || days > 10_000 {
			return nil, fmt.Errorf("%w: days %q", rooms.ErrInvalid, text)
		}
	}
	return h.l.Nights(r.Context(), days)
}

// changes waits for something new.
func (h *handler) changes(r *http.Request) (any, error) {
	after, _ := strconv.ParseUint(r.URL.Query().Get("after"), 10, 64) // nonsense is 0: now
	ctx, cancel := context.WithTimeout(r.Context(), changeTime)
	defer cancel()
	rev, err := h.l.k.Changed(ctx, after)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return Revision{rev}, err
}
