package web

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"troy/server/audit"
	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/rooms"
	"troy/server/rooms/api"
	"troy/server/state"
)

const labYAML = `format: 1
zone: Europe/Berlin
images: [win11-lab]
defaults: {image: win11-lab, always: true, wave: 6, failures: 9}
rooms:
  B204: {windows: [{from: "22:00", to: "05:30"}]}
  test: {}
`

const password = "correct horse battery"

// sizes says the same of every pair of versions.
type sizes struct{}

func (sizes) Size(_ context.Context, image string, have, want int) (rooms.Size, error) {
	if want > 9 {
		return rooms.Size{}, fmt.Errorf("%w: %s has no version %d", rooms.ErrNotFound, image, want)
	}
	return rooms.Size{Fetch: 1 << 30, Write: 2 << 30}, nil
}

// site is a server with a lab of so many machines in room B204.
type site struct {
	t      testing.TB
	keeper *rooms.Keeper
	web    *Handler
	http   *httptest.Server

	mu    sync.Mutex
	acts  []audit.Entry
	calls []rooms.Call
}

// Wake implements rooms.Waker.
func (s *site) Wake(_ context.Context, calls []rooms.Call) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, calls...)
	return nil
}

func mac(i int) string { return fmt.Sprintf("52:54:00:00:%02x:%02x", i>>8, i&255) }

func newSite(t testing.TB, machines int, o Options) *site {
	t.Helper()
	s, dir := &site{t: t}, t.TempDir()
	var text strings.Builder
	text.WriteString(labYAML)
	if machines > 0 {
		text.WriteString("hosts:\n")
	}
	for i := 1; i <= machines; i++ {
		fmt.Fprintf(&text, "  - {name: b204-%02d, room: B204, mac: \"%s\"}\n", i, mac(i))
	}
	path := filepath.Join(dir, "lab.yaml")
	must(t, os.WriteFile(path, []byte(text.String()), 0o644))
	file, err := lab.Open(path)
	must(t, err)
	db, err := state.Open(filepath.Join(dir, "state.db"), nil)
	must(t, err)
	t.Cleanup(func() { db.Close() })
	s.keeper, err = rooms.New(&rooms.Options{Lab: file, State: db, Sizes: sizes{}, Waker: s})
	must(t, err)
	o.Lab = s.keeper
	o.OnAct = func(e audit.Entry) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.acts = append(s.acts, e)
		return nil
	}
	o.Users, err = OpenUsers(filepath.Join(dir, "users"))
	must(t, err)
	must(t, o.Users.Set("admin", password))
	s.web, err = New(&o)
	must(t, err)
	s.http = httptest.NewServer(s.web)
	t.Cleanup(s.http.Close)
	t.Cleanup(s.web.Close)
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// checkIn has machine i, or one that nobody knows, ask for an order.
func (s *site) checkIn(i, version int, change func(*protocol.CheckIn)) protocol.Order {
	s.t.Helper()
	in := protocol.CheckIn{Protocol: protocol.Version, Machine: protocol.Machine{MACs: []string{mac(i)}, Vendor: "Dell Inc.", Product: "OptiPlex 7010"}, Image: "win11-lab", Version: version,
		Firmware: "uefi", Memory: 16 << 30, Disks: []protocol.Disk{{Path: "/dev/nvme0n1", Model: "Samsung PM9B1", Size: 512 << 30, SectorSize: 512, Troy: true}}}
	if change != nil {
		change(&in)
	}
	must(s.t, in.Validate())
	o, err := s.keeper.Order(s.t.Context(), in)
	must(s.t, err)
	return o
}

func (s *site) report(i, version int, outcome protocol.Outcome, message, log string) {
	s.t.Helper()
	must(s.t, s.keeper.Report(s.t.Context(), protocol.Report{Protocol: protocol.Version, ID: fmt.Sprint(i, version, outcome, time.Now()), Machine: protocol.Machine{MACs: []string{mac(i)}},
		Image: "win11-lab", Version: version, Outcome: outcome, Message: message, Log: log}))
}

func (s *site) promote(version int) {
	s.t.Helper()
	_, err := s.keeper.Promote(s.t.Context(), rooms.Promotion{Room: "B204", Version: version, By: "test"})
	must(s.t, err)
}

