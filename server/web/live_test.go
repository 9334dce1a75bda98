package web

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"troy/internal/version"
	"troy/server/limit"
	"troy/server/protocol"
	"troy/server/rooms/api"
)

// watch reads events until f says that it has seen enough.
func (s *site) watch(c *http.Client, f func(event, data string) bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", s.http.URL+"/events", nil)
	must(s.t, err)
	a, err := c.Do(r)
	must(s.t, err)
	defer a.Body.Close()
	lines := bufio.NewScanner(a.Body)
	lines.Buffer(nil, 4<<20)
	event := ""
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			event = v
		}
		if v, ok := strings.CutPrefix(lines.Text(), "data: "); ok && f(event, v) {
			return
		}
	}
	s.t.Errorf("the events ended too early: %v", lines.Err())
}

// TestEvents sees only what changed, and that a machine came.
func TestEvents(t *testing.T) {
	s := newSite(t, 3, Options{Public: true})
	s.promote(3)
	s.checkIn(1, 2, nil)
	_, page := s.get(s.browser(), "/")
	layout := regexp.MustCompile(`data-layout="(\w+)"`).FindStringSubmatch(page)
	step := 0
	s.watch(s.browser(), func(event, data string) bool {
		pieces := map[string]string{}
		if event == "pieces" {
			must(t, json.Unmarshal([]byte(data), &pieces))
		}
		switch step++; step {
		case 1:
			if event != "layout" || data != layout[1] {
				t.Errorf("first event %s %s, want layout %s", event, data, layout[1])
			}
		case 2:
			if len(pieces) != 1+2+3 { // the summary, two rooms, three machines
				t.Errorf("%d pieces", len(pieces))
			}
			s.keeper.Progress(peer(1), protocol.Progress{Protocol: protocol.Version, Machine: protocol.Machine{Ports: []protocol.Port{{MAC: mac(1)}}}, Phase: "fetch", Done: 420, Total: 1000, Rate: 41_000_000})
		case 3:
			tile := pieces[s.tile(1)]
			if event != "pieces" || !strings.Contains(tile, "fetch 42 % · 41 MB/s") || pieces[ident("m", "B204/b204-02")] != "" {
				t.Errorf("event %s: %v", event, pieces)
			}
			s.checkIn(77, 0, nil)
		case 4:
			if event != "layout" || data == layout[1] {
				t.Errorf("event %s %s after a machine came", event, data)
			}
			return true
		}
		return false
	})
}

// TestEventsEnd: streams end with the server.
func TestEventsEnd(t *testing.T) {
	s := newSite(t, 1, Options{Public: true})
	ended := make(chan int)
	go func() {
		code, _ := s.get(s.browser(), "/events")
		ended <- code
	}()
	for s.web.shares.strangers.Taken() == 0 {
		time.Sleep(time.Millisecond)
	}
	s.web.Close()
	select {
	case code := <-ended:
		if code != 200 {
			t.Errorf("stream: %d", code)
		}
	case <-time.After(10 * time.Second):
		t.Error("the stream does not end")
	}
}

// TestShares: those who are not signed in hold open pages and checks of passwords without end, and
// an admin still gets his.
func TestShares(t *testing.T) {
	s := newSite(t, 1, Options{Public: true})
	in, _ := s.signIn()
	at, err := url.Parse(s.http.URL)
	must(t, err)
	cookies := in.Jar.Cookies(at)
	hold := func(p *limit.Places) {
		for i := range 1000 {
			for p.Take(netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)})) {
			}
		}
	}
	hold(&s.web.shares.strangers)
	hold(&s.web.shares.unknownChecks)
	if w := s.from("10.0.0.1:1", "GET", "/events", ""); w.Code != http.StatusServiceUnavailable {
		t.Errorf("a stranger too many: %d", w.Code)
	}
	if code, _ := s.get(s.browser(), "/events"); code != http.StatusServiceUnavailable {
		t.Errorf("one on this machine who is not signed in: %d", code)
	}
	s.watch(in, func(string, string) bool { return true })

	for _, x := range []struct {
		name, from string
		cookies    []*http.Cookie
		want       int
	}{
		{"from somewhere", "10.0.0.1:1", nil, http.StatusServiceUnavailable},
		{"on this machine", "127.0.0.1:1", nil, http.StatusSeeOther},
		{"by one who is signed in", "10.0.0.1:1", cookies, http.StatusSeeOther},
		{"from where somebody signed in", "10.0.0.1:1", nil, http.StatusSeeOther},
		{"from somewhere else", "10.0.0.2:1", nil, http.StatusServiceUnavailable},
	} {
		r := httptest.NewRequest("POST", "https://troy.example/login", strings.NewReader(url.Values{"name": {"admin"}, "password": {password}}.Encode()))
		r.RemoteAddr = x.from
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for _, c := range x.cookies {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		if s.web.ServeHTTP(w, r); w.Code != x.want {
			t.Errorf("a login %s: %d, want %d", x.name, w.Code, x.want)
		}
	}
}

