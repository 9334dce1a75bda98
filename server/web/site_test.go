package web

import (
	"context"
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
	"sync/atomic"
	"testing"
	"time"

	"troy/server/audit"
	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/rooms"
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

// Refused implements rooms.Programs.
func (sizes) Refused(_ context.Context, in *protocol.CheckIn, image string, number int) []string {
	if !in.SecureBoot {
		return nil
	}
	return []string{fmt.Sprintf("the manager of %s version %d: <too old>", image, number)}
}

// Undriven implements rooms.Programs.
func (sizes) Undriven(context.Context, *protocol.CheckIn, string, int) []string { return nil }

// site is a server with a lab of so many machines in room B204.
type site struct {
	t      testing.TB
	keeper *rooms.Keeper
	path   string // of lab.yaml
	web    *Handler
	http   *httptest.Server

	proxyFails atomic.Bool // in front of the events

	mu    sync.Mutex
	acts  []audit.Entry
	calls []rooms.Call
	woken chan struct{} // something was called
}

// Wake implements rooms.Waker.
func (s *site) Wake(_ context.Context, calls []rooms.Call) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, calls...)
	select {
	case s.woken <- struct{}{}:
	default: // told, and not yet heard
	}
	return nil
}

// whoWasCalled waits until n machines were called: that is done in the background.
func (s *site) whoWasCalled(n int) int {
	s.t.Helper()
	for {
		s.mu.Lock()
		have := len(s.calls)
		s.mu.Unlock()
		if have >= n {
			return have
		}
		select {
		case <-s.woken:
		case <-time.After(time.Minute):
			s.t.Fatalf("%d machines were called, want %d", have, n)
		}
	}
}

func mac(i int) string { return fmt.Sprintf("52:54:00:00:%02x:%02x", i>>8, i&255) }

func newSite(t testing.TB, machines int, o Options) *site {
	t.Helper()
	return newSiteAt(t, machines, o, time.Now)
}

// newSiteAt is newSite with another clock.
func newSiteAt(t testing.TB, machines int, o Options, now func() time.Time) *site {
	t.Helper()
	s, dir := &site{t: t, woken: make(chan struct{}, 1)}, t.TempDir()
	var text strings.Builder
	text.WriteString(labYAML)
	if machines > 0 {
		text.WriteString("hosts:\n")
	}
	for i := 1; i <= machines; i++ {
		fmt.Fprintf(&text, "  - {name: b204-%02d, room: B204, mac: \"%s\"}\n", i, mac(i))
	}
	path := filepath.Join(dir, "lab.yaml")
	s.path = path
	must(t, os.WriteFile(path, []byte(text.String()), 0o644))
	file, err := lab.Open(path)
	must(t, err)
	db, err := state.Open(filepath.Join(dir, "state.db"), nil)
	must(t, err)
	t.Cleanup(func() { db.Close() })
	s.keeper, err = rooms.New(&rooms.Options{Lab: file, State: db, Sizes: sizes{}, Programs: sizes{}, Waker: s, Now: now})
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
	s.web.now = now
	s.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == pathEvents && s.proxyFails.Load() {
			http.Error(w, "no server behind the proxy", http.StatusBadGateway)
			return
		}
		s.web.ServeHTTP(w, r)
	}))
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

// lab changes what lab.yaml says of rooms; the hosts stay.
func (s *site) lab(text string) {
	s.t.Helper()
	b, err := os.ReadFile(s.path)
	must(s.t, err)
	_, hosts, _ := strings.Cut(string(b), "hosts:")
	must(s.t, os.WriteFile(s.path, []byte(text+"hosts:"+hosts), 0o644))
	s.keeper.Reload(true)
	must(s.t, s.keeper.LabError())
}

// peer is the connection of machine i.
func peer(i int) protocol.Peer { return protocol.Peer{Key: fmt.Sprintf("key-%d", i)} }

// tile is the id of the tile of machine i, which has checked in.
func (s *site) tile(i int) string {
	s.t.Helper()
	h, _, err := s.keeper.Host(mac(i))
	must(s.t, err)
	return ident("m", h.ID)
}

// checkIn has machine i, or an unknown one, ask for an order.
func (s *site) checkIn(i, version int, change func(*protocol.CheckIn)) protocol.Order {
	s.t.Helper()
	in := protocol.CheckIn{Protocol: protocol.Version, Machine: protocol.Machine{Ports: []protocol.Port{{MAC: mac(i)}}, Vendor: "Dell Inc.", Product: "OptiPlex 7010"}, Image: "win11-lab", Version: version,
		Firmware: "uefi", FirmwareVersion: "Dell Inc. 1.2.3 (05/12/2023)", Memory: 16 << 30,
		Devices: []protocol.Device{{Kind: "network", Bus: "usb", ID: "0bda:8153", Class: "020600"}},
		Disks:   []protocol.Disk{{Path: "/dev/nvme0n1", Model: "Samsung PM9B1", Size: 512 << 30, SectorSize: 512, Troy: true}}}
	if change != nil {
		change(&in)
	}
	must(s.t, in.Validate())
	o, err := s.keeper.Order(s.t.Context(), peer(i), in)
	must(s.t, err)
	return o
}

func (s *site) report(i, version int, outcome protocol.Outcome, message, log string) {
	s.t.Helper()
	must(s.t, s.keeper.Report(s.t.Context(), peer(i), protocol.Report{Protocol: protocol.Version, ID: fmt.Sprint(i, version, outcome, time.Now()), Machine: protocol.Machine{Ports: []protocol.Port{{MAC: mac(i)}}},
		Image: "win11-lab", Version: version, Outcome: outcome, Message: message, Log: log,
		Steps: []protocol.Step{{Kind: "stage", Seconds: 3, Fetched: 1 << 20, Reason: "it is wanted", Error: message}}}))
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
