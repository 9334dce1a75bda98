package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestPacerSharesEvenly has machines with one stream and with many, ones that ask for small parts
// and for large ones, and one that comes late: while all want bytes, each gets the same, and all
// together the rate.
func TestPacerSharesEvenly(t *testing.T) { synctest.Test(t, testPacerSharesEvenly) }

func testPacerSharesEvenly(t *testing.T) {
	const rate = 20 << 20
	p := newPacer(rate)
	kinds := []struct {
		streams int
		part    int64
		late    bool
	}{{1, p.turn, false}, {8, p.turn, false}, {3, 8000, false}, {2, p.turn / 3, false}, {1, p.turn, true}}
	got := make([]atomic.Int64, len(kinds))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	run := func(i int) {
		for range kinds[i].streams {
			wg.Go(func() {
				for p.wait(ctx, party(i), kinds[i].part) == nil {
					got[i].Add(kinds[i].part)
				}
			})
		}
	}
	for i, k := range kinds {
		if !k.late {
			run(i)
		}
	}
	time.Sleep(200 * time.Millisecond)
	run(len(kinds) - 1)
	var before [5]int64
	for i := range got {
		before[i] = got[i].Load()
	}
	begin := time.Now()
	time.Sleep(600 * time.Millisecond)
	took := time.Since(begin)
	var least, most, sum int64
	for i := range got {
		n := got[i].Load() - before[i]
		if i == 0 || n < least {
			least = n
		}
		most, sum = max(most, n), sum+n
	}
	cancel()
	wg.Wait()
	t.Logf("shares %d … %d bytes, %.2f of the rate", least, most, float64(sum)/rate/took.Seconds())
	if most-least > turnsDue*p.turn {
		t.Errorf("shares %d … %d bytes differ by more than %d turns of %d", least, most, turnsDue, p.turn)
	}
	if all := float64(sum) / rate / took.Seconds(); all < 0.98 || all > 1.02 {
		t.Errorf("%.2f of the rate was given", all)
	}
	if len(p.waiting) != 0 {
		t.Errorf("%d machines wait after the end", len(p.waiting))
	}
}

// party is one of many.
func party(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}) }

// TestPacerByParty: who takes many addresses of one IPv6 network has one share.
func TestPacerByParty(t *testing.T) {
	s := &Server{pacer: newPacer(1 << 30)}
	for i, addr := range []string{"[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:1", "[2001:db8:0:1::1]:1"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = addr
		if err := s.sliced(httptest.NewRecorder(), r).wait(1); err != nil {
			t.Fatal(err)
		}
		if want := max(1, i); len(s.pacer.clients) != want {
			t.Errorf("with %s there are %d shares, want %d", addr, len(s.pacer.clients), want)
		}
	}
}

// TestPacerLeavesNothing cancels at random moments, and lets many machines come and go.
func TestPacerLeavesNothing(t *testing.T) { synctest.Test(t, testPacerLeavesNothing) }

func testPacerLeavesNothing(t *testing.T) {
	p := newPacer(500 << 20)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	for w := range uint64(8) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, w))
			for range 300 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(r.IntN(300))*time.Microsecond)
				err := p.wait(ctx, party(r.IntN(500)), 1+r.Int64N(turnMost))
				if err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("wait: %v", err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if len(p.waiting) != 0 {
		t.Errorf("%d machines wait though all are gone", len(p.waiting))
	}
	for name, c := range p.clients {
		if len(c.turns) != 0 || c.index >= 0 {
			t.Errorf("machine %s still has %d turns", name, len(c.turns))
		}
	}
	if len(p.clients) > 400 {
		t.Errorf("%d machines are remembered", len(p.clients))
	}
}

// TestBandwidth downloads through the limit: whole, in time, and also when an answer takes longer
// than a request may.
func TestBandwidth(t *testing.T) { synctest.Test(t, testBandwidth) }

func testBandwidth(t *testing.T) {
	const rate = 10 << 10 // so slow that the answer takes longer than sliceTime
	dir, pack := store(t)
	c := newServerInMemory(t, Options{Dir: dir, Bandwidth: rate})
	begin := time.Now()
	const n = 700_000
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, inMemory+"/repo/objects/ab/ab12.pack", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Range", fmt.Sprintf("bytes=0-%d", n-1))
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(b, pack[:n]) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	// The line may begin with a turn that was saved up, and does not wait for the last one to go
	// out.
	took, want := time.Since(begin), time.Duration(n)*time.Second/rate
	if took > want || took < want-2*time.Duration(turnMin)*time.Second/rate {
		t.Errorf("%d bytes at %d a second took %v, want %v", n, rate, took, want)
	}
}