func TestMetrics(t *testing.T) {
	s := newSite(t, 3, Options{Public: true, Counters: map[string]func() float64{"served_bytes_total": func() float64 { return 12345 }}})
	s.promote(3)
	s.checkIn(1, 2, nil)
	s.checkIn(2, 3, nil)
	s.checkIn(9, 3, nil)
	code, text := s.get(s.browser(), "/metrics")
	for _, want := range []string{`troy_machines{phase="working",room="B204"} 1`, `troy_machines{phase="current",room="B204"} 1`, `troy_machines{phase="never",room="B204"} 1`,
		`troy_machines_unknown 1`, `troy_room_version{image="win11-lab",room="B204"} 3`, `troy_served_bytes_total 12345`, `troy_lab_valid 1`, `go_goroutines `} {
		if !strings.Contains(text, want) {
			t.Errorf("%d: %s is missing in:\n%s", code, want, text)
		}
	}
}

func TestPrivate(t *testing.T) {
	s := newSite(t, 1, Options{})
	c := s.browser()
	for _, path := range []string{"/", "/host?id=b204-01", "/nights", "/events", "/live"} {
		t.Run(path, func(t *testing.T) {
			want := http.StatusSeeOther
			if path == pathEvents || path == pathLive {
				want = http.StatusUnauthorized // nothing that a script would follow
			}
			if code, page := s.get(c, path); code != want || strings.Contains(page, "b204") {
				t.Errorf("%d", code)
			}
		})
	}
	if w := s.from("10.0.0.1:1", "GET", "/metrics", ""); w.Code != http.StatusForbidden {
		t.Errorf("metrics: %d", w.Code)
	}
	if _, page := s.get(http.DefaultClient, "/login"); strings.Contains(page, version.Get().Go) {
		t.Error("a stranger sees the version")
	}
	in, _ := s.signIn()
	if code, page := s.get(in, "/"); code != 200 || !strings.Contains(page, "b204-01") || !strings.Contains(page, "Troy "+version.Get().String()) {
		t.Errorf("signed in: %d", code)
	}
}

// TestUsersAtOnce has several programs add users at the same time.
func TestUsersAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			u, err := OpenUsers(path)
			if err == nil {
				err = u.Set(fmt.Sprintf("user-%d", i), password)
			}
			if err != nil {
				t.Errorf("user %d: %v", i, err)
			}
		})
	}
	all.Wait()
	b, err := os.ReadFile(path)
	must(t, err)
	if n := bytes.Count(b, []byte("user-")); n != 6 {
		t.Errorf("%d of 6 users are in the file", n)
	}
}

func check(u *Users, name, password string) bool {
	_, ok := u.Check(name, password)
	return ok
}

func TestUsers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	u, err := OpenUsers(path)
	must(t, err)
	if !u.Empty() || check(u, "a", "") {
		t.Error("no file, and somebody may sign in")
	}
	must(t, u.Set("a", password))
	must(t, u.Set("b", password+"2"))
	b, err := os.ReadFile(path)
	must(t, err)
	if bytes.Count(b, []byte("$argon2id$v=19$m=32768,t=3,p=1$")) != 2 || bytes.Contains(b, []byte(password)) {
		t.Errorf("file:\n%s", b)
	}
	if !check(u, "a", password) || check(u, "b", password) || !check(u, "b", password+"2") {
		t.Error("wrong answers")
	}
	must(t, u.Set("a", ""))
	if check(u, "a", password) {
		t.Error("a removed user may sign in")
	}
	if err := u.Set("a", ""); !errors.Is(err, ErrNoUser) {
		t.Errorf("removed twice: %v", err)
	}
	for _, bad := range [][2]string{{"a:b", password}, {"", password}, {"c", "short"}, {"c", strings.Repeat("x", 600)}} {
		t.Run(fmt.Sprintf("%.10q", bad), func(t *testing.T) {
			if err := u.Set(bad[0], bad[1]); !errors.Is(err, ErrPassword) {
				t.Errorf("%q: %v", bad, err)
			}
		})
	}
	// The same password hashed by the reference program argon2 (argon2id, m 4096, t 3, p 1).
	must(t, os.WriteFile(path, []byte("x:"+referenceHash+"\n"), 0o600))
	if !check(u, "x", "password") || check(u, "x", "Password") {
		t.Error("a hash of the reference program is not understood")
	}
	for _, line := range []string{"x", "x:$1$abc", "x:$argon2id$v=19$m=99999999,t=3,p=1$c29tZXNhbHQ$" + strings.Repeat("A", 43)} {
		t.Run(fmt.Sprintf("%.20q", line), func(t *testing.T) {
			must(t, os.WriteFile(path, []byte(line+"\n"), 0o600))
			if _, err := OpenUsers(path); !errors.Is(err, ErrUsers) || !strings.Contains(err.Error(), path+":1") {
				t.Errorf("%q: %v", line, err)
			}
		})
	}
}

