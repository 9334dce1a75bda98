// Package limit keeps one address from asking too much: a token bucket for each, in bounded memory.
//
// # Promises
//
// At most AddressesMost buckets are held. When they are all in use, those that are full again are dropped; if none is, further
// addresses share one bucket, so an attacker with many addresses slows down strangers and not those who were there before. IPv6 addresses
// are counted by their /64. The loopback is never limited: programs of this machine, and a proxy that limits by itself.
//
// # Known gaps
//
// A room behind one NAT is one address: the burst has to be as large as the room. Buckets are forgotten at a restart.
package limit

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"troy/server/protocol"
)

// AddressesMost bounds the buckets held.
const AddressesMost = 16 << 10

// Limiter is a set of token buckets, one for each address.
type Limiter struct {
	rate    float64 // tokens per second
	burst   float64
	refused atomic.Int64

	mu      sync.Mutex
	buckets map[netip.Addr]*bucket
	rest    bucket // shared by addresses for which there is no room
}

type bucket struct {
	tokens float64
	at     time.Time
}

// New makes a Limiter that lets each address ask rate times per second, and burst times at once.
func New(rate float64, burst int) *Limiter {
	return &Limiter{rate: rate, burst: float64(burst), buckets: map[netip.Addr]*bucket{}}
}

// Take takes a token for an address. wait is how long it has to wait for one; 0 = it has one.
func (l *Limiter) Take(a netip.Addr, now time.Time) (wait time.Duration) {
	a = subject(a)
	if a.IsLoopback() {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucket(a, now)
	b.fill(l, now)
	if b.tokens >= 1 {
		b.tokens--
		return 0
	}
	l.refused.Add(1)
	return time.Duration((1 - b.tokens) / l.rate * float64(time.Second))
}

// Refused counts the tokens that were refused.
func (l *Limiter) Refused() int64 { return l.refused.Load() }

// subject is whom an address stands for.
func subject(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if p, err := a.Prefix(64); err == nil && a.Is6() && !a.IsLoopback() {
		return p.Addr()
	}
	return a
}

// fill adds what came in since the last time.
func (b *bucket) fill(l *Limiter, now time.Time) {
	if b.at.IsZero() {
		b.tokens = l.burst
	} else if d := now.Sub(b.at); d > 0 {
		b.tokens = min(l.burst, b.tokens+d.Seconds()*l.rate)
	}
	b.at = now
}

// bucket finds the bucket of an address. l.mu is held.
func (l *Limiter) bucket(a netip.Addr, now time.Time) *bucket {
	if b := l.buckets[a]; b != nil {
		return b
	}
	if len(l.buckets) >= AddressesMost {
		l.sweep(now)
	}
	if len(l.buckets) >= AddressesMost {
		return &l.rest
	}
	b := &bucket{}
	l.buckets[a] = b
	return b
}

// sweep drops the buckets that are full again, at most once in the time that one takes to fill.
func (l *Limiter) sweep(now time.Time) {
	for a, b := range l.buckets {
		if b.fill(l, now); b.tokens >= l.burst {
			delete(l.buckets, a)
		}
	}
}

// Handler lets requests through to next as far as their address has tokens; the others get 429 with Retry-After, as a protocol.Failure.
// counts says which requests take a token; nil = all. refused, if set, is told of each that is not let through.
func (l *Limiter) Handler(next http.Handler, counts func(*http.Request) bool, refused func(r *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || counts != nil && !counts(r) {
			next.ServeHTTP(w, r)
			return
		}
		wait := l.Take(from.Addr(), time.Now())
		if wait == 0 {
			next.ServeHTTP(w, r)
			return
		}
		if refused != nil {
			refused(r)
		}
		w.Header().Set("Retry-After", fmt.Sprint(int(math.Ceil(wait.Seconds()))))
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusTooManyRequests)
		// The machine may be gone; there is nobody to tell.
		_ = json.NewEncoder(w).Encode(protocol.Failure{Error: "too many requests from this address, try again later"})
	})
}
