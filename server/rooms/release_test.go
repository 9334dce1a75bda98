package rooms

import (
	"slices"
	"strings"
	"testing"
	"time"

	"troy/server/protocol"
	"troy/server/state"
)

// TestRelease goes the whole way: the test room first, the gate, a wave with a machine that fails,
// one that is killed and comes back, a restart of the server in the middle, the end of the night.
func TestRelease(t *testing.T) {
	w := newWorld(t)
	if o := w.checkIn(201, 1, nil); begins(&o) || !strings.Contains(o.Reason, "promoted") || o.Name != "b204-1" {
		t.Errorf("before anything: %+v", o)
	}
	w.promote("test", 2, "")
	w.promote("B204", 2, "") // after test, as lab.yaml says
	if o := w.checkIn(201, 1, nil); begins(&o) || !strings.Contains(o.Reason, "waits for room test") {
		t.Errorf("before the gate: %+v", o)
	}
	for _, n := range []int{1, 2} {
		if o := w.checkIn(n, 1, nil); !begins(&o) || version(&o) != 2 {
			t.Fatalf("test-%d: %+v", n, o)
		}
		w.report(n, 2, protocol.OutcomeDone, "")
	}
	w.checkIn(205, 3, healthy) // has what lab.yaml pins
	woken := w.tick(0)
	if r := w.room("B204"); !strings.Contains(r.Why, "0 of 2 machines") || woken != "" {
		t.Errorf("done is not healthy: %+v, woken %v", r, woken)
	}
	w.checkIn(1, 2, healthy)
	woken = w.tick(0)
	if r := w.room("B204"); r.Why != "" || !r.Target.Open || !r.Open {
		t.Errorf("the gate is closed: %+v", r)
	}
	w.checkIn(2, 2, func(c *protocol.CheckIn) { c.Health = protocol.HealthFailing })

	// The wave holds two. 201 was seen a moment ago, so one call goes out, for one that is off.
	if woken != "b204-2" {
		t.Errorf("woken: %v", woken)
	}
	if o := w.checkIn(201, 1, nil); !begins(&o) || !o.Rules.Until.Equal(at(t, "23 05:30")) {
		t.Errorf("201: %+v", o)
	}
	if o := w.checkIn(202, 1, nil); !begins(&o) {
		t.Errorf("202: %+v", o)
	}
	if o := w.checkIn(203, 1, nil); o.Wait == 0 {
		t.Errorf("203 starts beside two others: %+v", o)
	}
	if o := w.checkIn(202, 1, nil); !begins(&o) { // killed, and back
		t.Errorf("202 again: %+v", o)
	}
	w.restart()
	if o := w.checkIn(203, 1, nil); o.Wait == 0 {
		t.Errorf("203 after the restart: %+v", o)
	}
	if r := w.room("B204"); r.Counts[PhaseWorking] != 2 || r.Counts[PhaseWaiting] != 1 || r.Counts[PhaseNever] != 1 || r.Counts[PhaseCurrent] != 1 || r.Machines != 5 || r.Left <= 0 {
		t.Errorf("in the middle: %+v", r)
	}
	w.k.Progress(peer(201), protocol.Progress{Protocol: protocol.Version, Machine: machine(201), Phase: "fetch", Done: 1, Total: 2, Rate: 3})
	if h, _, err := w.k.Host("b204-1"); err != nil || h.Phase != PhaseWorking || h.Live == nil || h.Live.Rate != 3 {
		t.Errorf("progress: %+v, %v", h, err)
	}
	w.now = w.now.Add(5 * time.Minute)
	w.report(201, 2, protocol.OutcomeDone, "")
	w.report(201, 2, protocol.OutcomeDone, "") // a repeat
	w.report(202, 1, protocol.OutcomeFailed, "bad disk")
	if o := w.checkIn(203, 1, nil); !begins(&o) {
		t.Errorf("203 with room in the wave: %+v", o)
	}
	if o := w.checkIn(205, 1, nil); version(&o) != 3 || !begins(&o) {
		t.Errorf("205 is pinned: %+v", o)
	}
	w.report(203, 1, protocol.OutcomeFailed, "bad disk, too")
	if o := w.checkIn(204, 1, nil); begins(&o) || !strings.Contains(o.Reason, "2 machines failed") {
		t.Errorf("after two failures: %+v", o)
	}
	if i := slices.IndexFunc(w.notes, func(s string) bool { return strings.Contains(s, "stopped, 2 machines failed") }); i < 0 {
		t.Errorf("no note was given: %q", w.notes)
	}
	w.k.Tick()
	w.now = at(t, "23 05:31")
	w.k.Tick()
	list, err := w.k.Nights(w.now.AddDate(0, 0, -1))
	i := slices.IndexFunc(list, func(n state.Night) bool { return n.Room == "B204" })
	if err != nil || i < 0 || !list[i].Closed || list[i].Done != 1 || list[i].Failed != 2 || list[i].Missing != 1 || list[i].Bytes != 3000 {
		t.Errorf("night: %+v, %v", list, err)
	}
	if _, failed, err := w.k.Log(w.id(203)); err != nil || failed != "log of bad disk, too" {
		t.Errorf("log: %q, %v", failed, err)
	}
	// A new promotion forgets the failures.
	w.now = at(t, "23 23:00")
	w.promote("B204", 4, "none")
	if o := w.checkIn(204, 1, nil); !begins(&o) || version(&o) != 4 {
		t.Errorf("after a new promotion: %+v", o)
	}
}