// TestOpenAPI compares what the calls really answer with the description.
func TestOpenAPI(t *testing.T) {
	s := newSite(t, 2, Options{Public: true})
	s.promote(3)
	s.promote(4)
	s.checkIn(1, 2, nil)
	s.report(1, 4, protocol.OutcomeDone, "", "log")
	s.checkIn(9, 0, nil)
	s.keeper.Tick()
	_, text := s.get(s.browser(), "/openapi.json")
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	must(t, err)
	c := jsonschema.NewCompiler()
	must(t, c.AddResource("mem:///openapi.json", doc))
	open := api.Open(s.keeper)
	for _, call := range [][2]string{{"status", ""}, {"hosts", ""}, {"hosts?room=B204", ""}, {"hosts/b204-01", ""}, {"nights", ""}, {"previous?room=B204", ""}, {"changes", ""},
		{"estimate", `{"room":"B204","image":"","version":5}`}, {"promote", `{"room":"B204","image":"","version":5}`}, {"rollback", `{"room":"B204","image":"","version":0}`},
		{"stop", `{"room":"B204","why":"x"}`}, {"wake", `{"room":"B204"}`}, {"reload", `{}`}} {
		t.Run(call[0], func(t *testing.T) {
			path, body := call[0], call[1]
			method, name := "get", strings.Split(path, "?")[0]
			if body != "" {
				method = "post"
			}
			r := httptest.NewRequest(strings.ToUpper(method), api.Prefix+path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			open.ServeHTTP(w, r)
			if w.Code != 200 {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
				return
			}
			pointer := strings.ReplaceAll(api.Prefix+strings.Replace(name, "b204-01", "{id}", 1), "/", "~1")
			schema, err := c.Compile("mem:///openapi.json#/paths/" + strings.NewReplacer("{", "%7B", "}", "%7D").Replace(pointer) + "/" + method + "/responses/200/content/application~1json/schema")
			must(t, err)
			v, err := jsonschema.UnmarshalJSON(w.Body)
			must(t, err)
			if err := schema.Validate(v); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		})
	}
}

// TestMorning lets a window pass, and reads what came of it on the page and in the history.
func TestMorning(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	must(t, err)
	now := time.Date(2026, 3, 10, 23, 0, 0, 0, berlin)
	s := newSiteAt(t, 4, Options{Public: true}, func() time.Time { return now })
	if code, page := s.get(s.browser(), "/nights"); code != 200 || !strings.Contains(page, "No window has been open yet") {
		t.Errorf("%d %s", code, page)
	}
	s.promote(8)
	s.keeper.Tick()
	for i := 1; i <= 3; i++ {
		s.checkIn(i, 7, nil)
	}
	now = now.Add(time.Hour)
	s.report(1, 8, protocol.OutcomeDone, "", "")
	s.report(2, 8, protocol.OutcomeDone, "", "")
	s.report(3, 7, protocol.OutcomeFailed, "no room", "")
	s.keeper.Tick()
	now = time.Date(2026, 3, 11, 7, 0, 0, 0, berlin)
	s.keeper.Tick()
	tags := regexp.MustCompile(`<[^>]*>|\s+`)
	_, page := s.get(s.browser(), "/")
	if text := tags.ReplaceAllString(page, " "); !regexp.MustCompile(`Last night: +2 +updated, +1 +failed, +1 +missing`).MatchString(text) {
		t.Errorf("summary: %s", page[strings.Index(page, "<main>"):][:2000])
	}
	_, page = s.get(s.browser(), "/nights")
	if !regexp.MustCompile(`Tue 22:00 – 05:30</td><td>B204</td><td>win11-lab 8</td>\s*<td class="n">2</td><td class="n bad">1</td>`).MatchString(page) {
		t.Errorf("history: %s", page)
	}
}
