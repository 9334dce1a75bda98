package netfetch

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"troy/internal/testing/fetchtest"
	"troy/internal/testing/memnet"
)

// quick are options under which a test meets retries in milliseconds.
func quick() *HTTPOptions {
	return &HTTPOptions{GiveUpAfter: 2 * time.Second, stall: 300 * time.Millisecond,
		backoff: time.Millisecond, maxBackoff: 10 * time.Millisecond}
}

// onFakeTime runs a test whose clock goes on only while everything waits.
func onFakeTime(f func(*testing.T)) func(*testing.T) {
	return func(t *testing.T) { synctest.Test(t, f) }
}

// serve starts a misbehaving server with one object "dir/pack 1.bin", in memory.
func serve(t testing.TB, data []byte) (*fetchtest.Server, *HTTP) {
	t.Helper()
	return serveWith(t, data, quick())
}

const object = "dir/pack 1%2f?.bin"

func serveWith(t testing.TB, data []byte, o *HTTPOptions) (*fetchtest.Server, *HTTP) {
	t.Helper()
	s := fetchtest.New(fetchtest.Files{"repo/" + object: data})
	return s, connect(t, s, "/repo/", o)
}

// connect starts a server in memory and returns what reads from a path of it.
func connect(t testing.TB, handler http.Handler, path string, o *HTTPOptions) *HTTP {
	t.Helper()
	var with HTTPOptions
	if o != nil {
		with = *o
	}
	var n memnet.Net
	n.Serve(t, "127.0.0.1:80", handler)
	with.dial = n.Dial
	h, err := NewHTTP("http://127.0.0.1:80"+path, &with)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Reconnect)
	return h
}

func TestReadRange(t *testing.T) { synctest.Test(t, testReadRange) }

func testReadRange(t *testing.T) {
	data := fetchtest.Random(t, 300_001)
	s, h := serveWith(t, data, nil)
	ranges := [][2]int64{{0, 1}, {0, 300_001}, {300_000, 1}, {4096, 4096}, {4095, 4098}, {12345, 0}}
	for range 50 {
		off := rand.Int64N(300_001)
		ranges = append(ranges, [2]int64{off, rand.Int64N(300_001-off) + 1})
	}
	var want int64
	for _, r := range ranges {
		got, err := h.ReadRange(t.Context(), object, r[0], r[1])
		if err != nil || !bytes.Equal(got, data[r[0]:r[0]+r[1]]) {
			t.Fatalf("ReadRange(%d, %d) = %d bytes, %v", r[0], r[1], len(got), err)
		}
		want += r[1]
	}
	synctest.Wait() // the last handler has yet to count
	if st := h.Stats(); s.Sent() != want || st.Received != want || st.Retries != 0 || st.Discarded != 0 {
		t.Errorf("sent %d, stats %+v, want %d bytes and no retry", s.Sent(), st, want)
	}
}

// TestReadRangeFaults meets each way to misbehave once or twice and must still
// give the right bytes, fetching no more again than the fault makes necessary.
func TestReadRangeFaults(t *testing.T) {
	data := fetchtest.Random(t, 1<<20)
	const off, n = 70_001, 300_000
	tests := []struct {
		name   string
		faults []fetchtest.Fault
		most   int64 // bytes that may come over the wire for n useful ones
	}{
		{"cut", []fetchtest.Fault{fetchtest.Cut(1), fetchtest.Cut(100_000), fetchtest.Cut(0)}, n},
		{"dropped", []fetchtest.Fault{fetchtest.Drop(), fetchtest.Drop()}, n},
		{"stall in the body", []fetchtest.Fault{fetchtest.Stall(150_000)}, n},
		{"stall before the header", []fetchtest.Fault{fetchtest.Silence(time.Minute)}, n},
		{"slow drip", []fetchtest.Fault{fetchtest.Drip(1, 50*time.Millisecond)}, n + 100},
		{"503 storm", []fetchtest.Fault{fetchtest.Busy(503, ""), fetchtest.Busy(502, ""), fetchtest.Busy(429, "0"), fetchtest.Busy(500, "")}, n + 200},
		{"200 for 206", []fetchtest.Fault{fetchtest.Whole()}, 1 << 20},
		{"cut 200 for 206", []fetchtest.Fault{chain(fetchtest.Whole(), fetchtest.Cut(off+200_000))}, 1 << 20},
		{"other range", []fetchtest.Fault{fetchtest.Shift(1), fetchtest.Shift(-4096)}, 3 * n},
		{"lie in Content-Range", []fetchtest.Fault{fetchtest.Header("Content-Range", "bytes 70001-369999/1048576")}, 2 * n},
		{"no Content-Range", []fetchtest.Fault{fetchtest.Header("Content-Range", "")}, 2 * n},
		{"encoded", []fetchtest.Fault{fetchtest.Header("Content-Encoding", "gzip")}, 2 * n},
		{"endless", []fetchtest.Fault{fetchtest.Endless()}, 3*n + 1<<20},
		{"changed", []fetchtest.Fault{fetchtest.Cut(100_000), fetchtest.ETag(`"other"`)}, 1 << 20},
		{"changed, If-Range ignored", []fetchtest.Fault{fetchtest.Cut(100_000), fetchtest.DeafETag(`"other"`)}, 3 * n},
		{"no ETag", []fetchtest.Fault{chain(fetchtest.ETag(""), fetchtest.Cut(100_000)), fetchtest.ETag("")}, n},
		{"weak ETag", []fetchtest.Fault{chain(fetchtest.ETag(`W/"x"`), fetchtest.Cut(100_000)), fetchtest.ETag(`W/"x"`)}, n},
	}
	for _, test := range tests {
		t.Run(test.name, onFakeTime(func(t *testing.T) {
			s, h := serve(t, data)
			s.Next(test.faults...)
			got, err := h.ReadRange(t.Context(), object, off, n)
			if err != nil || !bytes.Equal(got, data[off:off+n]) {
				t.Fatalf("ReadRange = %d bytes, %v", len(got), err)
			}
			if st := h.Stats(); st.Received > test.most || st.Requests < int64(len(test.faults)) {
				t.Errorf("stats %+v, want at most %d bytes, at least %d requests", st, test.most, len(test.faults))
			}
		}))
	}
}

