package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"troy/server"
	"troy/server/protocol"
	"troy/server/rooms"
	"troy/server/servedir"
)

// serveSocket answers on the socket of a folder until the test ends.
func serveSocket(t *testing.T, dir servedir.Dir, h http.Handler) {
	t.Helper()
	l, err := Listen(dir)
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, l, h) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestSocket: without a token the server knows who calls, also where the path of the folder is too
// long for a socket, and where an earlier server was killed.
func TestSocket(t *testing.T) {
	dir := servedir.Of(filepath.Join(t.TempDir(), strings.Repeat("long", 30)))
	must(t, dir.Make())
	c := NewLocalClient(dir)
	if err := c.Ping(t.Context()); !errors.Is(err, ErrDown) {
		t.Errorf("before a server ran: %v", err)
	}
	killed, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	must(t, err)
	must(t, nearby(dir, func(path string) error { return syscall.Bind(killed, &syscall.SockaddrUnix{Name: path}) }))
	must(t, syscall.Close(killed))
	if err := c.Ping(t.Context()); !errors.Is(err, ErrDown) {
		t.Errorf("after it was killed: %v", err)
	}
	me, err := user.Current()
	must(t, err)
	serveSocket(t, dir, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.RemoteAddr != me.Username || r.Header.Get("Authorization") != "" {
			t.Errorf("%s calls with %v", r.RemoteAddr, r.Header)
		}
		fmt.Fprintln(w, "{}")
	}))
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestSocketMode: the folder says whether its group is let in.
func TestSocketMode(t *testing.T) {
	for of, want := range map[os.FileMode]os.FileMode{0o700: 0o600, 0o710: 0o660, 0o750: 0o660} {
		dir := servedir.Of(t.TempDir())
		must(t, errors.Join(dir.Make(), os.Chmod(string(dir), of)))
		l, err := Listen(dir)
		must(t, err)
		if info, err := os.Stat(dir.Socket()); err != nil || info.Mode().Perm() != want {
			t.Errorf("folder %v: socket %v, %v, want %v", of, info.Mode(), err, want)
		}
		must(t, l.Close())
		if _, err := os.Stat(dir.Socket()); !os.IsNotExist(err) {
			t.Errorf("after Close: %v", err)
		}
	}
}

// TestLost: where a change was asked for, no answer is not the same as no server.
func TestLost(t *testing.T) {
	answers := map[string]http.HandlerFunc{
		"cut":     func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"a proxy": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) },
		"rubbish": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{") },
	}
	for name, h := range answers {
		t.Run(name, func(t *testing.T) {
			dir := servedir.Of(t.TempDir())
			must(t, dir.Make())
			c := NewLocalClient(dir)
			if err := c.Stop(t.Context(), "test", "why"); !errors.Is(err, ErrDown) || errors.Is(err, ErrLost) {
				t.Errorf("no server: %v", err)
			}
			serveSocket(t, dir, h)
			if err := c.Stop(t.Context(), "test", "why"); !errors.Is(err, ErrLost) {
				t.Errorf("a change: %v", err)
			}
			if _, err := c.Status(t.Context()); !errors.Is(err, ErrDown) {
				t.Errorf("a look: %v", err)
			}
			if _, err := c.Estimate(t.Context(), rooms.Promotion{}); !errors.Is(err, ErrDown) {
				t.Errorf("an estimate: %v", err)
			}
		})
	}
}

// TestNoCall: what is no call is answered as a Failure, too.
func TestNoCall(t *testing.T) {
	h := Open(newKeeper(t))
	for call, want := range map[string]int{
		"GET nosuch": 404, "GET hosts/": 404, "GET ": 404, "POST nosuch": 404, "DELETE status": 405, "POST status": 405, "GET promote": 405, "PUT hosts/b204-1": 405,
		"GET hosts/nobody": 404, "GET hosts?room=TYPO": 404, "GET previous?room=TYPO": 404,
	} {
		method, path, _ := strings.Cut(call, " ")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, Prefix+path, nil))
		var f protocol.Failure
		if err := json.Unmarshal(w.Body.Bytes(), &f); w.Code != want || err != nil || f.Error == "" || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s, want %d", call, w.Code, w.Body, want)
		}
	}
}

func TestMay(t *testing.T) {
	const owner, group, stranger = 4101, 4102, 4103
	alone, open := &socket{owner: owner, group: -1}, &socket{owner: owner, group: group}
	nobody := &user.User{Uid: "4103", Username: "nobody here"}
	for name, c := range map[string]struct {
		s        *socket
		uid, gid uint32
		want     bool
	}{
		"root":                {alone, 0, stranger, true},
		"the owner":           {alone, owner, stranger, true},
		"the server itself":   {alone, uint32(os.Geteuid()), stranger, true},
		"a stranger":          {alone, stranger, stranger, false},
		"the group, not open": {alone, stranger, group, false},
		"the group":           {open, stranger, group, true},
		"not of the group":    {open, stranger, stranger, false},
	} {
		if got := c.s.may(&unix.Ucred{Uid: c.uid, Gid: c.gid}, nobody); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestToken: the file is read at each call, and what is no token admits nobody.
func TestToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	token := Token(path)
	if _, err := token.Read(); !errors.Is(err, ErrNoToken) {
		t.Errorf("no token: %v", err)
	}
	if damaged, err := token.Ensure(); damaged || err != nil {
		t.Errorf("no token: %v, %v", damaged, err)
	}
	h := NewHandler(newKeeper(t), token)
	ask := func(token string) int {
		r := httptest.NewRequest("GET", Prefix+"status", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	first, err := token.Read()
	must(t, err)
	second, err := token.Rotate()
	must(t, err)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || len(first) < 40 {
		t.Errorf("%q, %v, %v", first, info, err)
	}
	if a, b := ask(first), ask(second); a != http.StatusUnauthorized || b != http.StatusOK {
		t.Errorf("the old one: %d, the new one: %d", a, b)
	}
	for _, damage := range []string{"", "\n", "short", second[:40], second + second, strings.Repeat("\x00", 44)} {
		must(t, os.WriteFile(path, []byte(damage), 0o600))
		if code := ask(strings.TrimSpace(damage)); code != http.StatusUnauthorized {
			t.Errorf("%q admits: %d", damage, code)
		}
		damaged, err := token.Ensure()
		now, err2 := token.Read()
		if err := errors.Join(err, err2); !damaged || err != nil || now == second {
			t.Errorf("%q: damaged %v, %v", damage, damaged, err)
		}
	}
	if damaged, err := token.Ensure(); damaged || err != nil {
		t.Errorf("a good one: %v, %v", damaged, err)
	}
}
