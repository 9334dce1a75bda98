package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"troy/internal/testing/fetchtest"
	"troy/internal/testing/memnet"
	"troy/netfetch"
	"troy/server/protocol"
)

var machine = protocol.Machine{Ports: []protocol.Port{{MAC: "52:54:00:12:34:56"}}, UUID: "4c4c4544-0000-1000-8000-000000000001"}

// store makes a folder with objects, hidden ones, and links that lead out.
func store(t *testing.T) (dir string, pack []byte) {
	t.Helper()
	top := t.TempDir()
	dir = filepath.Join(top, "store")
	pack = fetchtest.Random(t, 3<<20+17)
	write := func(name string, b []byte) {
		p := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, b, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("objects/ab/ab12.pack", pack)
	write("images/win11/1.json", []byte(`{"a":1}`))
	write("images/empty", nil)
	write("store.json", []byte("{}"))
	write("tmp/half.pack", []byte("secret"))
	write("notes", []byte("secret"))
	write(".lock", []byte("secret"))
	write("objects/.tmp-123", []byte("secret"))
	write(".git/config", []byte("secret"))
	err := errors.Join(
		os.WriteFile(filepath.Join(top, "outside"), []byte("secret"), 0o644),
		os.Symlink("../../outside", filepath.Join(dir, "objects/link")),
		os.Symlink(filepath.Join(top, "outside"), filepath.Join(dir, "objects/abslink")),
		os.Symlink("../..", filepath.Join(dir, "objects/up")),
		syscall.Mkfifo(filepath.Join(dir, "objects/fifo"), 0o644),
	)
	if err != nil {
		t.Fatal(err)
	}
	return dir, pack
}

func newServer(t *testing.T, o Options) (*Server, *httptest.Server) {
	t.Helper()
	if o.Orders == nil {
		o.Orders = &fixed{Image: "win11", Version: 2}
	}
	s, err := New(&o)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s)
	t.Cleanup(func() { web.Close(); s.Close() })
	return s, web
}

