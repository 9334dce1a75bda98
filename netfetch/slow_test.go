package netfetch

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"troy/internal/testing/fetchtest"
	"troy/internal/testing/memnet"
)

// at makes a list of one server in memory, as the agent has one for its servers and one for the
// mirrors that an order names; an empty handler is a server that refuses connections.
func at(t *testing.T, n *memnet.Net, addr string, handler http.Handler) *Mirrors {
	t.Helper()
	if handler != nil {
		n.Serve(t, addr, handler)
	}
	m, err := NewHTTPMirrors([]string{"http://" + addr}, &HTTPOptions{GiveUpAfter: 45 * time.Second, dial: n.Dial}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Reconnect)
	return m
}

func joined(t *testing.T, lists ...Source) *Mirrors {
	t.Helper()
	m, err := NewMirrors(&MirrorsOptions{GiveUpAfter: 45 * time.Second}, lists...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestMirrorsAreOneList: lists that are joined are one list. A server that is dead, alone in its
// list, is left as soon as one of several, and wrong bytes are told to the server that gave them.
func TestMirrorsAreOneList(t *testing.T) { synctest.Test(t, testMirrorsAreOneList) }

func testMirrorsAreOneList(t *testing.T) {
	data := fetchtest.Random(t, 8192)
	var n memnet.Net
	silent := fetchtest.New(fetchtest.Files{"o": data})
	silent.Always(fetchtest.Silence(time.Hour))
	for i, dead := range []http.Handler{nil, silent} {
		good := fetchtest.New(fetchtest.Files{"o": data})
		m := joined(t, at(t, &n, fmt.Sprintf("127.0.1.%d:80", i), dead), at(t, &n, fmt.Sprintf("127.0.2.%d:80", i), good))
		for range 2 { // the second time it is tried again
			begin := time.Now()
			if b, err := m.ReadRange(t.Context(), "o", 0, 4096); err != nil || !bytes.Equal(b, data[:4096]) || time.Since(begin) > mirrorStall {
				t.Errorf("dead server %d: %d bytes, %v after %v", i, len(b), err, time.Since(begin))
			}
			time.Sleep(benchMost)
		}
	}
	rotten := fetchtest.New(fetchtest.Files{"o": data})
	rotten.Always(fetchtest.Wrong(7))
	old := fetchtest.New(fetchtest.Files{})
	inner := joined(t, at(t, &n, "127.0.3.1:80", rotten), at(t, &n, "127.0.3.2:80", rotten), at(t, &n, "127.0.3.3:80", fetchtest.Files{"o": data}))
	m := joined(t, inner, at(t, &n, "127.0.3.4:80", old))
	for tries, more := 1, true; more; tries++ {
		b, err := m.ReadRange(t.Context(), "o", 0, 4096)
		if err == nil && bytes.Equal(b, data[:4096]) {
			if tries != 3 {
				t.Errorf("the right bytes came at try %d", tries)
			}
			return
		}
		more = m.Reject("o", 0, 4096)
	}
	t.Error("the right bytes never came")
}

// TestMirrorsRejectEnds: each mirror is asked once for a document that none has right, and all of
// them again the next time.
func TestMirrorsRejectEnds(t *testing.T) { synctest.Test(t, testMirrorsRejectEnds) }

func testMirrorsRejectEnds(t *testing.T) {
	s, m := mirrored(t, []byte("<html>"), 3)
	s[2].Always(fetchtest.Busy(404, ""))
	for turn := 1; turn <= 2; turn++ {
		var err error
		for more := true; more; {
			if _, err = m.Get(t.Context(), object, 100); err != nil {
				break
			}
			more = m.Reject(object, 0, 0)
		}
		if !errors.Is(err, ErrNotFound) { // two were rejected, the third has none: nothing is left to ask
			t.Errorf("turn %d: %v", turn, err)
		}
		time.Sleep(benchMost)
	}
	s[2].Always(fetchtest.Drop())
	if b, err := m.Get(t.Context(), object, 100); err != nil || m.Reject(object, 0, 0) {
		t.Errorf("%q, %v, and there is said to be one more to ask", b, err)
	}
}

// TestMirrorsKeepWhatCame: what a mirror brought before it failed is not asked of the next.
func TestMirrorsKeepWhatCame(t *testing.T) { synctest.Test(t, testMirrorsKeepWhatCame) }

func testMirrorsKeepWhatCame(t *testing.T) {
	data := fetchtest.Random(t, 300_000)
	s, m := mirrored(t, data, 2)
	s[0].Next(fetchtest.Cut(200_000))
	s[0].Always(fetchtest.Busy(503, ""))
	b, err := m.ReadRange(t.Context(), object, 0, 300_000)
	if err != nil || !bytes.Equal(b, data) {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if r := s[1].Requests(); len(r) != 1 || r[0].Range != "bytes=200000-299999" {
		t.Errorf("the second was asked for %+v", r)
	}
	s[1].Always(fetchtest.Busy(403, ""))
	s[0].Always(fetchtest.Cut(1000))
	time.Sleep(benchMost)
	b, err = m.ReadRange(t.Context(), object, 0, 300_000)
	if !errors.Is(err, ErrCut) || len(b) < 1000 || !bytes.Equal(b, data[:len(b)]) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// TestMirrorsLeaveTheSlow: a first mirror that brings enough not to be silent is left for the second,
// which is asked for the rest.
func TestMirrorsLeaveTheSlow(t *testing.T) { synctest.Test(t, testMirrorsLeaveTheSlow) }

func testMirrorsLeaveTheSlow(t *testing.T) {
	data := fetchtest.Random(t, 4<<20)
	s, m := mirrored(t, data, 2)
	s[0].Always(fetchtest.Drip(2000, 100*time.Millisecond)) // 20 kB/s
	m.o.window = time.Second
	begin := time.Now()
	if b, err := m.ReadRange(t.Context(), object, 0, 4<<20); err != nil || !bytes.Equal(b, data) || time.Since(begin) > 2*time.Second {
		t.Errorf("%d bytes, %v after %v", len(b), err, time.Since(begin))
	}
	if sent := s[0].Sent() + s[1].Sent(); s[0].Sent() < 10_000 || sent > 4<<20+10_000 {
		t.Errorf("%d bytes were sent, %d by the slow one", sent, s[0].Sent())
	}
	before := len(s[0].Requests())
	if _, err := m.ReadRange(t.Context(), object, 0, 100_000); err != nil || len(s[0].Requests()) != before {
		t.Errorf("the slow one is asked again: %v", err)
	}
	// On a line that is slow itself nothing is gained by turning: all comes, each byte once.
	s[1].Always(fetchtest.Drip(2200, 100*time.Millisecond))
	time.Sleep(slowMost)
	sent := s[0].Sent() + s[1].Sent()
	if b, err := m.ReadRange(t.Context(), object, 0, 400_000); err != nil || !bytes.Equal(b, data[:400_000]) {
		t.Errorf("both slow: %d bytes, %v", len(b), err)
	}
	if r := s[0].Sent() + s[1].Sent() - sent; r > 400_000+10_000 {
		t.Errorf("both slow: %d bytes were sent for 400000", r)
	}
	if n := len(s[0].Requests()) + len(s[1].Requests()); n > 8 {
		t.Errorf("both slow: %d requests", n)
	}
}

// TestSlowLine: eight streams of a machine whose share of the line is 6 kB/s. Each is slower than
// the slowest server put up with, and cut now and then before it brought 64 KiB; together they are
// fast enough, and all comes.
func TestSlowLine(t *testing.T) {
	for name, fault := range map[string]func(i int) fetchtest.Fault{
		"even": func(int) fetchtest.Fault { return fetchtest.Drip(390, 500*time.Millisecond) },
		"cut": func(int) fetchtest.Fault {
			drip, cut := fetchtest.Drip(390, 500*time.Millisecond), fetchtest.Cut(20_000)
			return func(h http.Handler) http.Handler { return drip(cut(h)) }
		},
		"in turns": func(int) fetchtest.Fault { return fetchtest.Drip(25_000, 32*time.Second) },
	} {
		t.Run(name, onFakeTime(func(t *testing.T) {
			data := fetchtest.Random(t, 8*100_000)
			s, h := serveWith(t, data, &HTTPOptions{GiveUpAfter: 45 * time.Second})
			s.Always(fault(0))
			var wg sync.WaitGroup
			for i := range int64(8) {
				wg.Go(func() {
					time.Sleep(time.Duration(i) * 4 * time.Second)
					if b, err := h.ReadRange(t.Context(), object, i*100_000, 100_000); err != nil || !bytes.Equal(b, data[i*100_000:(i+1)*100_000]) {
						t.Errorf("stream %d: %d bytes, %v", i, len(b), err)
					}
				})
			}
			wg.Wait()
			if st := h.Stats(); st.Discarded > 0 || st.Stalls > 8 {
				t.Errorf("%+v", st)
			}
		}))
	}
}

// TestSlowLineEnds: what others bring does not keep a dead stream for ever, nor all of them when
// they bring next to nothing together.
func TestSlowLineEnds(t *testing.T) { synctest.Test(t, testSlowLineEnds) }

func testSlowLineEnds(t *testing.T) {
	s, h := serveWith(t, make([]byte, 1<<20), &HTTPOptions{GiveUpAfter: time.Second})
	s.Next(fetchtest.Stall(10), fetchtest.Drip(20_000, time.Second)) // 52 seconds
	s.Always(fetchtest.Stall(0))
	errs := make(chan error, 2)
	begin := time.Now()
	for range 2 {
		go func() {
			_, err := h.ReadRange(t.Context(), object, 0, 1<<20)
			errs <- err
		}()
		synctest.Wait()
	}
	if err := <-errs; err != nil {
		t.Errorf("a living stream beside a dead one: %v", err)
	}
	if err := <-errs; !errors.Is(err, ErrStalled) || time.Since(begin) > 2*time.Minute {
		t.Errorf("a dead stream beside a living one: %v after %v", err, time.Since(begin))
	}
	s.Always(fetchtest.Drip(10, time.Second))
	begin = time.Now()
	for range 2 {
		go func() {
			_, err := h.ReadRange(t.Context(), object, 0, 1<<20)
			errs <- err
		}()
	}
	for range 2 {
		if err := <-errs; !errors.Is(err, ErrStalled) || time.Since(begin) > 30*time.Second {
			t.Errorf("streams that bring 20 bytes a second together: %v after %v", err, time.Since(begin))
		}
	}
}
