package wait

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestFor(t *testing.T) {
	cause := errors.New("the cable is out")
	for name, c := range map[string]struct {
		d, end, took time.Duration
		want         error
	}{
		"time is first":          {time.Minute, time.Hour, time.Minute, nil},
		"the context ends first": {time.Hour, time.Minute, time.Minute, cause},
		"no time":                {0, time.Hour, 0, nil},
		"less than no time":      {-time.Hour, time.Hour, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeoutCause(t.Context(), c.end, cause)
				defer cancel()
				begin := time.Now()
				if err := For(ctx, c.d); err != c.want || time.Since(begin) != c.took {
					t.Errorf("For = %v after %v, want %v after %v", err, time.Since(begin), c.want, c.took)
				}
			})
		})
	}
}