// browser keeps cookies, and follows no redirect.
func (s *site) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	must(s.t, err)
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: 20 * time.Second}
}

func (s *site) get(c *http.Client, path string) (int, string) {
	s.t.Helper()
	r, err := c.Get(s.http.URL + path)
	must(s.t, err)
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	must(s.t, err)
	return r.StatusCode, string(b)
}

func (s *site) post(c *http.Client, path string, fields ...string) (int, string) {
	s.t.Helper()
	v := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		v.Set(fields[i], fields[i+1])
	}
	r, err := c.PostForm(s.http.URL+path, v)
	must(s.t, err)
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	must(s.t, err)
	return r.StatusCode, string(b)
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// signIn returns a browser with a session, and its CSRF token.
func (s *site) signIn() (*http.Client, string) {
	s.t.Helper()
	c := s.browser()
	if code, body := s.post(c, "/login", "name", "admin", "password", password); code != http.StatusSeeOther {
		s.t.Fatalf("login: %d %s", code, body)
	}
	_, page := s.get(c, "/")
	m := csrfField.FindStringSubmatch(page)
	if m == nil {
		s.t.Fatalf("no token on the page")
	}
	return c, m[1]
}

func (s *site) lastAct() audit.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.acts) == 0 {
		return audit.Entry{}
	}
	return s.acts[len(s.acts)-1]
}

func TestLogin(t *testing.T) {
	s := newSite(t, 1, Options{})
	c := s.browser()
	for _, f := range [][2]string{{"admin", "wrong password"}, {"nobody", password}, {"", ""}, {"admin", strings.Repeat("x", PasswordMost+1)}} {
		if code, _ := s.post(c, "/login", "name", f[0], "password", f[1]); code != http.StatusForbidden {
			t.Errorf("%q: %d", f, code)
		}
		if e := s.lastAct(); e.Action != "login" || e.Result == "ok" || e.Who != "" {
			t.Errorf("audit: %+v", e)
		}
	}
	if _, page := s.get(c, "/"); strings.Contains(page, "csrf") || !strings.Contains(page, "Sign in") {
		t.Error("the page of a stranger holds a form")
	}
	c, csrf := s.signIn()
	if e := s.lastAct(); e.Who != "admin" || e.Result != "ok" {
		t.Errorf("audit: %+v", e)
	}
	u, _ := url.Parse(s.http.URL)
	if v := c.Jar.Cookies(u); len(v) != 1 || v[0].Name != cookieName || len(v[0].Value) < 40 {
		t.Errorf("cookies %v", v)
	}
	if code, _ := s.post(c, "/logout", "csrf", "x"); code != http.StatusSeeOther || s.web.sessions.get(c.Jar.Cookies(u)[0].Value, time.Now()) == nil {
		t.Error("signed out without the token")
	}
	cookie := c.Jar.Cookies(u)[0].Value
	if s.post(c, "/logout", "csrf", csrf); s.web.sessions.get(cookie, time.Now()) != nil {
		t.Error("the session lives on")
	}
}

// from sends a request as if from another machine.
func (s *site) from(addr, method, path, form string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(form))
	r.RemoteAddr = addr
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	s.web.ServeHTTP(w, r)
	return w
}

func TestLoginFromElsewhere(t *testing.T) {
	form := url.Values{"name": {"admin"}, "password": {password}}.Encode()
	s := newSite(t, 0, Options{})
	if w := s.from("10.0.0.9:999", "POST", "/login", form); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "HTTPS") {
		t.Errorf("a login without TLS: %d", w.Code)
	}
	s = newSite(t, 0, Options{PlainLogin: true})
	if w := s.from("10.0.0.9:999", "POST", "/login", form); w.Code != http.StatusSeeOther {
		t.Errorf("PlainLogin: %d", w.Code)
	}
	for range LoginsPerMinute - 1 {
		s.from("10.0.0.9:999", "POST", "/login", "name=admin&password=x")
	}
	if w := s.from("10.0.0.9:999", "POST", "/login", form); w.Code != http.StatusTooManyRequests {
		t.Errorf("try %d: %d", LoginsPerMinute+1, w.Code)
	}
}

