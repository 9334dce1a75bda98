package machine

import (
	"errors"
	"fmt"
	"testing"

	"troy/internal/testing/crashdisk"
	"troy/internal/testing/needs"
)

// finishNaming is what each start does with a machine that was reset and is to be named.
func finishNaming(edits []Edit) func(m *Machine) error {
	return func(m *Machine) error {
		before := m.State()
		if before.SessionWritten || before.IdentityUnknown || before.IdentityPending == (before.IdentityApplied != "") {
			return fmt.Errorf("state %+v", before)
		}
		if err := m.Recover(ctx); err != nil {
			return err
		}
		if s := m.State(); s.IdentityApplied != before.IdentityApplied || s.IdentityPending != before.IdentityPending {
			return fmt.Errorf("recover made %+v of %+v", s, before)
		}
		if before.IdentityPending {
			if err := m.Personalise(ctx, edits); err != nil {
				return err
			}
		}
		s := m.State()
		if s.SessionWritten || s.IdentityPending || s.IdentityApplied != SumEdits(edits) || s.Version != 2 || s.LogPending {
			return fmt.Errorf("afterwards the state is %+v", s)
		}
		return nil
	}
}

// A power cut anywhere in Personalise leaves the version as published or with the whole identity,
// the journal says which, and the next start goes on.
func TestCrashPersonalise(t *testing.T) {
	needs.Time(t)
	for _, c := range []struct {
		seed          uint64
		sector        uint32
		subsets, want int
	}{{31, 512, 260, 1400}, {32, 4096, 90, 600}} {
		r, edits := named(t, c.seed, c.sector)
		o := &operation{rig: r, old: r.now, new: with(r.now, edits), again: finishNaming(edits),
			run: func(m *Machine) error { return m.Personalise(ctx, edits) }}
		// Some epochs have few states in all.
		res := o.crashEverywhere(t, crashdisk.Options{Seed: c.seed, Tears: 20 * soak(), Subsets: c.subsets * (1 + 13*(soak()-1)/9), Lone: true})
		res.report(t, fmt.Sprintf("personalise in sectors of %d", c.sector), c.want*soak())
		if res.old == 0 || res.new == 0 {
			t.Error("unnamed or named was never seen")
		}
	}
}

// From the session on an old version to the next version with its name: what starts without a name
// is known to have none. The journal alone completes it.
func TestCrashNamedUpdate(t *testing.T) {
	const seed = 46
	t.Logf("seed %d", seed)
	r, edits := named(t, seed, 512)
	must(t, open(t, r.disk).Personalise(ctx, edits))
	u := r.smallUpdate(3, seed)
	must(t, u.stage(open(t, r.disk)))
	r.now = with(r.now, edits)
	session{seed: seed, dirty: true, locator: true}.run(t, r)
	next := randomEdits(u.data, seed)
	next[1].Secret = false
	start := func(m *Machine) error {
		if err := m.Recover(ctx); err != nil {
			return err
		}
		if m.State().Version == 2 {
			if err := m.Want(ctx, &Identity{Image: image, Version: 3, Of: "PC-17", Values: map[string]string{"name": "PC-17"}, Edits: next}); err != nil {
				return err
			}
			if err := m.Commit(ctx); err != nil {
				return err
			}
		}
		if !m.State().IdentityPending {
			return nil
		}
		return m.Personalise(ctx, m.Wanted().Edits)
	}
	r.disk.Start()
	must(t, start(open(t, r.disk)))
	c := newChecker(r.disk, r.now, u.data, with(u.data, next))
	var seen [3]int
	for s := range r.disk.States(crashdisk.Options{Seed: seed, Tears: 4, Subsets: 6 * soak(), Lone: true}) {
		bits, err := c.match(s.Disk)
		must(t, err)
		m := open(t, s.Disk)
		st := m.State()
		want := map[uint]State{
			1: {Version: 2, SessionWritten: true, IdentityApplied: SumEdits(edits)},
			2: {Version: 3, IdentityPending: true},
			4: {Version: 3, IdentityApplied: SumEdits(next)},
		}[bits]
		if is := (State{Version: st.Version, SessionWritten: st.SessionWritten, IdentityApplied: st.IdentityApplied,
			IdentityPending: st.IdentityPending, IdentityUnknown: st.IdentityUnknown}); is != want {
			t.Fatalf("%v: shows %b, and says %+v", s, bits, st)
		}
		seen[bits/2]++
		must(t, start(m))
		if bits, err := c.match(s.Disk); err != nil || bits != 4 || m.State().IdentityApplied != SumEdits(next) {
			t.Fatalf("%v: completed it shows %b (%v), and says %+v", s, bits, err, m.State())
		}
	}
	t.Logf("states with the old session, the new version, and its name: %v", seen)
	if seen[0] < 50 || seen[1] < 50 || seen[2] < 20 {
		t.Error("something was hardly ever seen")
	}
}

