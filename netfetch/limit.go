package netfetch

import (
	"context"
	"fmt"
	"sync"
	"time"

	"troy/internal/wait"
)

// Limiter spreads reads so that on average no more than a rate of bytes per
// second is asked for, over all Sources wrapped by it. Each range
// still arrives as fast as it can; the pause comes before the next. Bytes that
// a retry fetches again are not counted.
type Limiter struct {
	mu   sync.Mutex
	rate int64     // bytes per second; ≤ 0 = no limit
	next time.Time // when the next read may begin
}

// NewLimiter makes a Limiter; a rate of 0 or less does not limit.
func NewLimiter(bytesPerSecond int64) *Limiter { return &Limiter{rate: bytesPerSecond} }

// SetRate changes the rate for reads that begin from now on.
func (l *Limiter) SetRate(bytesPerSecond int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate = bytesPerSecond
}

// Wait returns when n bytes may be asked for, or the context's error.
func (l *Limiter) Wait(ctx context.Context, n int64) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if d := l.reserve(n); d > 0 {
		return wait.For(ctx, d)
	}
	return nil
}

// reserve takes the next turn. It goes to whoever comes first, also if he is
// cancelled while he waits: a cancelled download ends as a whole.
func (l *Limiter) reserve(n int64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rate <= 0 {
		return 0
	}
	now := time.Now()
	if l.next.Before(now) {
		l.next = now
	}
	wait := l.next.Sub(now)
	l.next = l.next.Add(time.Duration(float64(n) / float64(l.rate) * float64(time.Second)))
	return wait
}

// Wrap returns src with its reads limited; it also implements Documents (not
// limited) and Rejecter, which it hands on to src.
func (l *Limiter) Wrap(src Source) Source { return &limited{src, l} }

type limited struct {
	Source
	l *Limiter
}

var (
	_ Rejecter  = (*limited)(nil)
	_ Documents = (*limited)(nil)
)

// Get implements Documents.
func (s *limited) Get(ctx context.Context, name string, max int64) ([]byte, error) {
	return getFrom(ctx, s.Source, name, max)
}

func getFrom(ctx context.Context, src Source, name string, max int64) ([]byte, error) {
	if d, ok := src.(Documents); ok {
		return d.Get(ctx, name, max)
	}
	return nil, fmt.Errorf("%s: %s: %w", src, name, ErrNoDocuments)
}

// ReadRange implements Source.
func (s *limited) ReadRange(ctx context.Context, name string, off, n int64) ([]byte, error) {
	if err := s.l.Wait(ctx, n); err != nil {
		return nil, err
	}
	return s.Source.ReadRange(ctx, name, off, n)
}

// Reject implements Rejecter.
func (s *limited) Reject(name string, off, n int64) {
	if r, ok := s.Source.(Rejecter); ok {
		r.Reject(name, off, n)
	}
}
