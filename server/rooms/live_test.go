package rooms

import (
	"math"
	"testing"

	"troy/server/protocol"
)

// TestLive: what a machine said before it started again is not shown, and only what comes over the
// network counts as fetched, whatever a machine says.
func TestLive(t *testing.T) {
	w := newWorld(t)
	w.promote("test", 2, "")
	live := func() *Live {
		t.Helper()
		h, _, err := w.k.Host("test-1")
		if err != nil {
			t.Fatal(err)
		}
		return h.Live
	}
	tell := func(n int, phase string, rate int64) {
		w.k.Progress(peer(n), protocol.Progress{Protocol: protocol.Version, Machine: machine(n), Phase: phase, Done: 90, Total: 100, Rate: rate})
	}
	for _, n := range []int{1, 2} {
		if o := w.checkIn(n, 1, nil); !begins(&o) {
			t.Fatalf("%+v", o)
		}
	}
	tell(1, "fetch", 11)
	if v := live(); v == nil || v.Done != 90 || w.room("test").Rate != 11 {
		t.Errorf("at work: %+v, room %d", v, w.room("test").Rate)
	}
	w.checkIn(1, 1, nil) // after a power cut
	if v := live(); v != nil || w.room("test").Rate != 0 {
		t.Errorf("a new start shows %+v", v)
	}
	tell(1, "merge", 80)
	if v := live(); v == nil || v.Rate != 80 || w.room("test").Rate != 0 {
		t.Errorf("a merge counts as fetched: %+v, room %d", v, w.room("test").Rate)
	}
	tell(1, "fetch", math.MaxInt64)
	tell(2, "reinstall", math.MaxInt64)
	if r := w.room("test").Rate; r != 2*rateMost {
		t.Errorf("the sum of rates is %d", r)
	}
}
