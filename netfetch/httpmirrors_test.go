package netfetch

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"troy/internal/testing/fetchtest"
	"troy/internal/testing/memnet"
)

// readAll reads the object by 4 streams in ranges of 4 KiB.
func readAll(t *testing.T, m *Mirrors, data []byte) {
	t.Helper()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for off := w * 4096; off < len(data); off += 4 * 4096 {
				if b, err := m.ReadRange(t.Context(), object, int64(off), 4096); err != nil || !bytes.Equal(b, data[off:off+4096]) {
					t.Errorf("range at %d: %v", off, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestMirrorsDeadCostsOnce counts what a silent first mirror costs 4 streams with 100 ranges, and
// who tries it again.
func TestMirrorsDeadCostsOnce(t *testing.T) { synctest.Test(t, testMirrorsDeadCostsOnce) }

func testMirrorsDeadCostsOnce(t *testing.T) {
	data := fetchtest.Random(t, 400<<10)
	s, m := mirrored(t, data, 2)
	s[0].Always(fetchtest.Silence(time.Hour))        // each request to it costs the 300 ms of quick()
	s[1].Always(fetchtest.Silence(time.Millisecond)) // and to this one a moment, in which the others get on
	begin := time.Now()
	readAll(t, m, data)
	if n := len(s[0].Requests()); n > 4 || n == 0 || time.Since(begin) != 325*time.Millisecond {
		t.Errorf("the dead one was asked %d times, %v in all; want at most once for each stream", n, time.Since(begin))
	}
	again := func() int {
		before := len(s[0].Requests())
		time.Sleep(benchMost)
		readAll(t, m, data)
		return len(s[0].Requests()) - before
	}
	if n := again(); n != 1 {
		t.Errorf("when its time was over, the dead one was asked %d times, want once", n)
	}
	s[0].Always(nil)
	if n := again(); n < 97 { // all but what the others ask of the second meanwhile
		t.Errorf("the living one was asked %d times of 100", n)
	}
}

// TestMirrorsMissingDocument asks for what does not exist while the first mirror is dead: the
// answer of the second is final.
func TestMirrorsMissingDocument(t *testing.T) { synctest.Test(t, testMirrorsMissingDocument) }

func testMirrorsMissingDocument(t *testing.T) {
	s, m := mirrored(t, make([]byte, 10), 3)
	s[0].Always(fetchtest.Silence(time.Hour))
	for range 10 {
		if _, err := m.Get(t.Context(), "5.root.json", 100); !errors.Is(err, ErrNotFound) {
			t.Errorf("Get = %v", err)
		}
	}
	if n := len(s[0].Requests()); n != 1 {
		t.Errorf("the dead one was asked %d times", n)
	}
}

// TestMirrorsRetryAfter has mirrors that say when they can be asked again.
func TestMirrorsRetryAfter(t *testing.T) { synctest.Test(t, testMirrorsRetryAfter) }

func testMirrorsRetryAfter(t *testing.T) {
	data := fetchtest.Random(t, 8192)
	s, m := mirrored(t, data, 2)
	s[0].Next(fetchtest.Busy(503, "2"))
	s[1].Next(nil, nil, fetchtest.Busy(429, "1"))
	begin := time.Now()
	for range 3 { // the third finds both busy
		if b, err := m.ReadRange(t.Context(), object, 0, 4096); err != nil || !bytes.Equal(b, data[:4096]) {
			t.Fatalf("%v", err)
		}
	}
	one, two := s[0].Requests(), s[1].Requests()
	if len(one) != 1 || len(two) != 4 || two[3].At.Sub(two[2].At) < time.Second {
		t.Errorf("after %v: requests %+v and %+v", time.Since(begin), one, two)
	}
	s[0].Always(fetchtest.Busy(503, "3600"))
	s[1].Always(fetchtest.Busy(503, "3600"))
	time.Sleep(benchMost)
	begin = time.Now()
	_, err := m.ReadRange(t.Context(), object, 0, 1)
	if !errors.Is(err, ErrBusy) || time.Since(begin) > time.Second || strings.Count(err.Error(), "retry after 1h0m0s") != 2 {
		t.Errorf("both busy for an hour: after %v: %v", time.Since(begin), err)
	}
	before := len(s[0].Requests()) + len(s[1].Requests())
	if _, err := m.ReadRange(t.Context(), object, 0, 1); !errors.Is(err, ErrBusy) || len(s[0].Requests())+len(s[1].Requests()) != before {
		t.Errorf("they were asked before their time: %v", err)
	}
}

func TestNewHTTPMirrors(t *testing.T) {
	m, err := NewHTTPMirrors([]string{"http://a.example:80/x/", "", "b.example:8080", "http://a.example:80/x", "https://c.example"}, nil, nil)
	if err != nil || m.String() != "http://a.example:80/x, https://b.example:8080, https://c.example" {
		t.Fatalf("%v, %v", m, err)
	}
	for _, src := range m.sources {
		if o := src.(*HTTP).o; o.GiveUpAfter != mirrorPatience || o.stall != mirrorStall {
			t.Errorf("one of three gives up after %v, stall %v", o.GiveUpAfter, o.stall)
		}
	}
	m, err = NewHTTPMirrors([]string{"a.example", "a.example"}, &HTTPOptions{GiveUpAfter: time.Hour}, nil)
	if err != nil || m.String() != "https://a.example" || m.sources[0].(*HTTP).o.GiveUpAfter != time.Hour {
		t.Errorf("one alone: %v, %v", m, err)
	}
	for _, urls := range [][]string{nil, {""}, {"http://a.example", "ftp://b.example"}, {"a b"}, {"http://u:p@c.example"}} {
		if m, err := NewHTTPMirrors(urls, nil, nil); !errors.Is(err, ErrName) {
			t.Errorf("NewHTTPMirrors(%q) = %v, %v; want ErrName", urls, m, err)
		}
	}
}

// TestHTTPMirrorsWhole does what the agent does with a dead server, a plain web server and a living
// one: check in, fetch from the store under its path, report.
func TestHTTPMirrorsWhole(t *testing.T) { synctest.Test(t, testHTTPMirrorsWhole) }

func testHTTPMirrorsWhole(t *testing.T) {
	data := fetchtest.Random(t, 10_000)
	type message struct{ A, B string }
	plain := fetchtest.New(fetchtest.Files{"repo/o": data})
	var calls []string
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/{call}", func(w http.ResponseWriter, r *http.Request) {
		calls = append(calls, r.PathValue("call"))
		w.Write([]byte(`{"A":"living"}`))
	})
	liar := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(`{"A":"liar","A":"again"}`)) })
	var n memnet.Net
	n.Serve(t, "127.0.0.2:80", plain)
	n.Serve(t, "127.0.0.3:80", liar)
	n.Serve(t, "127.0.0.4:80", mux)
	// Three odd answers (the liar's) end a try, so its patience plays no part.
	m, err := NewHTTPMirrors([]string{"http://127.0.0.1", "http://127.0.0.2", "http://127.0.0.3", "http://127.0.0.4"}, &HTTPOptions{GiveUpAfter: 5 * time.Second,
		backoff: time.Millisecond, maxBackoff: 10 * time.Millisecond, dial: n.Dial}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Reconnect()
	for _, call := range []string{"v1/checkin", "v1/report", "v1/report"} {
		var out message
		begin := time.Now()
		if err := m.PostJSON(t.Context(), call, message{}, &out); err != nil || out != (message{A: "living"}) {
			t.Fatalf("%s = %+v, %v", call, out, err)
		}
		if call == "v1/report" && time.Since(begin) != 0 { // the dead one costs 2.5 s
			t.Errorf("the report took %v: it did not go to who answered", time.Since(begin))
		}
	}
	if strings.Join(calls, " ") != "checkin report report" {
		t.Errorf("calls %q", calls)
	}
	sub, err := m.Sub("repo")
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if b, err := sub.ReadRange(t.Context(), "o", 5, 5000); err != nil || !bytes.Equal(b, data[5:5005]) {
		t.Errorf("ReadRange = %d bytes, %v", len(b), err)
	}
	if time.Since(begin) != 0 {
		t.Errorf("the dead one was tried again, under Sub: %v", time.Since(begin))
	}
	if _, err := m.Sub("../x"); !errors.Is(err, ErrName) {
		t.Errorf("Sub(../x) = %v", err)
	}
	if st := m.Stats(); st.Received < 5000 || st.Requests < 8 || st.Retries == 0 {
		t.Errorf("stats %+v", st)
	}
	only, err := NewMirrors(nil, bare{m})
	if err != nil {
		t.Fatal(err)
	}
	if err := only.PostJSON(t.Context(), "x", 1, nil); !errors.Is(err, ErrNoCalls) {
		t.Errorf("a call to ranges only = %v", err)
	}
}
