package rooms

import (
	"slices"
	"strings"
	"testing"
	"time"

	"troy/server/protocol"
	"troy/server/state"
)

// TestUnsettled: who comes further by one more start.
func TestUnsettled(t *testing.T) {
	begin := at(t, "22 23:00")
	for _, x := range []struct {
		name          string
		change        func(m *state.Machine)
		lazy, awaited bool
	}{
		{"merged and healthy", func(m *state.Machine) { m.CheckIn.Health = protocol.HealthGood }, false, false},
		{"merged, nothing known of its health", func(*state.Machine) {}, false, true},
		{"in its slot, not proven", func(m *state.Machine) { m.CheckIn.Previous = 1 }, true, true},
		{"in its slot, proven", func(m *state.Machine) { m.CheckIn.Previous, m.CheckIn.Health = 1, protocol.HealthGood }, true, false},
		{"in the middle of its merge", func(m *state.Machine) { m.CheckIn.Merging, m.CheckIn.Health = true, protocol.HealthGood }, true, false},
		{"went on with its merge in that start", func(m *state.Machine) {
			m.CheckIn.Merging, m.CheckIn.Health, m.Report = true, protocol.HealthGood, kept(begin, 2)
		}, false, false},
		{"began to, until the window closed", func(m *state.Machine) {
			m.CheckIn.Merging, m.CheckIn.Health, m.Report, m.Order.Rules.Until = true, protocol.HealthGood, kept(begin, 2), begin
		}, true, false},
		{"began to, and failed", func(m *state.Machine) {
			m.CheckIn.Merging, m.CheckIn.Health, m.Report = true, protocol.HealthGood, kept(begin, 2)
			m.Report.Outcome = protocol.OutcomeFailed
		}, true, false},
		{"does not come up", func(m *state.Machine) { m.CheckIn.Previous, m.CheckIn.Health = 1, protocol.HealthFailing }, false, false},
		{"has a sick disk", func(m *state.Machine) { m.CheckIn.Previous, m.CheckIn.Detail = 1, "hibernated" }, false, false},
		{"came to the version since", func(m *state.Machine) {
			m.CheckIn.Version, m.CheckIn.Health, m.Report = 1, protocol.HealthGood, kept(begin, 2)
		}, true, true},
		{"was rewritten since", func(m *state.Machine) {
			m.CheckIn.Image, m.CheckIn.Version, m.Report = "win10", 1, kept(begin, 2)
		}, false, true},
		{"went back on its own disk since", func(m *state.Machine) {
			m.CheckIn.Version, m.CheckIn.Previous, m.Report = 3, 2, kept(begin, 2)
		}, false, true},
		{"does not know its version", func(m *state.Machine) { m.Report = kept(begin, 0) }, false, true},
	} {
		m := &state.Machine{Seen: begin, CheckIn: protocol.CheckIn{Image: "win11", Version: 2}, Order: protocol.Order{Want: &protocol.Want{Image: "win11", Version: 2}}}
		x.change(m)
		if lazy, awaited := unsettled(m, true, false), unsettled(m, false, true); lazy != x.lazy || awaited != x.awaited || unsettled(m, false, false) {
			t.Errorf("%s: to merge %v, to show its health %v", x.name, lazy, awaited)
		}
	}
}

func kept(at time.Time, version int) *state.Report {
	return &state.Report{At: at, Report: protocol.Report{Image: "win11", Version: version, Outcome: protocol.OutcomeKept}}
}

// tick lets time pass, and returns whom the Keeper wakes then.
func (w *world) tick(d time.Duration) string {
	w.t.Helper()
	w.now = w.now.Add(d)
	w.woken.names = nil
	w.k.Tick()
	w.k.caller.work.Wait()
	slices.Sort(w.woken.names)
	return strings.Join(w.woken.names, " ")
}

// wantWoken fails unless just these are woken after a while.
func (w *world) wantWoken(d time.Duration, want string) {
	w.t.Helper()
	if got := w.tick(d); got != want {
		w.t.Errorf("at %s %q are woken, want %q", w.now.Format("15:04"), got, want)
	}
}

// slotted is the check-in of a machine whose version lies in its slot.
func slotted(c *protocol.CheckIn) { c.Previous = 1 }

