// Package wait waits for time to pass, or for a context to end.
package wait

import (
	"context"
	"time"
)

// For returns nil after d, or the cause of the context's end if that comes first.
func For(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
