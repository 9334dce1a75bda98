package image_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"troy/image"
	"troy/internal/testing/imagetest"
)

// TestInterruptedFetch cancels a fetch at many writes: it returns the cancellation, and leaves no
// goroutine.
func TestInterruptedFetch(t *testing.T) {
	r := imagetest.Seeded(t, 6)
	s := imagetest.NewStore(t)
	states := imagetest.History(t, r, s, 3, 1500, false)
	for n := int64(1); n < 20; n++ {
		p, err := image.LoadPlan(t.Context(), s, "pc", 0, 3)
		if err != nil {
			t.Fatal(err)
		}
		k := newCancelSink(make([]byte, len(states[1].Data)), n)
		synctest.Test(t, func(t *testing.T) { // it waits for all goroutines to end
			ctx := k.context(t)
			_, err = p.Fetch(ctx, s, k, &image.FetchOptions{Workers: 2, RequestBytes: 1})
		})
		if k.left.Load() > 0 {
			if err != nil || n < 3 {
				t.Fatalf("Fetch cancelled after write %d = %v", n, err)
			}
			break
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("Fetch = %v", err)
		}
	}
}

// cancelSink cancels a context at a write.
type cancelSink struct {
	*imagetest.Sink
	left   atomic.Int64 // writes until then
	cancel func()
}

func newCancelSink(data []byte, n int64) *cancelSink {
	c := &cancelSink{Sink: imagetest.NewSink(data)}
	c.left.Store(n)
	return c
}

// context returns the context that the sink cancels.
func (c *cancelSink) context(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	c.cancel = cancel
	return ctx
}

func (c *cancelSink) WriteAt(p []byte, off int64) (int, error) {
	if c.left.Add(-1) == 0 {
		c.cancel()
	}
	return c.Sink.WriteAt(p, off)
}
