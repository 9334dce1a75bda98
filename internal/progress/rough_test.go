package progress

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// steps notes what it is told.
type steps []int64

// Add implements Adder.
func (s *steps) Add(n int64) { *s = append(*s, n) }

// Done implements Stage.
func (s *steps) Done() time.Duration { s.Add(0); return 0 }

// TestRough: no step leads back or beyond the total, and success ends there.
func TestRough(t *testing.T) {
	for _, c := range []struct {
		err  error
		want steps
	}{
		{nil, steps{25, 10, 65, 0}}, {errors.New("failed"), steps{25, 10, 0}},
	} {
		var got steps
		r := Start(func(string, int64) Stage { return &got }).Rough("converting", 100)
		r.Percent(25)
		r.Percent(12.5)
		r.Add(10)
		r.End(c.err)
		if !slices.Equal(got, c.want) {
			t.Errorf("ended with %v: %v, want %v", c.err, got, c.want)
		}
	}
	var got steps
	r := Start(func(string, int64) Stage { return &got }).Rough("restoring", 100)
	r.Add(90)
	r.Add(90)
	r.End(nil)
	if !slices.Equal(got, steps{90, 10, 0}) {
		t.Errorf("more than there is: %v", got)
	}
}