func TestSessionsEnd(t *testing.T) {
	var s sessions
	now := time.Now()
	idle, old := s.begin("a", now), s.begin("b", now)
	for h := range 13 {
		s.get(old, now.Add(time.Duration(h)*time.Hour))
	}
	if s.get(idle, now.Add(IdleMost+1)) != nil || s.get(old, now.Add(13*time.Hour)) != nil || s.get("x", now) != nil {
		t.Error("a session does not end")
	}
	first := s.begin("first", now)
	for i := range SessionsMost {
		s.begin("x", now.Add(time.Duration(i+1)*time.Second))
	}
	if len(s.all) != SessionsMost || s.get(first, now) != nil {
		t.Errorf("%d sessions", len(s.all))
	}
}

func TestActsNeedLoginAndToken(t *testing.T) {
	s := newSite(t, 3, Options{})
	stranger := s.browser()
	in, csrf := s.signIn()
	fields := []string{"room", "B204", "version", "3", "confirm", "yes", "csrf"}
	for name, c := range map[string]struct {
		client *http.Client
		csrf   string
	}{"stranger": {stranger, csrf}, "no token": {in, ""}, "other token": {in, draw()}} {
		if code, _ := s.post(c.client, "/do/promote", append(fields[:len(fields):len(fields)], c.csrf)...); code != http.StatusForbidden {
			t.Errorf("%s: %d", name, code)
		}
	}
	r, err := http.NewRequest("POST", s.http.URL+"/do/promote", strings.NewReader("room=B204&version=3&confirm=yes&csrf="+csrf))
	must(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	a, err := in.Do(r)
	must(t, err)
	a.Body.Close()
	if a.StatusCode != http.StatusForbidden {
		t.Errorf("cross-site: %d", a.StatusCode)
	}
	if st := s.keeper.Status(); st.Rooms[0].Target != nil {
		t.Fatal("something was promoted")
	}
	if code, body := s.post(in, "/do/promote", append(fields, csrf)...); code != http.StatusSeeOther || s.keeper.Status().Rooms[0].Want != 3 {
		t.Errorf("with login and token: %d %s", code, body)
	}
	if e := s.lastAct(); e.Who != "admin" || e.Action != "promote" || !strings.Contains(e.Detail, "version 3") {
		t.Errorf("audit: %+v", e)
	}
}

func TestActs(t *testing.T) {
	s := newSite(t, 3, Options{})
	c, csrf := s.signIn()
	do := func(act string, fields ...string) (int, string) {
		return s.post(c, "/do/"+act, append(fields, "csrf", csrf)...)
	}
	if code, body := do("promote", "room", "B204", "version", "3"); code != 200 || !strings.Contains(body, "3, of which 0 have it already, 3 were never seen") || s.keeper.Status().Rooms[0].Want != 0 {
		t.Errorf("estimate: %d %s", code, body)
	}
	for _, v := range []string{"3", "4"} {
		if code, body := do("promote", "room", "B204", "version", v, "confirm", "yes"); code != http.StatusSeeOther {
			t.Fatalf("promote: %d %s", code, body)
		}
	}
	if _, page := s.get(c, "/"); !strings.Contains(page, "Room B204 gets win11-lab version 4.") || !strings.Contains(page, "Roll back to win11-lab version 3") {
		t.Error("the page does not say what was promoted")
	}
	if code, _ := do("stop", "room", "B204"); code != http.StatusSeeOther || !strings.Contains(s.keeper.Status().Rooms[0].Why, "admin") {
		t.Errorf("stop: %d", code)
	}
	if code, _ := do("continue", "room", "B204"); code != http.StatusSeeOther || s.keeper.Status().Rooms[0].Target.Stopped != "" {
		t.Errorf("continue: %d", code)
	}
	if code, _ := do("rollback", "room", "B204"); code != http.StatusSeeOther || s.keeper.Status().Rooms[0].Want != 3 {
		t.Errorf("rollback: %d", code)
	}
	if code, body := do("wake", "room", "B204"); code != http.StatusSeeOther || len(s.calls) != 3 {
		t.Errorf("wake: %d, %d calls %s", code, len(s.calls), body)
	}
	code := s.checkIn(99, 0, nil).Code
	if st, body := do("assign", "code", strings.ToLower(code), "name", "b204-99", "room", "B204"); st != http.StatusSeeOther {
		t.Errorf("assign %q: %d %s", code, st, body)
	}
	for act, want := range map[string]int{"none": 404, "assign": 404, "promote": 400, "rollback": 404} {
		if st, body := do(act, "room", "none", "version", map[string]string{"promote": "x"}[act]); st != want {
			t.Errorf("%s: %d, want %d: %s", act, st, want, body)
		}
	}
}

// TestClaimsAreEscaped has a machine claim markup wherever it can.
func TestClaimsAreEscaped(t *testing.T) {
	s := newSite(t, 2, Options{})
	evil := `"'><script>alert(1)</script><img src=x onerror=alert(1)>`
	s.promote(3)
	s.checkIn(50, 0, func(in *protocol.CheckIn) {
		in.Machine = protocol.Machine{MACs: []string{mac(50)}, UUID: "x&room=" + evil, Serial: evil, Vendor: evil, Product: evil}
		in.Image, in.Agent, in.LastStart, in.Detail = evil, evil, evil, evil
		in.Disks[0].Model = evil
	})
	s.checkIn(1, 2, func(in *protocol.CheckIn) { in.Agent = evil })
	s.keeper.Progress(protocol.Progress{Protocol: protocol.Version, Machine: protocol.Machine{MACs: []string{mac(1)}}, Phase: evil, Done: 1, Total: 2})
	c := s.browser()
	check := func(path, page string) {
		t.Helper()
		if strings.Contains(page, "<script>alert") || strings.Contains(page, "<img") || strings.Contains(page, "onerror=alert(1)>") && !strings.Contains(page, "&lt;img") {
			t.Errorf("%s: markup of a machine is on the page", path)
		}
		if !strings.Contains(page, "&lt;script&gt;alert(1)") && !strings.Contains(page, `\u003cscript`) && !strings.Contains(page, "&amp;lt;") {
			t.Errorf("%s: the claim is not shown", path)
		}
	}
	for _, path := range []string{"/", "/host?id=b204-01", "/host?id=" + url.QueryEscape("x&room="+evil)} {
		code, page := s.get(c, path)
		if code != 200 {
			t.Errorf("%s: %d", path, code)
		}
		check(path, page)
	}
	s.report(1, 2, protocol.OutcomeFailed, evil, evil+"\n</pre>"+evil)
	_, page := s.get(c, "/host?id=b204-01")
	check("log", page)
	if code, page := s.get(c, "/host?id="+url.QueryEscape(evil)); code != 404 || strings.Contains(page, "<script>") {
		t.Errorf("an id that is none: %d", code)
	}
	w := s.from("127.0.0.1:9", "GET", "/", "")
	if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("CSP %q", csp)
	}
}

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
	s := newSite(t, 3, Options{})
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
			s.keeper.Progress(protocol.Progress{Protocol: protocol.Version, Machine: protocol.Machine{MACs: []string{mac(1)}}, Phase: "fetch", Done: 420, Total: 1000, Rate: 41_000_000})
		case 3:
			tile := pieces[ident("m", mac(1))]
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

