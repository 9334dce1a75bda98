package limit

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	partiesMost = 16 << 10    // buckets held
	sweepEvery  = time.Second // a flood of addresses must not cost a look at all buckets for each
)

// Party is who an address counts as: itself, or its /64.
func Party(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if p, err := a.Prefix(64); err == nil && a.Is6() && !a.IsLoopback() {
		return p.Addr()
	}
	return a
}

// PartyOf is the Party of an address with a port, as http.Request has it. Those that cannot be read
// are one party, the zero address.
func PartyOf(remote string) netip.Addr {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return Party(a.Addr())
}

// Limiter is a set of token buckets, one for each party.
type Limiter struct {
	limit rate.Limit
	burst int

	mu      sync.Mutex
	buckets map[netip.Addr]*rate.Limiter
	rest    *rate.Limiter // shared by parties for which there is no room
	swept   time.Time
}

// New makes a Limiter that lets each party ask perSecond times, and burst times at once.
func New(perSecond float64, burst int) *Limiter {
	l := &Limiter{limit: rate.Limit(perSecond), burst: burst, buckets: map[netip.Addr]*rate.Limiter{}}
	l.rest = l.full()
	return l
}

// full makes a bucket with all its tokens.
func (l *Limiter) full() *rate.Limiter { return rate.NewLimiter(l.limit, l.burst) }

// Take takes a token for an address. wait is how long it has to wait for one; 0 = it has one.
func (l *Limiter) Take(a netip.Addr, now time.Time) (wait time.Duration) {
	if a = Party(a); a.IsLoopback() {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucket(a, now)
	if b.AllowN(now, 1) {
		return 0
	}
	return max(1, time.Duration((1-b.TokensAt(now))/float64(l.limit)*float64(time.Second)))
}

// bucket finds the bucket of a party. l.mu is held.
func (l *Limiter) bucket(a netip.Addr, now time.Time) *rate.Limiter {
	if b := l.buckets[a]; b != nil {
		return b
	}
	if len(l.buckets) >= partiesMost && now.Sub(l.swept) >= sweepEvery {
		l.sweep(now)
	}
	if len(l.buckets) >= partiesMost {
		return l.rest
	}
	b := l.full()
	l.buckets[a] = b
	return b
}

// sweep drops the buckets that are full again: a new one is the same.
func (l *Limiter) sweep(now time.Time) {
	l.swept = now
	for a, b := range l.buckets {
		if b.TokensAt(now) >= float64(l.burst) {
			delete(l.buckets, a)
		}
	}
}
