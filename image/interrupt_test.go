package image_test

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"troy/image"
	"troy/internal/testing/imagetest"
)

func waitRoutines(t *testing.T, want int) {
	t.Helper()
	for range 100 {
		if runtime.NumGoroutine() <= want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%d goroutines, before there were %d", runtime.NumGoroutine(), want)
}

// TestInterruptedFetch cancels a fetch at many writes: it returns the cancellation, and leaves no goroutine.
func TestInterruptedFetch(t *testing.T) {
	r := imagetest.Seeded(t, 6)
	s := imagetest.NewStore(t)
	states := imagetest.History(t, r, s, 3, 1500, false)
	routines := runtime.NumGoroutine()
	for n := int64(1); n < 20; n++ {
		p, err := image.LoadPlan(t.Context(), s, "pc", 0, 3)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		k := newCancelSink(make([]byte, len(states[1].Data)), n, cancel)
		_, err = p.Fetch(ctx, s, k, &image.FetchOptions{Workers: 2, RequestBytes: 1})
		if cancel(); k.left.Load() > 0 {
			if err != nil || n < 3 {
				t.Fatalf("Fetch cancelled after write %d = %v", n, err)
			}
			break
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("Fetch = %v", err)
		}
	}
	waitRoutines(t, routines)
}

// cancelSink cancels a context at a write.
type cancelSink struct {
	*imagetest.Sink
	left   atomic.Int64 // writes until then
	cancel func()
}

func newCancelSink(data []byte, n int64, cancel func()) *cancelSink {
	c := &cancelSink{Sink: imagetest.NewSink(data), cancel: cancel}
	c.left.Store(n)
	return c
}

func (c *cancelSink) WriteAt(p []byte, off int64) (int, error) {
	if c.left.Add(-1) == 0 {
		c.cancel()
	}
	return c.Sink.WriteAt(p, off)
}
