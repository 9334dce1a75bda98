package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"troy/netfetch"
)

// TestPacerSharesEvenly has machines with one stream and with many, ones that ask for small parts and for large ones, and one
// that comes late: while all want bytes, each gets the same, and all together the rate.
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
				for p.wait(ctx, fmt.Sprint(i), kinds[i].part) == nil {
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

// TestPacerLeavesNothing cancels at random moments, and lets many machines come and go.
func TestPacerLeavesNothing(t *testing.T) {
	p := newPacer(500 << 20)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	for w := range uint64(8) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, w))
			for range 300 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(r.IntN(300))*time.Microsecond)
				err := p.wait(ctx, fmt.Sprint(r.IntN(500)), 1+r.Int64N(turnMost))
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

// TestBandwidth downloads through the limit: whole, in time, and also when an answer takes longer than a request may.
func TestBandwidth(t *testing.T) {
	dir, pack := store(t)
	s, err := New(&Options{Dir: dir, Orders: &Fixed{Image: "a", Version: 1}, Bandwidth: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hs := &http.Server{Handler: s, ReadTimeout: 200 * time.Millisecond, WriteTimeout: 200 * time.Millisecond}
	go hs.Serve(l)
	defer hs.Close()
	h, err := netfetch.NewHTTP("http://"+l.Addr().String()+"/repo", &netfetch.HTTPOptions{GiveUpAfter: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	n := int64(min(len(pack), 700_000))
	b, err := h.ReadRange(t.Context(), "objects/ab/ab12.pack", 0, n)
	took, want := time.Since(begin), time.Duration(n)*time.Second>>20
	if err != nil || !bytes.Equal(b, pack[:n]) || h.Stats().Retries != 0 {
		t.Errorf("%d bytes, %v, %+v", len(b), err, h.Stats())
	}
	if took < want*8/10 || took > want*5 { // the answer is cut at 0.2 s if nothing is done
		t.Errorf("%d bytes at 1 MiB/s took %v, want about %v", n, took, want)
	}
}
