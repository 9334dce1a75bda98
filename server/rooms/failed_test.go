package rooms

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"troy/server/protocol"
	"troy/server/state"
)

// wentBackTo is the check-in of a machine at the start at which it gave its version up.
func wentBackTo(c *protocol.CheckIn) {
	c.Health, c.LastStart = protocol.HealthFailing, "version win11@2 was started 3 times without a sign of health: rolling back to win11@1"
}

// TestJudged begins with a machine that went back by itself, and changes one thing.
func TestJudged(t *testing.T) {
	for _, x := range []struct {
		name   string
		change func(c *Case)
		want   bool
	}{
		{"went back", func(*Case) {}, true},
		{"the old version is healthy since", func(c *Case) { c.CheckIn.Health, c.CheckIn.LastStart = protocol.HealthGood, "the last hand-off worked" }, true},
		{"heard late, cut off since", func(c *Case) { c.CheckIn.Health, c.CheckIn.LastStart = "", "nothing shows that Windows ran" }, true},
		{"another agent, which tells no last start", func(c *Case) { c.CheckIn.LastStart = "" }, true},
		{"has it", func(c *Case) { c.CheckIn.Version = 2 }, false},
		{"prepared again with the old version", func(c *Case) { c.CheckIn.Health, c.CheckIn.LastStart = "", "" }, false},
		{"a new disk", func(c *Case) { *c.CheckIn = bareMachine() }, false},
		{"unknown version", func(c *Case) { c.CheckIn.Version = 0 }, false},
		{"another image", func(c *Case) { c.CheckIn.Image = "win10" }, false},
		{"was reinstalled, which nothing can undo", func(c *Case) { c.Attempt.Work = state.WorkReinstall }, false},
		{"under way", func(c *Case) { c.Attempt.Result = state.ResultOpen }, false},
		{"the window closed", func(c *Case) { c.Attempt.Result = state.ResultLate }, false},
		{"failed otherwise", func(c *Case) { c.Attempt.Result = state.ResultFailed }, false},
		{"never tried", func(c *Case) { c.Attempt = nil }, false},
		{"promoted again", func(c *Case) { c.Goal.ID = 8 }, false},
		{"the room went back", func(c *Case) { c.Goal.ID, c.Goal.Version = 8, 1 }, false},
		{"nothing promoted", func(c *Case) { c.Goal = nil }, false},
	} {
		in := protocol.CheckIn{Image: "win11", Version: 1}
		wentBackTo(&in)
		c := &Case{Now: at(t, "22 23:00"), Goal: &Goal{ID: 7, Image: "win11", Version: 2}, CheckIn: &in,
			Attempt: &state.Attempt{Target: 7, Image: "win11", Version: 2, Work: state.WorkUpdate, Result: state.ResultDone, Tries: 1}}
		x.change(c)
		was := c.Attempt
		var before state.Attempt
		if was != nil {
			before = *was
		}
		a := c.judged(was)
		switch {
		case was != nil && !reflect.DeepEqual(*was, before):
			t.Errorf("%s: the attempt of then was changed: %+v", x.name, was)
		case !x.want && a != was:
			t.Errorf("%s: %+v", x.name, a)
		case x.want && (a == was || a.Result != state.ResultFailed || !a.GivenUp || !a.Ended.Equal(c.Now) || c.Goal.tired(a) != a.Message || a.Message == ""):
			t.Errorf("%s: %+v", x.name, a)
		}
	}
}

// stops counts the notes that a wave stopped.
func (w *world) stops() (n int) {
	for _, s := range w.notes {
		if strings.Contains(s, "stopped, ") {
			n++
		}
	}
	return n
}