// TestWakeToMerge: machines with a version that is not merged are woken, after those that need it,
// no more than the wave at a time, not too often, and no longer when all is merged.
func TestWakeToMerge(t *testing.T) {
	w := newWorld(t)
	w.promote("B204", 2, "none")
	for _, n := range []int{201, 202, 203} {
		w.checkIn(n, 1, nil)
		w.report(n, 2, protocol.OutcomeDone, "")
	}
	w.wantWoken(time.Minute, "b204-4 b204-5") // for their version
	w.wantWoken(time.Minute, "")
	w.checkIn(204, 1, nil)
	w.wantWoken(2*time.Minute, "") // 4 is at work
	w.report(204, 2, protocol.OutcomeDone, "")
	w.wantWoken(2*time.Minute, "b204-1 b204-2") // 5 does not answer, which holds up no other for longer
	w.wantWoken(time.Minute, "")                // both start
	w.checkIn(201, 2, slotted)
	w.report(201, 2, protocol.OutcomeKept, "") // Windows was cut off: nothing is known
	w.wantWoken(4*time.Minute, "b204-5")       // once more for its version, which comes first
	w.wantWoken(time.Minute, "")
	w.wantWoken(4*time.Minute, "b204-3") // 4 was called a moment ago, for its version
	w.checkIn(203, 2, func(c *protocol.CheckIn) { c.Merging, c.Health = true, protocol.HealthGood })
	w.k.Progress(peer(203), protocol.Progress{Machine: machine(203), Phase: "merge"})

	// A window of seven and a half hours: the next calls come after a quarter of it.
	calls := map[string]int{}
	for w.now.Before(at(t, "23 05:30")) {
		names := strings.Fields(w.tick(time.Minute))
		settle := 0
		for _, n := range names {
			calls[n]++
			if n != "b204-5" {
				settle++
			}
		}
		if settle > 2 || settle > 0 && len(names) > settle {
			t.Errorf("at %s %v are woken", w.now.Format("15:04"), names)
		}
		if slices.Contains(names, "b204-2") {
			w.checkIn(202, 2, healthy) // merged before it asked
			w.report(202, 2, protocol.OutcomeKept, "")
		}
	}
	// 1, 2 and 3 were called once already; 3 never reported that its merge is through.
	if calls["b204-1"] != 2 || calls["b204-2"] != 1 || calls["b204-3"] != 2 || calls["b204-4"] != 3 || calls["b204-5"] < 30 {
		t.Errorf("calls of the night: %v", calls)
	}
	w.wantWoken(time.Hour, "")
	w.now = at(t, "23 22:00")
	w.wantWoken(0, "b204-5")
	w.wantWoken(6*time.Minute, "b204-1 b204-3") // another window
	for n := 1; w.now.Before(at(t, "24 05:30")); {
		if strings.Contains(w.tick(time.Minute), "b204-1") {
			n++
		}
		if w.now.Equal(at(t, "24 05:29")) && n != settleMost {
			t.Errorf("%d calls in a window", n)
		}
	}
}

// TestWakeToShowHealth: machines of a room for which another one waits are woken until the gate
// opens, whatever the merge policy.
func TestWakeToShowHealth(t *testing.T) {
	w := newWorld(t)
	for i, host := range []string{"b205-1", "b205-2", "b205-3"} {
		w.checkIn(301+i, 1, nil)
		if _, err := w.k.Assign(name(301+i), host, "B205"); err != nil {
			t.Fatal(err)
		}
	}
	w.checkIn(205, 3, healthy) // has what lab.yaml pins
	w.promote("B205", 2, "none")
	for _, n := range []int{301, 302, 303} {
		w.checkIn(n, 1, nil)
		w.report(n, 2, protocol.OutcomeDone, "")
	}
	w.wantWoken(10*time.Minute, "") // no room waits for its health
	w.promote("B204", 2, "B205")
	w.wantWoken(0, "b205-1 b205-2")
	w.checkIn(301, 2, healthy)
	w.checkIn(302, 2, func(c *protocol.CheckIn) { c.Health = protocol.HealthFailing })
	w.wantWoken(6*time.Minute, "b205-3")
	w.checkIn(303, 2, nil)
	if r := w.room("B204"); r.Target.Open || r.Why == "" {
		t.Fatalf("%+v", r)
	}
	w.wantWoken(113*time.Minute, "b205-3") // 1 is healthy, 2 is for people
	w.checkIn(303, 2, healthy)
	w.checkIn(302, 2, healthy)
	w.wantWoken(time.Hour, "b204-1 b204-2") // the gate is open
	w.checkIn(303, 2, nil)                  // cut off: nothing is known again
	w.wantWoken(time.Hour, "b204-3 b204-4") // those that were called longest ago
}

// TestWakeNot: outside of the window, at its end, without wake, and when the wave was stopped,
// no machine is woken to merge.
func TestWakeNot(t *testing.T) {
	w := newWorld(t)
	w.promote("B204", 2, "none")
	for _, n := range []int{201, 202, 203, 204} {
		w.checkIn(n, 1, nil)
		w.report(n, 2, protocol.OutcomeDone, "")
	}
	w.checkIn(205, 3, healthy)
	w.promote("test", 2, "")
	w.checkIn(1, 2, slotted) // its room has wake off
	w.checkIn(2, 2, slotted)
	w.now = at(t, "23 05:21")
	w.wantWoken(0, "")
	w.now = at(t, "23 12:00")
	w.wantWoken(0, "")
	w.now = at(t, "23 23:00")
	if err := w.k.Stop("B204", "no"); err != nil {
		t.Fatal(err)
	}
	w.wantWoken(0, "")
	if err := w.k.Stop("B204", ""); err != nil {
		t.Fatal(err)
	}
	w.k.Progress(peer(203), protocol.Progress{Machine: machine(203), Phase: "merge"})
	w.wantWoken(time.Minute, "b204-1") // 3 merges: one more may begin
}