// TestEventsEnd: streams end with the server, and there are not too many.
func TestEventsEnd(t *testing.T) {
	s := newSite(t, 1, Options{})
	for range ViewersMost {
		s.web.viewers <- struct{}{}
	}
	if code, _ := s.get(s.browser(), "/events"); code != http.StatusServiceUnavailable {
		t.Errorf("one viewer too many: %d", code)
	}
	<-s.web.viewers
	ended := make(chan int)
	go func() {
		code, _ := s.get(s.browser(), "/events")
		ended <- code
	}()
	for len(s.web.viewers) < ViewersMost {
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

func TestMetrics(t *testing.T) {
	s := newSite(t, 3, Options{Counters: map[string]func() float64{"served_bytes_total": func() float64 { return 12345 }}})
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
	s := newSite(t, 1, Options{Private: true})
	c := s.browser()
	for _, path := range []string{"/", "/host?id=b204-01", "/nights", "/events"} {
		if code, page := s.get(c, path); code != http.StatusSeeOther || strings.Contains(page, "b204") {
			t.Errorf("%s: %d", path, code)
		}
	}
	if w := s.from("10.0.0.1:1", "GET", "/metrics", ""); w.Code != http.StatusForbidden {
		t.Errorf("metrics: %d", w.Code)
	}
	in, _ := s.signIn()
	if code, page := s.get(in, "/"); code != 200 || !strings.Contains(page, "b204-01") {
		t.Errorf("signed in: %d", code)
	}
}

func TestUsers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	u, err := OpenUsers(path)
	must(t, err)
	if !u.Empty() || u.Check("a", "") {
		t.Error("no file, and somebody may sign in")
	}
	must(t, u.Set("a", password))
	must(t, u.Set("b", password+"2"))
	b, err := os.ReadFile(path)
	must(t, err)
	if bytes.Count(b, []byte("$argon2id$v=19$m=32768,t=3,p=1$")) != 2 || bytes.Contains(b, []byte(password)) {
		t.Errorf("file:\n%s", b)
	}
	if !u.Check("a", password) || u.Check("b", password) || !u.Check("b", password+"2") {
		t.Error("wrong answers")
	}
	must(t, u.Set("a", ""))
	if u.Check("a", password) {
		t.Error("a removed user may sign in")
	}
	for _, bad := range [][2]string{{"a:b", password}, {"", password}, {"c", "short"}, {"c", strings.Repeat("x", 600)}} {
		if err := u.Set(bad[0], bad[1]); !errors.Is(err, ErrPassword) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	// The same password hashed by the reference program argon2 (argon2id, m 4096, t 3, p 1).
	must(t, os.WriteFile(path, []byte("x:"+referenceHash+"\n"), 0o600))
	if !u.Check("x", "password") || u.Check("x", "Password") {
		t.Error("a hash of the reference program is not understood")
	}
	for _, line := range []string{"x", "x:$1$abc", "x:$argon2id$v=19$m=99999999,t=3,p=1$c29tZXNhbHQ$" + strings.Repeat("A", 43)} {
		must(t, os.WriteFile(path, []byte(line+"\n"), 0o600))
		if _, err := OpenUsers(path); !errors.Is(err, ErrUsers) || !strings.Contains(err.Error(), path+":1") {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// TestOpenAPI compares what the calls really answer with the description.
func TestOpenAPI(t *testing.T) {
	s := newSite(t, 2, Options{})
	s.promote(3)
	s.promote(4)
	s.checkIn(1, 2, nil)
	s.report(1, 4, protocol.OutcomeDone, "", "log")
	s.checkIn(9, 0, nil)
	s.keeper.Tick(t.Context())
	_, text := s.get(s.browser(), "/openapi.json")
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	must(t, err)
	c := jsonschema.NewCompiler()
	must(t, c.AddResource("mem:///openapi.json", doc))
	open := api.Open(s.keeper)
	for _, call := range [][2]string{{"status", ""}, {"hosts", ""}, {"hosts?room=B204", ""}, {"hosts/b204-01", ""}, {"nights", ""}, {"previous?room=B204", ""}, {"changes", ""},
		{"estimate", `{"room":"B204","image":"","version":5}`}, {"promote", `{"room":"B204","image":"","version":5}`}, {"rollback", `{"room":"B204","image":"","version":0}`},
		{"stop", `{"room":"B204","why":"x"}`}, {"wake", `{"room":"B204"}`}, {"reload", `{}`}} {
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
			continue
		}
		pointer := strings.ReplaceAll(api.Prefix+strings.Replace(name, "b204-01", "{id}", 1), "/", "~1")
		schema, err := c.Compile("mem:///openapi.json#/paths/" + strings.NewReplacer("{", "%7B", "}", "%7D").Replace(pointer) + "/" + method + "/responses/200/content/application~1json/schema")
		must(t, err)
		v, err := jsonschema.UnmarshalJSON(w.Body)
		must(t, err)
		if err := schema.Validate(v); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestNights(t *testing.T) {
	s := newSite(t, 1, Options{})
	if code, page := s.get(s.browser(), "/nights"); code != 200 || !strings.Contains(page, "No window has been open yet") {
		t.Errorf("%d %s", code, page)
	}
}
