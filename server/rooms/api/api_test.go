package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/internal/tlskey"
	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/rooms"
	"troy/server/servedir"
	"troy/server/state"
)

const labText = `format: 1
zone: UTC
images: [win11]
defaults: {image: win11, always: true}
rooms: {test: , B204: {after: test}}
hosts:
  - {name: b204-1, room: B204, mac: "52:54:00:00:02:01"}
`

// secret is a token.
const secret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0MTI"

// tokenOf is a file that holds the secret.
func tokenOf(t *testing.T) Token {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(path, []byte(secret+"\n"), 0o600))
	return Token(path)
}

type sizes struct{}

func (sizes) Size(_ context.Context, _ string, _, want int) (rooms.Size, error) {
	if want > 3 {
		return rooms.Size{}, rooms.ErrNotFound
	}
	return rooms.Size{Fetch: 1000, Write: 2000}, nil
}

func newKeeper(t *testing.T) *rooms.Keeper {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lab.yaml")
	if err := os.WriteFile(path, []byte(labText), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := lab.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	st, err := state.Open(path+".db", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	k, err := rooms.New(&rooms.Options{Lab: f, State: st, Sizes: sizes{}})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func checkIn(t *testing.T, k *rooms.Keeper, mac string, version int) protocol.Order {
	t.Helper()
	o, err := k.Order(t.Context(), protocol.Peer{}, protocol.CheckIn{Protocol: protocol.Version, Machine: protocol.Machine{Ports: []protocol.Port{{MAC: mac}}}, Image: "win11", Version: version})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestAdmin does an admin's work on both implementations.
func TestAdmin(t *testing.T) {
	for name, open := range map[string]func(t *testing.T, k *rooms.Keeper) Admin{
		"client": func(t *testing.T, k *rooms.Keeper) Admin {
			web := httptest.NewTLSServer(NewHandler(k, tokenOf(t)))
			t.Cleanup(web.Close)
			return clientOf(web, secret)
		},
		"socket": func(t *testing.T, k *rooms.Keeper) Admin {
			dir := servedir.Of(t.TempDir())
			must(t, dir.Make())
			serveSocket(t, dir, Open(k))
			return NewLocalClient(dir)
		},
		"local": func(_ *testing.T, k *rooms.Keeper) Admin { return NewLocal(k) },
	} {
		t.Run(name, func(t *testing.T) {
			k := newKeeper(t)
			a := open(t, k)
			code := checkIn(t, k, "52:54:00:00:09:09", 1).Code
			if err := a.Assign(t.Context(), code, "test-1", "test"); err != nil {
				t.Fatal(err)
			}
			testPlanner(t, k, a)
			report := protocol.Report{Protocol: protocol.Version, Machine: protocol.Machine{Ports: []protocol.Port{{MAC: "52:54:00:00:09:09"}}}, Outcome: protocol.OutcomeFailed, Message: "why", Log: "lines"}
			if err := k.Report(t.Context(), protocol.Peer{}, report); err != nil {
				t.Fatal(err)
			}
			testViewer(t, a)
			testHistorian(t, a)
			testOperator(t, a)
			testForgetter(t, k, a)
		})
	}
}

// testPlanner gives the room of the one machine two versions.
func testPlanner(t *testing.T, k *rooms.Keeper, a Planner) {
	t.Helper()
	e, err := a.Estimate(t.Context(), rooms.Promotion{Room: "test", Version: 2})
	if err != nil || e.Machines != 1 || e.Fetch != 1000 || !e.Fits {
		t.Errorf("estimate: %+v, %v", e, err)
	}
	for v := 1; v <= 2; v++ {
		if target, err := a.Promote(t.Context(), rooms.Promotion{Room: "test", Version: v, By: "me"}); err != nil || target.Version != v || target.By != "me" {
			t.Fatalf("promote: %+v, %v", target, err)
		}
	}
	if o := checkIn(t, k, "52:54:00:00:09:09", 1); version(&o) != 2 || !begins(&o) {
		t.Errorf("%+v", o)
	}
	for what, c := range map[string]struct {
		p    rooms.Promotion
		want error
	}{
		"a version that is not there": {rooms.Promotion{Room: "test", Version: 9}, rooms.ErrNotFound},
		"a room that is not there":    {rooms.Promotion{Room: "B999", Version: 1}, rooms.ErrNotFound},
		"a version below 0":           {rooms.Promotion{Room: "test", Version: -1}, rooms.ErrInvalid},
	} {
		_, err1 := a.Estimate(t.Context(), c.p)
		_, err2 := a.Promote(t.Context(), c.p)
		_, err3 := a.Rollback(t.Context(), c.p)
		for _, err := range []error{err1, err2, err3} {
			if !errors.Is(err, c.want) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}

func testViewer(t *testing.T, a Viewer) {
	t.Helper()
	if s, err := a.Status(t.Context()); err != nil || len(s.Rooms) != 2 || s.Rooms[1].Counts[rooms.PhaseFailed] != 1 || len(s.Unknown) != 0 {
		t.Errorf("status: %+v, %v", s, err)
	}
	if list, err := a.Hosts(t.Context(), "test"); err != nil || len(list) != 1 || list[0].Error != "why" || list[0].Phase != rooms.PhaseFailed {
		t.Errorf("hosts: %+v, %v", list, err)
	}
	if list, err := a.Hosts(t.Context(), ""); err != nil || len(list) != 2 {
		t.Errorf("all hosts: %+v, %v", list, err)
	}
	for _, id := range []string{"test-1", "52:54:00:00:09:09"} {
		if d, err := a.Host(t.Context(), id); err != nil || d.Log != "lines" || d.FailLog != "lines" || len(d.History) < 3 || d.Report.Message != "why" {
			t.Errorf("host %s: %+v, %v", id, d, err)
		}
	}
	if d, err := a.Host(t.Context(), "b204-1"); err != nil || d.History == nil || d.CheckIn != nil {
		t.Errorf("a host that never came: %+v, %v", d, err)
	}
	if _, err := a.Hosts(t.Context(), "TYPO"); !errors.Is(err, rooms.ErrNotFound) {
		t.Errorf("hosts of a room that is not there: %v", err)
	}
	if _, err := a.Host(t.Context(), "x"); !errors.Is(err, rooms.ErrNotFound) {
		t.Errorf("a host that is not there: %v", err)
	}
}

func testHistorian(t *testing.T, a Admin) {
	t.Helper()
	if n, err := a.Nights(t.Context(), 5); err != nil || n == nil || len(n) != 0 {
		t.Errorf("nights: %+v, %v", n, err)
	}
	if p, err := a.Previous(t.Context(), "test"); err != nil || p.Version != 1 {
		t.Errorf("previous: %+v, %v", p, err)
	}
	if p, err := a.Rollback(t.Context(), rooms.Promotion{Room: "test"}); err != nil || p.Version != 1 || !p.Rollback {
		t.Errorf("rollback: %+v, %v", p, err)
	}
	if _, err := a.Previous(t.Context(), "B204"); !errors.Is(err, rooms.ErrNotFound) {
		t.Errorf("nothing before: %v", err)
	}
}

func testOperator(t *testing.T, a Admin) {
	t.Helper()
	for _, why := range []string{"because\n", ""} {
		if err := a.Stop(t.Context(), "test", why); err != nil {
			t.Error(err)
		}
		s, err := a.Status(t.Context())
		if err != nil || strings.Contains(s.Rooms[1].Why, "because") != (why != "") || strings.Contains(s.Rooms[1].Why, "\n") {
			t.Errorf("status: %+v, %v", s, err)
		}
	}
	if err := a.Stop(t.Context(), "test", " \n"); !errors.Is(err, rooms.ErrInvalid) {
		t.Errorf("a blank reason: %v", err)
	}
	if _, err := a.Wake(t.Context(), "B204", ""); !errors.Is(err, rooms.ErrInvalid) {
		t.Errorf("wake without a waker: %v", err)
	}
	for what, err := range map[string]error{
		"room": a.Stop(t.Context(), "B999", "x"), "code": a.Assign(t.Context(), "x", "y", "test"),
		"host": a.Confirm(t.Context(), "nobody", "key"),
	} {
		if !errors.Is(err, rooms.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// testForgetter forgets the one machine that is known, and then strangers.
func testForgetter(t *testing.T, k *rooms.Keeper, a Forgetter) {
	t.Helper()
	for range 2 {
		checkIn(t, k, "52:54:00:00:09:08", 1)
		checkIn(t, k, "52:54:00:00:09:07", 1)
		for _, c := range []struct {
			f    Forget
			n    int
			want error
		}{
			{Forget{Host: "x"}, 0, rooms.ErrNotFound}, {Forget{Host: "b204-1"}, 0, rooms.ErrNotFound}, {Forget{}, 0, rooms.ErrNotFound},
			{Forget{Host: "test-1", Strangers: true}, 0, rooms.ErrInvalid},
			{Forget{Host: "52:54:00:00:09:08"}, 1, nil}, {Forget{Host: "52:54:00:00:09:08"}, 0, rooms.ErrNotFound},
			{Forget{Strangers: true}, 1, nil}, {Forget{Strangers: true}, 0, nil},
		} {
			if n, err := a.Forget(t.Context(), c.f); n != c.n || !errors.Is(err, c.want) {
				t.Errorf("%+v: %d, %v", c.f, n, err)
			}
		}
	}
	if s := k.Status(); len(s.Unknown) != 0 || s.Rooms[1].Machines != 1 {
		t.Errorf("left are %+v", s)
	}
}

// clientOf is a client that takes the server by its key.
func clientOf(web *httptest.Server, token string) *Client {
	return NewClient(web.URL, token, tlskey.Client(func() []string { return []string{tlskey.Of(web.Certificate())} }, nil))
}

// TestTokenStays: the token is told to no server but the one that is known by its key.
func TestTokenStays(t *testing.T) {
	told := 0
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			told++
		}
	})
	plain, other := httptest.NewServer(h), httptest.NewUnstartedServer(h)
	other.Config.ErrorLog = log.New(io.Discard, "", 0)
	other.StartTLS()
	moved := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	for _, s := range []*httptest.Server{plain, other, moved} {
		t.Cleanup(s.Close)
	}
	none := tlskey.Client(func() []string { return nil }, nil)
	for name, c := range map[string]struct {
		client *Client
		want   error // nil: any
	}{
		"by plain HTTP": {NewClient(plain.URL, secret, none), ErrPlain},
		"another key":   {NewClient(other.URL, secret, none), tlskey.ErrPin},
		"led elsewhere": {clientOf(moved, secret), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.client.Ping(t.Context()); err == nil || errors.Is(err, ErrDown) || !errors.Is(err, c.want) && c.want != nil {
				t.Errorf("Ping = %v", err)
			}
			if told != 0 {
				t.Error("the token was told")
			}
		})
	}
}

// TestPing: no answer is another error than a wrong token.
func TestPing(t *testing.T) {
	web := httptest.NewTLSServer(NewHandler(newKeeper(t), tokenOf(t)))
	defer web.Close()
	c := clientOf(web, secret)
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := clientOf(web, "other").Ping(t.Context()); err == nil || errors.Is(err, ErrDown) {
		t.Errorf("the wrong token: %v", err)
	}
	web.Close()
	if err := c.Ping(t.Context()); !errors.Is(err, ErrDown) {
		t.Errorf("no server: %v", err)
	}
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrDown) {
		t.Errorf("no server: %v", err)
	}
}

// TestWhoMay: without the token nothing is told and nothing done, and bad requests are refused.
func TestWhoMay(t *testing.T) {
	h := NewHandler(newKeeper(t), tokenOf(t))
	ask := func(method, path, token, body string) (int, string) {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		if token != "" {
			r.Header.Set("Authorization", token)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	for _, token := range []string{"", "Bearer", "Bearer ", "Bearer " + secret[1:], "Bearer " + secret + "A", secret, "Basic " + secret} {
		for _, call := range [][2]string{{"GET", "status"}, {"POST", "promote"}, {"GET", "nothing"}} {
			if code, body := ask(call[0], Prefix+call[1], token, "{}"); code != http.StatusUnauthorized || strings.Contains(body, "B204") {
				t.Errorf("%v with %q: %d %s", call, token, code, body)
			}
		}
	}
	if code, _ := ask("GET", Prefix+"status", "Bearer "+secret, ""); code != 200 {
		t.Errorf("the right token: %d", code)
	}
	empty := httptest.NewRecorder()
	r := httptest.NewRequest("GET", Prefix+"status", nil)
	r.Header.Set("Authorization", "Bearer ")
	if NewHandler(newKeeper(t), Token(filepath.Join(t.TempDir(), "none"))).ServeHTTP(empty, r); empty.Code != http.StatusUnauthorized {
		t.Errorf("no token opens: %d", empty.Code)
	}
	for body, want := range map[string]int{
		"": 400, "{": 400, `{"room":"test","x":1}`: 400, `{} {}`: 400, "[]": 400, `{"room":"test","version":-1}`: 400, `{"room":"nowhere","version":1}`: 404,
		`{"room":"` + strings.Repeat("x", bodyMost) + `"}`: 413,
	} {
		if code, text := ask("POST", Prefix+"promote", "Bearer "+secret, body); code != want || strings.Count(text, "\n") != 1 {
			t.Errorf("%.40q: %d %s, want %d", body, code, text, want)
		}
	}
	if code, _ := ask("DELETE", Prefix+"status", "Bearer "+secret, ""); code != 405 {
		t.Errorf("DELETE: %d", code)
	}
	if code, _ := ask("GET", Prefix+"nights?days=x", "Bearer "+secret, ""); code != 400 {
		t.Errorf("days=x: %d", code)
	}
}

func TestChanges(t *testing.T) {
	k := newKeeper(t)
	web := httptest.NewServer(Open(k))
	defer web.Close()
	get := func(after uint64) (rev uint64) {
		r, err := http.Get(fmt.Sprintf("%s%schanges?after=%d", web.URL, Prefix, after))
		if err != nil {
			t.Error(err)
			return 0
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if _, err2 := fmt.Sscanf(string(b), `{"revision":%d}`, &rev); err != nil || err2 != nil {
			t.Errorf("%s, %v", b, errors.Join(err, err2))
		}
		return rev
	}
	rev := get(0)
	next := make(chan uint64)
	go func() { next <- get(rev) }()
	select {
	case v := <-next:
		t.Errorf("told %d with nothing new", v)
	case <-time.After(100 * time.Millisecond):
	}
	checkIn(t, k, "52:54:00:00:02:01", 1)
	if v := <-next; v <= rev {
		t.Errorf("revision %d after %d", v, rev)
	}
}

// begins says whether an order lets a machine begin.
func begins(o *protocol.Order) bool { return o.Want != nil && o.Wait == 0 && o.Reason == "" }

// version is the one that an order names, 0 if none.
func version(o *protocol.Order) int {
	if o.Want == nil {
		return 0
	}
	return o.Want.Version
}