// TestReadRangeOfSeveralBackends: the rest of a range that lies too far inside to be read up to is
// asked of another server behind the same name, which has an ETag of its own and answers 200.
func TestReadRangeOfSeveralBackends(t *testing.T) {
	data := fetchtest.Random(t, 1<<20)
	const off, n = 500_000, 300_000
	cut, other := fetchtest.Cut(100_000), fetchtest.ETag(`"other"`)
	for name, c := range map[string]struct {
		faults  []fetchtest.Fault
		ifRange []bool // whether each request is bound to what came before
		want    error
	}{
		"both in turn":           {[]fetchtest.Fault{cut, other}, []bool{false, true, false}, nil},
		"the other one answers":  {[]fetchtest.Fault{cut, other, other}, []bool{false, true, false}, nil},
		"cut twice":              {[]fetchtest.Fault{cut, other, chain(other, cut)}, []bool{false, true, false, true, false}, nil},
		"the other has no range": {[]fetchtest.Fault{cut, fetchtest.Whole(), fetchtest.Whole()}, []bool{false, true, false}, ErrNoRanges},
		"no ranges at all":       {[]fetchtest.Fault{fetchtest.Whole()}, []bool{false}, ErrNoRanges},
	} {
		t.Run(name, onFakeTime(func(t *testing.T) {
			o := quick()
			o.maxDiscard = off - 1
			s, h := serveWith(t, data, o)
			s.Next(c.faults...)
			got, err := h.ReadRange(t.Context(), object, off, n)
			if !errors.Is(err, c.want) || err == nil && !bytes.Equal(got, data[off:off+n]) {
				t.Errorf("ReadRange = %d bytes, %v, want %v", len(got), err, c.want)
			}
			var bound []bool
			for _, r := range s.Requests() {
				bound = append(bound, r.IfRange != "")
			}
			if !slices.Equal(bound, c.ifRange) {
				t.Errorf("If-Range in the requests: %v, want %v", bound, c.ifRange)
			}
		}))
	}
}

func chain(a, b fetchtest.Fault) fetchtest.Fault {
	return func(h http.Handler) http.Handler { return b(a(h)) }
}

// TestReadRangeResumesWithIfRange looks at what goes over the wire after a cut.
func TestReadRangeResumesWithIfRange(t *testing.T) { synctest.Test(t, testReadRangeResumesWithIfRange) }

func testReadRangeResumesWithIfRange(t *testing.T) {
	data := fetchtest.Random(t, 200_000)
	s, h := serve(t, data)
	s.Next(fetchtest.Cut(50_000))
	if _, err := h.ReadRange(t.Context(), object, 1000, 150_000); err != nil {
		t.Fatal(err)
	}
	log := s.Requests()
	if len(log) != 2 || log[0].Range != "bytes=1000-150999" || log[0].IfRange != "" {
		t.Fatalf("requests %+v", log)
	}
	if log[1].Range != "bytes=51000-150999" || log[1].IfRange == "" {
		t.Errorf("second request %+v, want the rest with If-Range", log[1])
	}
}

