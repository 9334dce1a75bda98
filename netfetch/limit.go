package netfetch

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"troy/internal/wait"
)

// Limiter spreads reads so that on average no more than a rate of bytes per
// second is asked for, over all Sources wrapped by it. Each range
// still arrives as fast as it can; the pause comes before the next. Bytes that
// a retry fetches again are not counted.
type Limiter struct {
	mu     sync.Mutex
	bucket *rate.Limiter // in debt until the reads that have begun are paid for
}

// NewLimiter makes a Limiter; a rate of 0 or less does not limit.
func NewLimiter(bytesPerSecond int64) *Limiter {
	limit := rate.Limit(bytesPerSecond)
	if limit <= 0 {
		limit = rate.Inf
	}
	return &Limiter{bucket: rate.NewLimiter(limit, 0)}
}

// wait returns when n bytes may be asked for, or the context's error.
func (l *Limiter) wait(ctx context.Context, n int64) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if d := l.reserve(n, time.Now()); d > 0 {
		return wait.For(ctx, d)
	}
	return nil
}

// reserve takes the next turn. First come, first served, even if the caller is cancelled while it
// waits: a cancelled download ends as a whole.
func (l *Limiter) reserve(n int64, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	debt := l.bucket.ReserveN(now, 0).DelayFrom(now)
	// The bucket holds as much as it gives, but only for this moment: a pause saves up nothing.
	l.bucket.SetBurstAt(now, int(n))
	l.bucket.ReserveN(now, int(n))
	l.bucket.SetBurstAt(now, 0)
	return debt
}

// Wrap returns src with its reads limited. The result also implements Documents (not limited) and
// Rejecter, both of which it passes on to src.
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
	if err := s.l.wait(ctx, n); err != nil {
		return nil, err
	}
	return s.Source.ReadRange(ctx, name, off, n)
}

// Reject implements Rejecter.
func (s *limited) Reject(name string, off, n int64) bool {
	r, ok := s.Source.(Rejecter)
	return ok && r.Reject(name, off, n)
}
