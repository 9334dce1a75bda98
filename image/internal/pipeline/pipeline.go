// Package pipeline works on items concurrently and gives the results in order.
package pipeline

import (
	"context"
	"iter"
	"sync"
)

// Ordered does work on every item of in with several workers and hands the results to out in the
// order of in. At most 3·workers items are under way. The first error stops everything and is
// returned.
func Ordered[T, R any](ctx context.Context, workers int, in iter.Seq2[T, error], work func(context.Context, T) (R, error), out func(R) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)

	type slot struct {
		in   T
		out  R
		done chan struct{}
	}
	queue, jobs := make(chan *slot, 2*workers), make(chan *slot)
	for range workers {
		wg.Go(func() {
			for s := range jobs {
				var err error
				if s.out, err = work(ctx, s.in); err != nil {
					cancel(err)
				}
				close(s.done)
			}
		})
	}
	wg.Go(func() {
		defer close(queue)
		defer close(jobs)
		for v, err := range in {
			if err != nil {
				cancel(err)
				return
			}
			s := &slot{in: v, done: make(chan struct{})}
			for _, c := range []chan *slot{queue, jobs} {
				select {
				case c <- s:
				case <-ctx.Done():
					return
				}
			}
		}
	})
	for s := range queue {
		select {
		case <-s.done:
		case <-ctx.Done():
		}
		if ctx.Err() == nil {
			if err := out(s.out); err != nil {
				cancel(err)
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	return context.Cause(ctx)
}
