package server

import (
	"errors"
	"net/http"
	"sync"
	"time"
)

const (
	burstTime   = 10 * time.Second // of calls that an address may make at once after it was quiet
	addressMost = 4096             // addresses that are counted at the same time
)

// errTooMany is the answer to an address that calls too often.
var errTooMany = errors.New("too many calls from this address")

// limiter counts the calls of each address: a token bucket.
type limiter struct {
	rate float64 // calls per second

	mu      sync.Mutex
	buckets map[string]bucket
}

// bucket is what an address had left at a time.
type bucket struct {
	left float64
	at   time.Time
}

// newLimiter returns nil, which does not limit, for 0 calls per second or less.
func newLimiter(rate float64) *limiter {
	if rate <= 0 {
		return nil
	}
	return &limiter{rate: rate, buckets: map[string]bucket{}}
}

// take says whether an address may call now.
func (l *limiter) take(address string, now time.Time) bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	most := max(1, l.rate*burstTime.Seconds())
	b, known := l.buckets[address]
	if !known {
		l.forget(now)
		b = bucket{most, now}
	}
	b.left = min(most, b.left+l.rate*now.Sub(b.at).Seconds())
	b.at = now
	ok := b.left >= 1
	if ok {
		b.left--
	}
	l.buckets[address] = b
	return ok
}

// forget drops the addresses whose buckets are full again; if there are too many others, all: a flood from everywhere is not for this to stop.
func (l *limiter) forget(now time.Time) {
	if len(l.buckets) < addressMost {
		return
	}
	for a, b := range l.buckets {
		if now.Sub(b.at) >= burstTime {
			delete(l.buckets, a)
		}
	}
	if len(l.buckets) >= addressMost {
		clear(l.buckets)
	}
}

// limited puts a call under the limit of its address.
func (s *Server) limited(call http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.limiter.take(machineOf(r.RemoteAddr), time.Now()) {
			w.Header().Set("Retry-After", "5")
			s.refuse(w, r, http.StatusTooManyRequests, errTooMany)
			return
		}
		call(w, r)
	}
}

// refuse answers a call that is not taken, and tells whoever keeps the log.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, err error) {
	if s.o.OnRefused != nil {
		s.o.OnRefused(machineOf(r.RemoteAddr), r.URL.Path, err)
	}
	fail(w, status, err)
}