func TestReadRangeFailures(t *testing.T) {
	data := fetchtest.Random(t, 100_000)
	tests := []struct {
		name   string
		fault  fetchtest.Fault
		off, n int64
		want   error
		text   string
		tries  int // 0 = several
	}{
		{"past the end", nil, 99_999, 2, ErrOutOfRange, "holds 100000 bytes", 1},
		{"behind the end", nil, 100_000, 1, ErrOutOfRange, "416", 1},
		{"negative", nil, -1, 1, ErrOutOfRange, "1 bytes at -1", 0},
		{"overflow", nil, 1<<63 - 1, 1, ErrOutOfRange, "", 0},
		{"too long", nil, 0, 65 << 20, ErrTooLarge, "67108864", 0},
		{"missing", fetchtest.Busy(404, ""), 0, 1, ErrNotFound, "404 Not Found (come back later)", 1},
		{"forbidden", fetchtest.Busy(403, ""), 0, 1, ErrRefused, "403", 1},
		{"always busy", fetchtest.Busy(503, ""), 0, 1, ErrBusy, "503", 0},
		{"busy for long", fetchtest.Busy(503, "3600"), 0, 1, ErrBusy, "retry after 1h0m0s", 1},
		{"always cut", fetchtest.Cut(10), 0, 100_000, ErrCut, "of 100000 bytes", 0},
		{"always silent", fetchtest.Stall(10), 0, 100_000, ErrStalled, "10 bytes in 300ms", 0},
		{"always another range", fetchtest.Shift(1), 5, 10, ErrProtocol, "bytes 6-15 came, 5-14 were asked for", 3},
		{"whole, too far in", fetchtest.Whole(), 60_000, 10, ErrNoRanges, "starts at byte 60000 (limit 50000)", 1},
		{"whole, too short", fetchtest.Whole(), 99_999, 2, ErrOutOfRange, "holds 100000", 1},
		{"redirect loop", fetchtest.Redirect("/again"), 0, 1, ErrProtocol, "more than 5 redirects", 3},
	}
	for _, test := range tests {
		t.Run(test.name, onFakeTime(func(t *testing.T) {
			o := quick()
			o.maxDiscard = 50_000
			s, h := serveWith(t, data, o)
			s.Always(test.fault)
			got, err := h.ReadRange(t.Context(), object, test.off, test.n)
			var fe *FetchError
			if !errors.Is(err, test.want) || !errors.As(err, &fe) {
				t.Fatalf("ReadRange = %d bytes, %v; want %v", len(got), err, test.want)
			}
			came := errors.Is(test.want, ErrCut) || errors.Is(test.want, ErrStalled)
			if came != (len(got) > 0) || came && !bytes.Equal(got, data[:len(got)]) {
				t.Errorf("ReadRange = %d bytes before the error; want what came", len(got))
			}
			if !strings.Contains(err.Error(), test.text) || !strings.Contains(err.Error(), h.String()) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error = %q, want %q and the server in one line", err, test.text)
			}
			if test.tries > 0 && fe.Tries != test.tries || len(s.Requests()) < fe.Tries {
				t.Errorf("%d tries, %d requests, want %d", fe.Tries, len(s.Requests()), test.tries)
			}
		}))
	}
}

// TestRetryAfterIsHonoured measures the wait the server asked for.
func TestRetryAfterIsHonoured(t *testing.T) {
	for name, value := range map[string]func() string{
		"seconds": func() string { return "1" },
		"a date":  func() string { return time.Now().Add(time.Second).UTC().Format(http.TimeFormat) },
	} {
		t.Run(name, onFakeTime(func(t *testing.T) {
			s, h := serve(t, []byte("x"))
			s.Next(fetchtest.Busy(503, value()))
			if _, err := h.ReadRange(t.Context(), object, 0, 1); err != nil {
				t.Fatal(err)
			}
			log := s.Requests()
			if d := log[1].At.Sub(log[0].At); d < time.Second || d > time.Second+h.o.backoff {
				t.Errorf("came back after %v", d)
			}
		}))
	}
}

// TestContextEndsEverything cancels in each phase of a request.
func TestContextEndsEverything(t *testing.T) {
	for name, fault := range map[string]fetchtest.Fault{
		"silence": fetchtest.Silence(time.Minute), "stall": fetchtest.Stall(5), "pause": fetchtest.Busy(503, "1"),
	} {
		t.Run(name, onFakeTime(func(t *testing.T) {
			o := quick()
			o.stall = time.Minute
			s, h := serveWith(t, make([]byte, 100), o)
			s.Always(fault)
			ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
			defer cancel()
			begin := time.Now()
			_, err := h.ReadRange(ctx, object, 0, 100)
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 400*time.Millisecond {
				t.Errorf("after %v: %v", time.Since(begin), err)
			}
			if name == "pause" && !errors.Is(err, ErrBusy) {
				t.Errorf("error = %v, want the last failure in it", err)
			}
		}))
	}
}