// newServerInMemory is newServer for fake time. The client's address is 10.0.0.1; requests go to
// inMemory.
func newServerInMemory(t *testing.T, o Options) *http.Client {
	t.Helper()
	o.Orders = &fixed{Image: "win11", Version: 2}
	s, err := New(&o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	var n memnet.Net
	web := n.Serve(t, "127.0.0.1:80", s)
	web.ReadTimeout, web.WriteTimeout = readTime, sliceTime
	return client(t, &n)
}

const inMemory = "http://127.0.0.1:80"

// client makes one that uses a network in memory.
func client(t *testing.T, n *memnet.Net) *http.Client {
	c := &http.Client{Transport: &http.Transport{DialContext: n.Dial}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func TestFiles(t *testing.T) {
	dir, pack := store(t)
	var mu sync.Mutex
	told := map[string]int64{}
	s, web := newServer(t, Options{Dir: dir, OnServed: func(name string, n int64) {
		mu.Lock()
		told[name] += n
		mu.Unlock()
	}})
	h, err := netfetch.NewHTTP(web.URL+"/repo", nil)
	if err != nil {
		t.Fatal(err)
	}
	var want int64
	for range 40 {
		off := rand.Int64N(int64(len(pack)))
		n := rand.Int64N(int64(len(pack))-off) + 1
		got, err := h.ReadRange(t.Context(), "objects/ab/ab12.pack", off, n)
		if err != nil || !bytes.Equal(got, pack[off:off+n]) {
			t.Fatalf("range %d+%d: %d bytes, %v", off, n, len(got), err)
		}
		want += n
	}
	b, err := h.Get(t.Context(), "images/win11/1.json", 100)
	if err != nil || string(b) != `{"a":1}` {
		t.Errorf("1.json = %q, %v", b, err)
	}
	if b, err := h.Get(t.Context(), "images/empty", 100); err != nil || len(b) != 0 {
		t.Errorf("empty = %q, %v", b, err)
	}
	web.Close() // the last handler may still be on its way out of serveFile
	if n, requests := s.Served(); n != want+7 || requests != 42 {
		t.Errorf("served %d bytes in %d requests, want %d in 42", n, requests, want+7)
	}
	mu.Lock()
	defer mu.Unlock()
	if told["objects/ab/ab12.pack"] != want {
		t.Errorf("OnServed was told %d, want %d", told["objects/ab/ab12.pack"], want)
	}
}

// TestNothingElseIsServed asks in all the ways that could lead elsewhere, with
// the paths as written on the wire.
func TestNothingElseIsServed(t *testing.T) {
	dir, _ := store(t)
	_, web := newServer(t, Options{Dir: dir})
	paths := []string{"/", "/repo", "/repo/", "/repo/objects", "/repo/objects/", "/repo/missing",
		"/repo/.lock", "/repo/objects/.tmp-123", "/repo/.git/config", "/repo/objects/link", "/repo/objects/abslink", "/repo/objects/up/outside",
		"/repo/objects/fifo", "/repo/tmp/half.pack", "/repo/notes", "/repo/objects/ab", "/repo/images", "/repo/objects/../notes", "/repo/../outside", "/repo/objects/../../outside", "/repo/%2e%2e/outside", "/repo/..%2foutside",
		"/repo/objects%2f..%2f..%2foutside", "/repo//etc/passwd", "/repo/%2fetc/passwd", "/repo/objects/ab/ab12.pack/", "/repo/%00",
		"/repo/objects\\ab\\ab12.pack", "/repo/./.lock", "/etc/passwd"}
	for _, path := range paths {
		status, body := raw(t, web, "GET "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if status == 200 || status == 206 || strings.Contains(body, "secret") || strings.Contains(body, "root:") {
			t.Errorf("GET %s: status %d, body %.60q", path, status, body)
		}
	}
	for _, method := range []string{"PUT", "DELETE", "POST"} {
		if status, _ := raw(t, web, method+" /repo/objects/ab/ab12.pack HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"); status != 405 {
			t.Errorf("%s: status %d, want 405", method, status)
		}
	}
}

// raw sends a request as written and gives the final status and body.
func raw(t *testing.T, web *httptest.Server, request string) (int, string) {
	t.Helper()
	c, err := net.Dial("tcp", web.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(b), "\r\n\r\n")
	var status int
	if _, err := fmt.Sscanf(head, "HTTP/1.1 %d", &status); err != nil {
		t.Fatalf("answer %.100q", b)
	}
	return status, body
}

// TestRangesAsCurlSeesThem cross-checks with a client that is not ours.
func TestRangesAsCurlSeesThem(t *testing.T) {
	dir, pack := store(t)
	_, web := newServer(t, Options{Dir: dir})
	url := web.URL + "/repo/objects/ab/ab12.pack"
	for _, r := range [][2]int{{0, 0}, {0, 4095}, {1<<20 - 1, 1 << 20}, {3 << 20, 3<<20 + 16}} {
		out, err := exec.Command("curl", "-sS", "--noproxy", "*", "-r", fmt.Sprintf("%d-%d", r[0], r[1]), url).Output()
		if err != nil || !bytes.Equal(out, pack[r[0]:r[1]+1]) {
			t.Errorf("curl -r %v: %d bytes, %v", r, len(out), err)
		}
	}
	head, err := exec.Command("curl", "-sSI", "--noproxy", "*", url).Output()
	if err != nil || !strings.Contains(string(head), "Accept-Ranges: bytes") || !strings.Contains(string(head), "Etag: \"") ||
		!strings.Contains(string(head), fmt.Sprintf("Content-Length: %d\r", len(pack))) {
		t.Errorf("curl -I: %v\n%s", err, head)
	}
}

// TestETag stays over a restart and changes with the file.
func TestETag(t *testing.T) {
	dir, _ := store(t)
	etag := func() string {
		_, web := newServer(t, Options{Dir: dir})
		resp, err := http.Head(web.URL + "/repo/images/empty")
		if err != nil {
			t.Fatal(err)
		}
		return resp.Header.Get("ETag")
	}
	first, again := etag(), etag()
	if first == "" || first != again || first[0] != '"' {
		t.Errorf("ETags %s and %s, want one strong one", first, again)
	}
	if err := os.WriteFile(filepath.Join(dir, "images/empty"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if other := etag(); other == first {
		t.Errorf("the ETag of a changed file is still %s", other)
	}
}

func TestCheckIn(t *testing.T) {
	dir, _ := store(t)
	var seen []protocol.CheckIn
	orders := &fixed{Image: "win11", Version: 3}
	_, web := newServer(t, Options{Dir: dir,
		Orders:    orders,
		OnCheckIn: func(_ protocol.Peer, c protocol.CheckIn, _ protocol.Order, _ error) { seen = append(seen, c) }})
	h, err := netfetch.NewHTTP(web.URL, &netfetch.HTTPOptions{GiveUpAfter: 4 * time.Second}) // less than Retry-After
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		image   string
		version int
		reason  string
	}{{"", 0, ""}, {"win11", 2, ""}, {"win11", 3, "the machine has this version"}, {"other", 3, ""}, {"win11", 4, ""}}
	for _, test := range tests {
		var o protocol.Order
		c := protocol.CheckIn{Protocol: protocol.Version, Machine: machine, Image: test.image, Version: test.version}
		if err := h.PostJSON(t.Context(), protocol.PathCheckIn, c, &o); err != nil {
			t.Fatal(err)
		}
		if err := o.Validate(); err != nil || o.Reason != test.reason || o.Want == nil || *o.Want != (protocol.Want{Image: "win11", Version: 3, Manifest: strings.Repeat("0f", protocol.HashSize/2)}) || o.Repo != "repo" {
			t.Errorf("order for %s@%d = %+v, %v", test.image, test.version, o, err)
		}
	}
	if len(seen) != len(tests) || seen[1].Version != 2 {
		t.Errorf("OnCheckIn saw %+v", seen)
	}
	orders.Version = 0 // an order that cannot be given
	err = h.PostJSON(t.Context(), protocol.PathCheckIn, protocol.CheckIn{Protocol: protocol.Version, Machine: machine}, nil)
	if !errors.Is(err, netfetch.ErrBusy) || !strings.Contains(err.Error(), `want image "win11" version 0`) {
		t.Errorf("without a version: %v", err)
	}
}

func TestBadMessages(t *testing.T) {
	dir, _ := store(t)
	_, web := newServer(t, Options{Dir: dir, OnReport: func(_ protocol.Peer, r protocol.Report) { t.Errorf("report %+v", r) }})
	good := `{"protocol":5,"machine":{"ports":[{"mac":"52:54:00:12:34:56"}]}}`
	tests := []struct {
		body, kind string
		status     int
		text       string
	}{
		{good, "application/json; charset=utf-8", 200, `"want"`},
		{good, "text/plain", 415, "application/json"},
		{"", "application/json", 400, "JSON"},
		{"null", "application/json", 400, "protocol 0"},
		{"[]", "application/json", 400, "JSON"},
		{good[:20], "application/json", 400, "JSON"},
		{good + good, "application/json", 400, "after top-level value"},
		{good + "}", "application/json", 400, "JSON"},
		{`{"protocol":1,"machine":{"ports":[{"mac":"52:54:00:12:34:56"}]}}`, "application/json", 200, `"reason":"its agent is too old`},
		{`{"protocol":99,"oldest":98,"machine":{"ports":[{"mac":"52:54:00:12:34:56"}]},"image":{}}`, "application/json", 200, `"reason":"its agent is too new`},
		{`{"protocol":5,"later":true,"machine":{"ports":[{"mac":"52:54:00:12:34:56"}]}}`, "application/json", 200, `"want"`},
		{`{"protocol":5,"protocol":5,"machine":{"uuid":"a"}}`, "application/json", 400, "duplicate"},
		{`{"protocol":5,"Oldest":5,"machine":{"uuid":"a"}}`, "application/json", 400, `member \"Oldest\" is spelled \"oldest\"`},
		{"{\"protocol\":5,\"later\":\"\xff\",\"machine\":{\"uuid\":\"a\"}}", "application/json", 400, "UTF-8"},
		{`{"protocol":5,"machine":{"ports":[]}}`, "application/json", 400, "neither ports nor uuid"},
		{`{"protocol":5,"machine":{"ports":[{"mac":"52-54-00-12-34-56"}]}}`, "application/json", 400, "ports[0].mac"},
		{`{"protocol":5,"machine":{"uuid":"` + strings.Repeat("a", 257) + `"}}`, "application/json", 400, "257 bytes"},
		{`{"protocol":5,"machine":{"uuid":"\u001b[2J"}}`, "application/json", 400, "control character"},
		{`{"protocol":5,"machine":{"uuid":"a"},"version":-1}`, "application/json", 400, "version -1"},
		{`{"protocol":5,"agent":"` + strings.Repeat("a", protocol.MaxBody) + `"}`, "application/json", 413, "65536"},
	}
	for _, test := range tests {
		resp, err := http.Post(web.URL+"/v1/checkin", test.kind, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != test.status || !strings.Contains(string(b), test.text) || !json.Valid(b) || bytes.Count(b, []byte("\n")) != 1 {
			t.Errorf("%.70s: %d %s, want %d with %q in one line", test.body, resp.StatusCode, b, test.status, test.text)
		}
	}
}

func TestReports(t *testing.T) {
	dir, _ := store(t)
	var told []protocol.Report
	_, web := newServer(t, Options{Dir: dir, OnReport: func(_ protocol.Peer, r protocol.Report) { told = append(told, r) }})
	h, err := netfetch.NewHTTP(web.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := protocol.Report{Protocol: protocol.Version, ID: "a", Machine: machine, Outcome: protocol.OutcomeDone, Image: "win11", Version: 2,
		Steps: []protocol.Step{{Kind: "stage", Seconds: 1.5, Fetched: 1 << 30}}}
	other := protocol.Report{Protocol: protocol.Version, Machine: protocol.Machine{Ports: []protocol.Port{{MAC: "52:54:00:00:00:01"}}},
		Outcome: protocol.OutcomeFailed, ExitCode: 3, Message: "no parent\nsecond line"}
	second := r
	second.ID = "b"
	for _, m := range []protocol.Report{r, r, other, second} {
		var ack protocol.Ack
		if err := h.PostJSON(t.Context(), protocol.PathReport, m, &ack); err != nil || ack.Protocol != protocol.Version {
			t.Fatalf("report: %v, %+v", err, ack)
		}
	}
	if len(told) != 3 || told[0].ID != "a" || told[0].Steps[0].Fetched != 1<<30 || told[1].ExitCode != 3 || told[2].ID != "b" {
		t.Errorf("told %+v", told)
	}
	r.Outcome = "wonderful"
	if err := h.PostJSON(t.Context(), protocol.PathReport, r, nil); !errors.Is(err, netfetch.ErrRefused) {
		t.Errorf("report with a strange outcome: %v", err)
	}
}

// TestServeEndsOrderly stops a server in the middle of an answer, which ends whole.
func TestServeEndsOrderly(t *testing.T) { synctest.Test(t, testServeEndsOrderly) }

func testServeEndsOrderly(t *testing.T) {
	dir, pack := store(t)
	s, err := New(&Options{Dir: dir, Orders: &fixed{Image: "a", Version: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var n memnet.Net
	l, err := n.Listen("127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, &n)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Serve(ctx, l, s) }()
	health, err := c.Get(inMemory + "/healthz")
	if err != nil || health.StatusCode != 200 || health.Header.Get("Date") == "" {
		t.Fatalf("healthz: %v %v", health, err)
	}
	health.Body.Close()
	resp, err := c.Get(inMemory + "/repo/objects/ab/ab12.pack")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	got, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || !bytes.Equal(got, pack) {
		t.Errorf("the running answer: %d of %d bytes, %v", len(got), len(pack), err)
	}
	if err := <-done; err != nil {
		t.Errorf("Serve = %v", err)
	}
	if _, err := c.Get(inMemory + "/healthz"); err == nil {
		t.Error("the server still answers")
	}
	if err := Serve(t.Context(), l, s); err == nil {
		t.Error("Serve on a closed listener = nil")
	}
}
