package pipeline

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func upTo(n int, err error) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i, nil) {
				return
			}
		}
		if err != nil {
			yield(0, err)
		}
	}
}

// TestOrdered: results come in order, although later items are ready first; any error ends the
// work, and no goroutine stays.
func TestOrdered(t *testing.T) {
	const n = 100
	errIn, errWork, errOut := errors.New("in"), errors.New("work"), errors.New("out")
	for name, c := range map[string]struct {
		in        error
		work, out int // the item that fails
		want      error
	}{
		"whole": {nil, n, n, nil},
		"input": {errIn, n, n, errIn},
		"work":  {nil, 50, n, errWork},
		"sink":  {nil, n, 50, errOut},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // it waits for all goroutines
				var got []int
				var mu sync.Mutex
				under, most := 0, 0
				begin := func(n int) {
					mu.Lock()
					defer mu.Unlock()
					under += n
					most = max(most, under)
				}
				err := Ordered(t.Context(), 4, upTo(n, c.in), func(_ context.Context, i int) (int, error) {
					begin(1)
					defer begin(-1)
					time.Sleep(time.Duration(n-i) * time.Millisecond)
					if i == c.work {
						return 0, errWork
					}
					return i, nil
				}, func(i int) error {
					if i == c.out {
						return errOut
					}
					got = append(got, i)
					return nil
				})
				if !errors.Is(err, c.want) || c.want == nil && (err != nil || len(got) != n) {
					t.Errorf("Ordered = %v after %d results", err, len(got))
				}
				if !slices.IsSorted(got) || most != 4 {
					t.Errorf("results %v, at most %d at a time", got, most)
				}
			})
		})
	}
}