// TestConnectionsAreKept counts connections over many ranges in parallel.
func TestConnectionsAreKept(t *testing.T) {
	data := fetchtest.Random(t, 1<<20)
	web := httptest.NewUnstartedServer(fetchtest.New(fetchtest.Files{"o": data}))
	conns := make(map[string]bool)
	var mu sync.Mutex
	web.Config.ConnState = func(c net.Conn, _ http.ConnState) {
		mu.Lock()
		conns[c.RemoteAddr().String()] = true
		mu.Unlock()
	}
	web.Start()
	defer web.Close()
	h, err := NewHTTP(web.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 25 {
				off := int64(w*25+i) * 10_000
				if b, err := h.ReadRange(t.Context(), "o", off, 10_000); err != nil || !bytes.Equal(b, data[off:off+10_000]) {
					t.Errorf("range at %d: %v", off, err)
				}
			}
		})
	}
	wg.Wait()
	// A stream may ask again before its connection is back in the pool.
	if len(conns) > 12 {
		t.Errorf("%d connections for 100 ranges in 4 streams", len(conns))
	}
}

// TestProxy goes through a proxy.
func TestProxy(t *testing.T) { synctest.Test(t, testProxy) }

func testProxy(t *testing.T) {
	var asked []string
	var n memnet.Net
	n.Serve(t, "127.0.0.1:3128", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.String())
		w.Write([]byte("x"))
	}))
	o := quick()
	o.dial = n.Dial
	h, err := NewHTTP("http://troy.example/repo", o)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Reconnect()
	proxy := &url.URL{Scheme: "http", Host: "127.0.0.1:3128"}
	h.client.Transport.(*http.Transport).Proxy = http.ProxyURL(proxy) // as the environment names one
	b, err := h.Get(t.Context(), object, 10)
	if want := "http://troy.example/repo/dir/pack%201%252f%3F.bin"; err != nil || string(b) != "x" || len(asked) != 1 || asked[0] != want {
		t.Errorf("Get = %q, %v; the proxy was asked for %q, want %q", b, err, asked, want)
	}
}

// TestReconnect gives up connections that hang; the reads go on at once.
func TestReconnect(t *testing.T) { synctest.Test(t, testReconnect) }

func testReconnect(t *testing.T) {
	data := fetchtest.Random(t, 200_000)
	o := quick()
	o.stall = time.Minute
	s, h := serveWith(t, data, o)
	s.Next(fetchtest.Stall(50_000), fetchtest.Stall(0), fetchtest.Silence(time.Hour))
	var reconnecting sync.WaitGroup
	reconnecting.Go(func() {
		for range 3 { // each request hangs by then
			time.Sleep(100 * time.Millisecond)
			h.Reconnect()
		}
	})
	begin := time.Now()
	b, err := h.ReadRange(t.Context(), object, 100, 150_000)
	if err != nil || !bytes.Equal(b, data[100:150_100]) || h.Stats().Retries != 3 || time.Since(begin) > time.Second {
		t.Errorf("after %v: %d bytes, %v; %+v", time.Since(begin), len(b), err, h.Stats())
	}
	reconnecting.Wait()
}

func TestNames(t *testing.T) { synctest.Test(t, testNames) }

func testNames(t *testing.T) {
	_, h := serve(t, []byte("x"))
	for _, name := range []string{"", ".", "..", "../x", "/x", "a//b", "a/../b", "a/", `a\b`, "a\x00", "a\r\nX: y"} {
		if _, err := h.Get(t.Context(), name, 10); !errors.Is(err, ErrName) {
			t.Errorf("Get(%q) = %v, want ErrName", name, err)
		}
	}
	for _, base := range []string{"", "host", "ftp://h/", "http://", "http:///x", "http://u:p@h/", "http://h/?q", "http://h/#f", "http://h:x/"} {
		if _, err := NewHTTP(base, nil); !errors.Is(err, ErrName) {
			t.Errorf("NewHTTP(%q) = %v, want ErrName", base, err)
		}
	}
	sub, err := h.sub("dir")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := sub.Get(t.Context(), strings.TrimPrefix(object, "dir/"), 10); err != nil || string(b) != "x" {
		t.Errorf("Get under Sub = %q, %v", b, err)
	}
	if _, err := h.sub("../secret"); !errors.Is(err, ErrName) {
		t.Errorf("Sub(../secret) = %v", err)
	}
}