func TestFaultsPersonalise(t *testing.T) {
	r, edits := named(t, 47, 512)
	o := &operation{rig: r, old: r.now, new: with(r.now, edits), again: finishNaming(edits),
		run: func(m *Machine) error { return m.Personalise(ctx, edits) }}
	o.faultyRuns(t, "personalise")
}

// Each wrong order is found. The flush of the pages is not among them: that of the log entry, which
// comes later and before the header, makes them durable as well.
func TestHarnessFindsBrokenNaming(t *testing.T) {
	const seed = 48
	moved := func(step, behind string) func([]Edit) func(*Machine) error {
		return func(edits []Edit) func(*Machine) error {
			return func(m *Machine) error {
				c := &change{m: m, op: opPersonalise}
				if err := errors.Join(m.mayPersonalise(c, edits), c.inspect()); err != nil {
					return err
				}
				return m.runChange(ctx, c, move(t, personaliseSteps(), step, behind))
			}
		}
	}
	asEver := func(edits []Edit) func(*Machine) error {
		return func(m *Machine) error { return m.Personalise(ctx, edits) }
	}
	for _, c := range []struct {
		name string
		run  func([]Edit) func(*Machine) error
		skip int // flush of the boot child that is dropped, from 1
	}{
		{"pages written after the switch", moved("write the hidden pages", "switch the header"), 0},
		{"pages written last", moved("write the hidden pages", "close the log"), 0},
		{"apply before the header", moved("apply the log entry", "write the log entry"), 0},
		{"log closed before apply", moved("close the log", "switch its other copy"), 0},
		{"session recorded after the switch", moved("record the session", "switch its other copy"), 0},
		{"log entry not flushed", asEver, 3},
		{"applied bits not flushed", asEver, 6},
		{"nothing wrong", asEver, 0},
	} {
		r, edits := named(t, seed, 512)
		o := &operation{rig: r, old: r.now, new: with(r.now, edits), run: c.run(edits), again: finishNaming(edits)}
		if c.skip > 0 {
			o.wrap = func(f Files) Files { lying(&f.Boot, func(n int) bool { return n == c.skip }); return f }
		}
		res := o.crashEverywhere(t, crashdisk.Options{Seed: seed, Tears: 4, Subsets: 24, Lone: true})
		t.Logf("%s: %d states, %d found bad", c.name, res.states, len(res.problems))
		if found := len(res.problems) > 0; found != (c.name != "nothing wrong") {
			t.Errorf("%s: found bad: %v %q", c.name, found, res.problems)
		}
	}
}

// move takes a step from its place and puts it behind another one.
func move(t *testing.T, steps []changeStep, name, behind string) (moved []changeStep) {
	var step changeStep
	for _, s := range steps {
		if s.name == name {
			step = s
		}
	}
	for _, s := range steps {
		if s.name != name {
			moved = append(moved, s)
		}
		if s.name == behind {
			moved = append(moved, step)
		}
	}
	if len(moved) != len(steps) || step.run == nil {
		t.Fatalf("no step %q, or none %q", name, behind)
	}
	return moved
}