// TestGivenUp: a machine that went back by itself has failed from its check-in on. The wave stops
// there, not at the report that follows.
func TestGivenUp(t *testing.T) {
	w := newWorld(t)
	w.promote("B204", 2, "none")
	for _, n := range []int{201, 202} {
		w.checkIn(n, 1, nil)
		w.report(n, 2, protocol.OutcomeDone, "")
	}
	w.now = w.now.Add(time.Hour)
	if o := w.checkIn(201, 1, wentBackTo); begins(&o) || o.Wait != 0 || !strings.Contains(o.Reason, "version 2 was given up, version 1 is back") {
		t.Fatalf("it would be given the version again: %+v", o)
	}
	if o := w.checkIn(203, 1, nil); !begins(&o) {
		t.Fatalf("one of two failures stopped the wave: %+v", o)
	}
	if w.stops() != 0 {
		t.Errorf("told too early: %q", w.notes)
	}
	w.checkIn(202, 1, wentBackTo)
	if o := w.checkIn(204, 1, nil); begins(&o) || !strings.Contains(o.Reason, "2 machines failed") {
		t.Errorf("another machine begins after the second: %+v", o)
	}
	if w.stops() != 1 || !strings.Contains(w.notes[len(w.notes)-1], "2 machines failed; the last one, b204-2: version 2 was given up") {
		t.Errorf("the admin was told: %q", w.notes)
	}
	w.restart() // what was decided is on the disk
	w.report(202, 1, protocol.OutcomeKept, "going back")
	w.checkIn(201, 1, healthy)
	w.checkIn(202, 1, healthy) // of the version below
	if o := w.checkIn(204, 1, nil); !strings.Contains(o.Reason, "2 machines failed") {
		t.Errorf("after a restart: %+v", o)
	}
	if w.stops() != 1 {
		t.Errorf("told again: %q", w.notes)
	}
	h, m, err := w.k.Host("b204-2")
	if err != nil || h.Phase != PhaseFailed || h.Version != 1 || !strings.Contains(h.Error, "order it again") || m.Attempt.Tries != 1 {
		t.Errorf("%+v, %v", h, err)
	}
	if _, failed, err := w.k.Log(w.id(202)); err != nil || failed != "log of going back" {
		t.Errorf("the log of the start that gave up: %q, %v", failed, err)
	}
	w.now = w.now.Add(time.Hour)
	if woken := w.tick(0); strings.Contains(woken, "b204-1") || strings.Contains(woken, "b204-2") {
		t.Errorf("%s are woken for what they gave up", woken)
	}
	if _, err := w.k.Promote(t.Context(), Promotion{Room: "B204", Version: 2, After: "none", Retry: true}); err != nil {
		t.Fatal(err)
	}
	if o := w.checkIn(201, 1, healthy); !begins(&o) || !o.Permits.Retry {
		t.Errorf("ordered again: %+v", o)
	}
}

// TestRoomWentBack: a room that was given back its version, and then the same one again, has no
// failures.
func TestRoomWentBack(t *testing.T) {
	w := newWorld(t)
	w.promote("B204", 1, "none")
	w.promote("B204", 2, "none")
	bring := func(n, from, to int) {
		t.Helper()
		if o := w.checkIn(n, from, healthy); !begins(&o) || version(&o) != to {
			t.Fatalf("%+v", o)
		}
		w.report(n, to, protocol.OutcomeDone, "")
	}
	bring(201, 1, 2)
	if _, err := w.k.Rollback(t.Context(), Promotion{Room: "B204"}); err != nil {
		t.Fatal(err)
	}
	bring(201, 2, 1)
	w.checkIn(201, 1, healthy)
	w.promote("B204", 2, "none")
	if g, failed, _ := w.k.standing(w.k.Lab(), "B204"); len(failed) != 0 {
		t.Errorf("%d failures at %+v", len(failed), g)
	}
	bring(201, 1, 2)
	w.checkIn(201, 2, healthy)
	if r := w.room("B204"); r.Why != "" || r.Counts[PhaseCurrent] != 1 {
		t.Errorf("%+v", r)
	}
}

