package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"troy/server/protocol"
)

func TestLogin(t *testing.T) {
	s := newSite(t, 1, Options{Public: true})
	c := s.browser()
	for _, f := range [][2]string{{"admin", "wrong password"}, {"nobody", password}, {"", ""}, {"admin", strings.Repeat("x", passwordMost+1)}} {
		t.Run(fmt.Sprintf("%.10q", f), func(t *testing.T) {
			if code, _ := s.post(c, "/login", "name", f[0], "password", f[1]); code != http.StatusForbidden {
				t.Errorf("%q: %d", f, code)
			}
			if e := s.lastAct(); e.Action != "login" || e.Result == "ok" || e.Who != "" {
				t.Errorf("audit: %+v", e)
			}
		})
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
	if code, _ := s.post(c, "/logout", "csrf", "x"); code != http.StatusSeeOther || s.web.sessions.get(c.Jar.Cookies(u)[0].Value, time.Now(), true) == nil {
		t.Error("signed out without the token")
	}
	cookie := c.Jar.Cookies(u)[0].Value
	if s.post(c, "/logout", "csrf", csrf); s.web.sessions.get(cookie, time.Now(), true) != nil {
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
	s := newSite(t, 0, Options{Public: true})
	if w := s.from("10.0.0.9:999", "POST", "/login", form); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "HTTPS") {
		t.Errorf("a login without TLS: %d", w.Code)
	}
	const byTLS = "https://troy.example/login"
	if w := s.from("10.0.0.9:999", "POST", byTLS, form); w.Code != http.StatusSeeOther {
		t.Errorf("with TLS: %d", w.Code)
	}
	for range loginsPerMinute - 1 {
		s.from("10.0.0.9:999", "POST", byTLS, "name=admin&password=x")
	}
	if w := s.from("10.0.0.9:999", "POST", byTLS, form); w.Code != http.StatusTooManyRequests {
		t.Errorf("try %d: %d", loginsPerMinute+1, w.Code)
	}
}

func TestSessionsEnd(t *testing.T) {
	var s sessions
	now := time.Now()
	idle, old := s.begin("a", "", now), s.begin("b", "", now)
	for h := range 13 {
		s.get(old, now.Add(time.Duration(h)*time.Hour), true)
	}
	if s.get(idle, now.Add(idleMost+1), true) != nil || s.get(old, now.Add(13*time.Hour), true) != nil || s.get("x", now, true) != nil {
		t.Error("a session does not end")
	}
	first := s.begin("first", "", now)
	for i := range sessionsMost {
		s.begin("x", "", now.Add(time.Duration(i+1)*time.Second))
	}
	if len(s.all) != sessionsMost || s.get(first, now, true) != nil {
		t.Errorf("%d sessions", len(s.all))
	}
}

func TestActsNeedLoginAndToken(t *testing.T) {
	s := newSite(t, 3, Options{Public: true})
	stranger := s.browser()
	in, csrf := s.signIn()
	fields := []string{"room", "B204", "version", "3", "confirm", "yes", "csrf"}
	for name, c := range map[string]struct {
		client *http.Client
		csrf   string
	}{"stranger": {stranger, csrf}, "no token": {in, ""}, "other token": {in, draw()}} {
		t.Run(name, func(t *testing.T) {
			if code, _ := s.post(c.client, "/do/promote", append(fields[:len(fields):len(fields)], c.csrf)...); code != http.StatusForbidden {
				t.Errorf("%d", code)
			}
		})
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
	s := newSite(t, 3, Options{Public: true})
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
	if code, _ := do("continue", "room", "B204"); code != http.StatusSeeOther || s.keeper.Status().Rooms[0].Stopped != "" {
		t.Errorf("continue: %d", code)
	}
	if code, _ := do("rollback", "room", "B204"); code != http.StatusSeeOther || s.keeper.Status().Rooms[0].Want != 3 {
		t.Errorf("rollback: %d", code)
	}
	if code, body := do("wake", "room", "B204"); code != http.StatusSeeOther || s.whoWasCalled(3) != 3 {
		t.Errorf("wake: %d %s", code, body)
	}
	code := s.checkIn(99, 0, nil).Code
	if st, body := do("assign", "code", strings.ToLower(code), "name", "b204-99", "room", "B204"); st != http.StatusSeeOther {
		t.Errorf("assign %q: %d %s", code, st, body)
	}
	s.checkIn(98, 0, nil)
	for _, m := range []struct{ act, id string }{{"forget", "b204-99"}, {"forget-strangers", ""}} {
		if st, body := do(m.act, "id", m.id); st != http.StatusSeeOther {
			t.Errorf("%s %s: %d %s", m.act, m.id, st, body)
		}
	}
	if st := s.keeper.Status(); len(st.Unknown) != 0 || st.Rooms[0].Machines != 3 {
		t.Errorf("forgotten: %+v", st)
	}
	for act, want := range map[string]int{"none": 404, "assign": 404, "forget": 404, "promote": 400, "rollback": 404} {
		t.Run(act, func(t *testing.T) {
			if st, body := do(act, "room", "none", "version", map[string]string{"promote": "x"}[act]); st != want {
				t.Errorf("%d, want %d: %s", st, want, body)
			}
		})
	}
}

// TestClaimsAreEscaped has a machine claim markup wherever it can.
func TestClaimsAreEscaped(t *testing.T) {
	s := newSite(t, 2, Options{Public: true})
	evil := `"'><script>alert(1)</script><img src=x onerror=alert(1)>`
	s.promote(3)
	s.checkIn(50, 0, func(in *protocol.CheckIn) {
		in.Machine = protocol.Machine{Ports: []protocol.Port{{MAC: mac(50)}}, UUID: "x&room=" + evil, Serial: evil, Vendor: evil, Product: evil}
		in.Image, in.Agent, in.LastStart, in.Detail = evil, evil, evil, evil
		in.Disks[0].Model, in.Keys.SBAT, in.Keys.CAs = evil, evil, []protocol.CA{{Name: evil, SHA256: strings.Repeat("0", 64)}}
		in.Disks[0].Model, in.Devices[0].ID, in.FirmwareVersion = evil, evil, evil
	})
	s.checkIn(1, 2, func(in *protocol.CheckIn) { in.Agent = evil })
	s.keeper.Progress(peer(1), protocol.Progress{Protocol: protocol.Version, Machine: protocol.Machine{Ports: []protocol.Port{{MAC: mac(1)}}}, Phase: evil, Done: 1, Total: 2})
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
	for _, path := range []string{"/", "/host?id=b204-01", "/host?id=" + mac(50)} {
		code, page := s.get(c, path)
		if code != 200 {
			t.Errorf("%s: %d", path, code)
		}
		check(path, page)
	}
	s.report(1, 2, protocol.OutcomeFailed, evil, evil+"\n</pre>"+evil)
	_, page := s.get(c, "/host?id=b204-01")
	check("log", page)
	for _, text := range []string{"Steps of the last start", "<td>stage</td>", "1.0 MB fetched", "it is wanted"} {
		if !strings.Contains(page, text) {
			t.Errorf("the steps do not show %q", text)
		}
	}
	if code, page := s.get(c, "/host?id="+url.QueryEscape(evil)); code != 404 || strings.Contains(page, "<script>") {
		t.Errorf("an id that is none: %d", code)
	}
	w := s.from("127.0.0.1:9", "GET", "/", "")
	if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("CSP %q", csp)
	}
}

// What a machine would refuse to start of the version that it is to have is on its tile and on its
// page, and there is what its firmware tells.
func TestRefusals(t *testing.T) {
	s := newSite(t, 2, Options{Public: true})
	s.promote(3)
	s.checkIn(1, 2, nil)
	c := s.browser()
	if _, page := s.get(c, "/"); strings.Contains(page, "would not start") {
		t.Error("a machine that starts everything is said not to")
	}
	s.checkIn(2, 2, func(in *protocol.CheckIn) {
		in.SecureBoot = true
		in.Keys = protocol.Keys{SBAT: "sbat,1,2024010900", DBX: strings.Repeat("d", 64), DBXDate: time.Date(2024, 3, 9, 12, 0, 0, 0, time.UTC), SVN: 7 << 16,
			CAs: []protocol.CA{{Name: "Windows UEFI CA 2023", SHA256: strings.Repeat("c", 64)}}, Revoked: []protocol.CA{{Name: "PCA 2011", SHA256: strings.Repeat("e", 64)}}}
	})
	for path, texts := range map[string][]string{
		"/": {"would not start: the manager of win11-lab version 3: &lt;too old&gt;"},
		"/host?id=b204-02": {"This machine would not start the manager of win11-lab version 3: &lt;too old&gt;", "sbat,1,2024010900", strings.Repeat("d", 64),
			"2024-03-09", "security version 7.0", "Windows UEFI CA 2023", "<dt>dbx revokes</dt><dd>PCA 2011"},
	} {
		_, page := s.get(c, path)
		for _, text := range texts {
			if !strings.Contains(page, text) {
				t.Errorf("%s: %q is not shown", path, text)
			}
		}
	}
}
