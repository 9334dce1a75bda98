package netfetch

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// childCrowd is a room of PCs that fetch the same object at once.
func childCrowd(ctx context.Context, job *childJob, r *childResult) error {
	begin := time.Now()
	got := make([]atomic.Int64, job.Clients)
	var wg sync.WaitGroup
	var once sync.Once
	var mu sync.Mutex
	sums := map[string]bool{}
	var firstErr error
	for i := range job.Clients {
		wg.Go(func() {
			h, err := NewHTTP(job.URL, &HTTPOptions{Stall: 5 * time.Second, MinRate: -1})
			sum := sha256.New()
			for off := int64(0); err == nil && off < job.Size; off += job.Chunk {
				var b []byte
				b, err = h.ReadRange(ctx, job.Name, off, min(job.Chunk, job.Size-off))
				sum.Write(b)
				got[i].Add(int64(len(b)))
			}
			mu.Lock()
			defer mu.Unlock()
			sums[fmt.Sprintf("%x", sum.Sum(nil))] = true
			st := h.Stats()
			r.Stats.Requests, r.Stats.Retries = r.Stats.Requests+st.Requests, r.Stats.Retries+st.Retries
			r.Stats.Received += st.Received
			if err != nil {
				firstErr = err
				return
			}
			once.Do(func() {
				for j := range got {
					r.Shares = append(r.Shares, got[j].Load())
				}
			})
		})
	}
	wg.Wait()
	r.Fetch = time.Since(begin)
	if firstErr != nil {
		return firstErr
	}
	if len(sums) != 1 {
		return fmt.Errorf("%d different hashes", len(sums))
	}
	for s := range sums {
		r.SHA256 = s
	}
	return nil
}

// crowd makes a room behind one narrow line. TROY_SOAK=1 has 64 PCs and more bytes.
func crowd(t *testing.T) *fetchLab {
	clients, size := 16, 1<<20
	if os.Getenv("TROY_SOAK") == "1" {
		clients, size = 64, 8<<20
	}
	l := newFetchLab(t, size)
	for _, port := range []string{"br0", "p0"} {
		l.in(l.sw, "ip", "link", "set", port, "gso_max_segs", "1")
	}
	l.in(l.sw, "tc", "qdisc", "add", "dev", "p0", "root", "tbf", "rate", "80mbit", "burst", "32k", "latency", "100ms")
	l.job.Clients, l.job.Chunk, l.job.Keep = clients, 1<<20, false
	return l
}

// TestCrowdCompletes has a room fetch at once through one line: all complete,
// nothing is fetched twice. How TCP shares the line is logged.
func TestCrowdCompletes(t *testing.T) {
	l := crowd(t)
	r := l.child(l.job)
	l.check(r, int64((l.job.Clients-1)*len(l.data)))
	slices.Sort(r.Shares)
	t.Logf("%d clients, %.1f s; shares when the first was done: %d … %d … %d bytes", l.job.Clients, r.Fetch.Seconds(),
		r.Shares[0], r.Shares[len(r.Shares)/2], r.Shares[len(r.Shares)-1])
	if r.Stats.Retries != 0 || len(l.s.Requests()) != l.job.Clients*len(l.data)>>20 {
		t.Errorf("%d retries, %d requests", r.Stats.Retries, len(l.s.Requests()))
	}
}

// TestCrowdIsNoHerd restarts the server in the middle of that: the clients
// come back spread, and all complete.
func TestCrowdIsNoHerd(t *testing.T) {
	l := crowd(t)
	c := l.start(l.job)
	l.waitSent(int64(l.job.Clients*len(l.data)) / 4)
	l.web.Close()
	time.Sleep(3 * time.Second)
	before := len(l.s.Requests())
	back := time.Now()
	l.serve()
	r := c.wait(t)
	l.check(r, int64((l.job.Clients-1)*len(l.data)))

	rate := map[int]int{} // new connections per 250 ms after the restart
	known := map[string]bool{}
	most := 0
	for _, q := range l.s.Requests()[before:] {
		if !known[q.From] {
			known[q.From] = true
			slot := int(q.At.Sub(back) / (250 * time.Millisecond))
			rate[slot]++
			most = max(most, rate[slot])
		}
	}
	t.Logf("%d clients, %.1f s, %d requests, %d retries; clients that came back per 250 ms: %v", l.job.Clients, r.Fetch.Seconds(),
		r.Stats.Requests, r.Stats.Retries, rate)
	if most > l.job.Clients*3/4 || r.Stats.Retries > int64(l.job.Clients*12) {
		t.Errorf("%d of %d clients came back at once after %d retries", most, l.job.Clients, r.Stats.Retries)
	}
}