// TestStopIsToldOnce: a wave that stops by what check-ins say is told as one that stops by reports,
// once, and again when it has gone on and stopped again.
func TestStopIsToldOnce(t *testing.T) {
	w := newWorld(t)
	w.promote("B204", 2, "none")
	sick := func(c *protocol.CheckIn) {
		c.Health, c.LastStart = protocol.HealthFailing, "nothing shows that Windows ran"
	}
	for _, n := range []int{201, 202} {
		w.checkIn(n, 1, nil)
		w.report(n, 2, protocol.OutcomeDone, "")
	}
	w.checkIn(203, 1, nil) // at work while the others fail
	for _, n := range []int{201, 202} {
		w.checkIn(n, 2, sick)
		w.checkIn(n, 2, sick)
	}
	w.report(203, 1, protocol.OutcomeFailed, "bad disk")
	if w.stops() != 1 || !strings.Contains(w.notes[len(w.notes)-1], "the last one, b204-2: Windows does not come up: nothing shows") {
		t.Errorf("%q", w.notes)
	}
	w.checkIn(201, 2, sick)
	w.restart()
	w.checkIn(202, 2, sick)
	w.report(202, 2, protocol.OutcomeKept, "")
	if w.stops() != 1 {
		t.Errorf("told again: %q", w.notes)
	}
	w.checkIn(201, 2, healthy)
	w.checkIn(202, 2, healthy)
	if o := w.checkIn(204, 1, nil); !begins(&o) {
		t.Errorf("machines that came up still count as failed: %+v", o)
	}
	w.report(204, 1, protocol.OutcomeFailed, "bad disk")
	if w.stops() != 2 {
		t.Errorf("stopped again, and told: %q", w.notes)
	}
	w.now = w.now.Add(time.Minute)
	w.promote("B204", 3, "none")
	for _, n := range []int{203, 204} {
		w.checkIn(n, 1, nil)
		w.report(n, 1, protocol.OutcomeFailed, "bad disk")
	}
	if w.stops() != 3 {
		t.Errorf("another promotion: %q", w.notes)
	}
}

// A machine that waits for the admin's permission did not fail: it stops no wave, holds no start
// slot, and shows which command helps.
func TestWaitsForPermission(t *testing.T) {
	w := newWorld(t)
	w.promote("B204", 2, "none")
	if o := w.checkIn(201, 1, nil); !begins(&o) {
		t.Fatalf("%+v", o)
	}
	w.report(201, 1, protocol.OutcomeWaiting, "waits for a permit: run `troy permit downgrade b204-1 --to win11@2 --until DATE`")
	h, _, err := w.k.Host("b204-1")
	if err != nil || h.Phase != PhasePermit || !strings.Contains(h.Error, "troy permit downgrade b204-1") || h.Last.Result != state.ResultWaiting {
		t.Errorf("%+v, %v", h, err)
	}
	other := func(in *protocol.CheckIn) { in.Image = "win10" }
	if o := w.checkIn(202, 1, other); begins(&o) || version(&o) != 2 || !strings.Contains(o.Reason, "waits for your permission") {
		t.Errorf("the machine is not told what it would get: %+v", o)
	}
	w.report(202, 1, protocol.OutcomeWaiting, "waits for your permission: set `reinstall: true`")
	for n := 203; n < 205; n++ {
		if o := w.checkIn(n, 1, nil); !begins(&o) {
			t.Errorf("machine %d does not begin: %+v", n, o)
		}
	}
}

// A machine whose Windows cannot be started is no machine that is up to date, and one that does not
// come up is not either. A newer version may be what helps: it is called for that.
func TestDown(t *testing.T) {
	for name, c := range map[string]struct {
		in       func(*protocol.CheckIn)
		exitCode int
	}{
		"Windows does not come up":     {wentBackTo, 0},
		"Windows could not be started": {healthy, exitCheck},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.promote("B204", 2, "none")
			w.checkIn(201, 2, c.in)
			outcome := protocol.OutcomeKept
			if c.exitCode != 0 {
				outcome = protocol.OutcomeFailed
			}
			if err := w.k.Report(t.Context(), peer(201), protocol.Report{Protocol: protocol.Version, Machine: machine(201), Image: "win11", Version: 2,
				Outcome: outcome, ExitCode: c.exitCode, Message: "hand-off: no entry"}); err != nil {
				t.Fatal(err)
			}
			h, _, err := w.k.Host("b204-1")
			if err != nil || h.Phase != PhaseDown || h.Error == "" || lacks(h) {
				t.Errorf("%+v, %v", h, err)
			}
			if r := w.room("B204"); r.Counts[PhaseDown] != 1 || r.Counts[PhaseCurrent] != 0 {
				t.Errorf("%+v", r)
			}
			w.promote("B204", 3, "none")
			if h, _, err = w.k.Host("b204-1"); err != nil || h.Phase != PhaseDown || !lacks(h) {
				t.Errorf("with a newer version: %+v, %v", h, err)
			}
		})
	}
}
