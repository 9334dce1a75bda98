package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/rooms"
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
	o, err := k.Order(t.Context(), protocol.CheckIn{Protocol: protocol.Version, Machine: protocol.Machine{MACs: []string{mac}}, Image: "win11", Version: version})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestCalls goes through all calls of the client.
func TestCalls(t *testing.T) {
	k := newKeeper(t)
	web := httptest.NewServer(NewHandler(k, "secret"))
	defer web.Close()
	c, ctx := NewClient(web.URL, "secret", nil), t.Context()
	code := checkIn(t, k, "52:54:00:00:09:09", 1).Code
	if err := c.Assign(ctx, code, "test-1", "test"); err != nil {
		t.Fatal(err)
	}
	e, err := c.Estimate(ctx, rooms.Promotion{Room: "test", Version: 2})
	if err != nil || e.Machines != 1 || e.Fetch != 1000 || !e.Fits {
		t.Errorf("estimate: %+v, %v", e, err)
	}
	for v := 1; v <= 2; v++ {
		if target, err := c.Promote(ctx, rooms.Promotion{Room: "test", Version: v, By: "me"}); err != nil || target.Version != v || target.By != "me" {
			t.Fatalf("promote: %+v, %v", target, err)
		}
	}
	if o := checkIn(t, k, "52:54:00:00:09:09", 1); o.Version != 2 || o.Action != protocol.ActionDeploy {
		t.Errorf("%+v", o)
	}
	if s, err := c.Status(ctx); err != nil || len(s.Rooms) != 2 || s.Rooms[1].Counts[rooms.PhaseWorking] != 1 || len(s.Unknown) != 0 {
		t.Errorf("status: %+v, %v", s, err)
	}
	report := protocol.Report{Protocol: protocol.Version, Machine: protocol.Machine{MACs: []string{"52:54:00:00:09:09"}}, Outcome: protocol.OutcomeFailed, Message: "why", Log: "lines"}
	if err := k.Report(ctx, report); err != nil {
		t.Fatal(err)
	}
	if list, err := c.Hosts(ctx, "test"); err != nil || len(list) != 1 || list[0].Error != "why" || list[0].Phase != rooms.PhaseFailed {
		t.Errorf("hosts: %+v, %v", list, err)
	}
	if list, err := c.Hosts(ctx, ""); err != nil || len(list) != 2 {
		t.Errorf("all hosts: %+v, %v", list, err)
	}
	for _, id := range []string{"test-1", "52:54:00:00:09:09"} {
		if d, err := c.Host(ctx, id); err != nil || d.Log != "lines" || d.FailLog != "lines" || len(d.History) < 3 || d.Report.Message != "why" {
			t.Errorf("host %s: %+v, %v", id, d, err)
		}
	}
	if p, err := c.Previous(ctx, "test"); err != nil || p.Version != 1 {
		t.Errorf("previous: %+v, %v", p, err)
	}
	if p, err := c.Rollback(ctx, rooms.Promotion{Room: "test"}); err != nil || p.Version != 1 || !p.Rollback {
		t.Errorf("rollback: %+v, %v", p, err)
	}
	if err := errors.Join(c.Stop(ctx, "test", "because"), c.Forget(ctx, "test-1")); err != nil {
		t.Error(err)
	}
	if s, err := c.Status(ctx); err != nil || !strings.Contains(s.Rooms[1].Why, "because") || s.Rooms[1].Machines != 0 {
		t.Errorf("status: %+v, %v", s, err)
	}
	if n, err := c.Nights(ctx, 5); err != nil || n == nil || len(n) != 0 {
		t.Errorf("nights: %+v, %v", n, err)
	}
	if _, err := c.Wake(ctx, "B204", ""); !errors.Is(err, rooms.ErrInvalid) {
		t.Errorf("wake without a waker: %v", err)
	}
	for what, err := range map[string]error{
		"room": c.Stop(ctx, "B999", "x"), "host": c.Forget(ctx, "x"), "code": c.Assign(ctx, "x", "y", "test"),
	} {
		if !errors.Is(err, rooms.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := c.Promote(ctx, rooms.Promotion{Room: "test", Version: 9}); !errors.Is(err, rooms.ErrNotFound) {
		t.Errorf("a version that is not there: %v", err)
	}
	web.Close()
	if _, err := c.Status(ctx); !errors.Is(err, ErrDown) {
		t.Errorf("no server: %v", err)
	}
}

// TestWhoMay: without the token nothing is told and nothing done, and bad requests are refused.
func TestWhoMay(t *testing.T) {
	h := NewHandler(newKeeper(t), "secret")
	ask := func(method, path, token, body string) (int, string) {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		if token != "" {
			r.Header.Set("Authorization", token)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	for _, token := range []string{"", "Bearer", "Bearer ", "Bearer secre", "Bearer secret2", "secret", "Basic secret"} {
		for _, call := range [][2]string{{"GET", "status"}, {"POST", "promote"}, {"GET", "nothing"}} {
			if code, body := ask(call[0], Prefix+call[1], token, "{}"); code != http.StatusUnauthorized || strings.Contains(body, "B204") {
				t.Errorf("%v with %q: %d %s", call, token, code, body)
			}
		}
	}
	if code, _ := ask("GET", Prefix+"status", "Bearer secret", ""); code != 200 {
		t.Errorf("the right token: %d", code)
	}
	empty := httptest.NewRecorder()
	r := httptest.NewRequest("GET", Prefix+"status", nil)
	r.Header.Set("Authorization", "Bearer ")
	if NewHandler(newKeeper(t), "").ServeHTTP(empty, r); empty.Code != http.StatusUnauthorized {
		t.Errorf("an empty token opens: %d", empty.Code)
	}
	for body, want := range map[string]int{
		"": 400, "{": 400, `{"room":"test","x":1}`: 400, `{} {}`: 400, "[]": 400, `{"room":"test","version":-1}`: 400, `{"room":"nowhere","version":1}`: 404,
		`{"room":"` + strings.Repeat("x", bodyMost) + `"}`: 413,
	} {
		if code, text := ask("POST", Prefix+"promote", "Bearer secret", body); code != want || strings.Count(text, "\n") != 1 {
			t.Errorf("%.40q: %d %s, want %d", body, code, text, want)
		}
	}
	if code, _ := ask("DELETE", Prefix+"status", "Bearer secret", ""); code != 405 {
		t.Errorf("DELETE: %d", code)
	}
	if code, _ := ask("GET", Prefix+"nights?days=x", "Bearer secret", ""); code != 400 {
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

func TestToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	a, err := LoadToken(path)
	b, err2 := LoadToken(path)
	info, err3 := os.Stat(path)
	if err := errors.Join(err, err2, err3); err != nil || a != b || len(a) < 40 || info.Mode().Perm() != 0o600 {
		t.Errorf("%q, %q, %v, %v", a, b, info, err)
	}
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadToken(path); err == nil {
		t.Error("a short token was taken")
	}
}
