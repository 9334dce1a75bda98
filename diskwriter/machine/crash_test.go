package machine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"troy/internal/testing/crashdisk"
	"troy/internal/testing/needs"
)

// prepared is a machine with version 2 staged on version 1, in which a session of Windows has left
// its traces.
func prepared(t *testing.T, seed uint64, s *session) (*rig, *update) {
	t.Helper()
	r := newRig(t, 8*mib, 512, 8*mib)
	u := r.randomUpdate(2, seed, 10)
	must(t, u.stage(open(t, r.disk)))
	if s != nil {
		s.seed = seed
		s.run(t, r)
	}
	return r, u
}

func commitAgain(m *Machine) error {
	if err := m.Recover(ctx); err != nil {
		return err
	}
	if m.State().Staged == 0 {
		return nil
	}
	return m.Commit(ctx)
}

// The largest: Windows was cut off after it had trimmed, moved and promoted blocks and rewritten
// the locator.
func TestCrashCommit(t *testing.T) {
	needs.Time(t)
	const seed = 1
	r, u := prepared(t, seed, &session{dirty: true, odd: true, locator: true})
	o := &operation{rig: r, old: r.now, new: u.data, run: func(m *Machine) error { return m.Commit(ctx) }, again: commitAgain}
	// Some epochs have few states in all, so ten times as many take more than ten times the tries.
	res := o.crashEverywhere(t, crashdisk.Options{Seed: seed, Tears: 64 * soak(), Subsets: 800 + 6860*(soak()-1), Lone: true})
	res.report(t, "commit", 2500+10_800*(soak()-1))
	if res.old == 0 || res.new == 0 {
		t.Error("one of the two versions was never seen")
	}
}

func TestCrashCommitOthers(t *testing.T) {
	for seed, s := range map[uint64]*session{
		10: nil,
		11: {dirty: true},
		12: {odd: true, locator: true},
	} {
		r, u := prepared(t, seed, s)
		o := &operation{rig: r, old: r.now, new: u.data, run: func(m *Machine) error { return m.Commit(ctx) }, again: commitAgain}
		res := o.crashEverywhere(t, crashdisk.Options{Seed: seed, Tears: 14, Subsets: 64 * soak(), Lone: true})
		res.report(t, fmt.Sprintf("commit after %+v", s), 220)
	}
}

func TestCrashStage(t *testing.T) {
	const seed = 2
	r := newRig(t, 8*mib, 512, 8*mib)
	(&session{seed: seed, odd: true, locator: true}).run(t, r)
	u := r.randomUpdate(2, seed, 10)
	o := &operation{rig: r, old: r.now, new: r.now, run: u.stage, again: func(m *Machine) error {
		if err := u.stage(m); err != nil {
			return err
		}
		if m.State().Staged != 2 {
			return errors.New("nothing is staged")
		}
		return nil
	}}
	o.crashEverywhere(t, crashdisk.Options{Seed: seed, Tears: 8, Subsets: 64 * soak(), Lone: true}).report(t, "stage", 380)
}

func TestCrashReset(t *testing.T) {
	const seed = 3
	r, _ := prepared(t, seed, nil)
	before := r.now
	(&session{seed: seed, dirty: true, odd: true, locator: true}).run(t, r)
	reset := func(m *Machine) error { return m.Reset(ctx) }
	o := &operation{rig: r, old: r.now, new: before, run: reset, again: reset}
	o.crashEverywhere(t, crashdisk.Options{Seed: seed, Tears: 14, Subsets: 64 * soak(), Lone: true}).report(t, "reset", 480)
}

func TestCrashRollback(t *testing.T) {
	const seed = 4
	r, u := prepared(t, seed, nil)
	before := r.now
	must(t, open(t, r.disk).Commit(ctx))
	r.now = u.data
	(&session{seed: seed, dirty: true}).run(t, r)
	o := &operation{rig: r, old: r.now, new: before, run: func(m *Machine) error { return m.Rollback(ctx) }, again: func(m *Machine) error {
		if m.State().Version == 2 {
			return m.Rollback(ctx)
		}
		return m.Recover(ctx)
	}}
	o.crashEverywhere(t, crashdisk.Options{Seed: seed, Tears: 14, Subsets: 64 * soak(), Lone: true}).report(t, "rollback", 560)
}

// twoSlots is a machine with two versions in its slots and a session on top.
func twoSlots(t *testing.T, seed uint64, s session) (r *rig, top []byte) {
	t.Helper()
	r, u := prepared(t, seed, nil)
	m := open(t, r.disk)
	must(t, m.Commit(ctx))
	r.now = u.data
	u = r.randomUpdate(3, seed, 10)
	must(t, u.stage(m))
	must(t, m.Commit(ctx))
	r.now = u.data
	s.seed = seed
	s.run(t, r)
	return r, u.data
}

func mergeAll(m *Machine) error {
	if done, err := m.Merge(ctx, &MergeOptions{Policy: Now, sliceBytes: mib, depth: 8}); err != nil || !done {
		return fmt.Errorf("merge: done %v: %w", done, err)
	}
	return nil
}

// Merge writes what is masked: the machine shows the same at every instant, its session included.
func TestCrashMerge(t *testing.T) {
	const seed = 5
	r, _ := twoSlots(t, seed, session{})
	o := &operation{rig: r, old: r.now, new: r.now, run: mergeAll, again: mergeAll}
	o.crashEverywhere(t, crashdisk.Options{Seed: seed, Tears: 4, Subsets: 64 * soak(), Lone: true}).report(t, "merge of two slots", 560)
}

func TestCrashRelink(t *testing.T) {
	const seed = 6
	r, _ := twoSlots(t, seed, session{dirty: true, locator: true, odd: true})
	must(t, mergeAll(open(t, r.disk)))
	o := &operation{rig: r, old: r.now, new: r.now, run: func(m *Machine) error { return m.Relink(ctx) }, again: func(m *Machine) error {
		if m.State().Staged != 0 {
			return errors.New("a merged slot looks staged")
		}
		if err := m.Recover(ctx); err != nil {
			return err
		}
		if err := m.Relink(ctx); err != nil {
			return err
		}
		if s := m.State(); s.Layers != 0 || s.BaseVersion != 3 || s.Version != 3 || !s.SlotFree {
			return fmt.Errorf("state %+v", s)
		}
		return nil
	}}
	o.crashEverywhere(t, crashdisk.Options{Seed: seed, Tears: 14, Subsets: 64 * soak(), Lone: true}).report(t, "relink", 560)
}

// The policy "now" from end to end, cut off anywhere, and gone on from what Open finds.
func TestCrashWholeUpdate(t *testing.T) {
	const seed = 7
	r := newRig(t, 6*mib, 512, 6*mib)
	u := r.randomUpdate(2, seed, 4)
	(&session{seed: seed, dirty: true, locator: true}).run(t, r)
	all := func(m *Machine) error {
		if err := m.Recover(ctx); err != nil {
			return err
		}
		if m.State().Version < 2 && m.State().Staged < 2 {
			if err := u.stage(m); err != nil {
				return err
			}
		}
		if m.State().Version < 2 {
			if err := m.Commit(ctx); err != nil {
				return err
			}
		}
		if err := mergeAll(m); err != nil {
			return err
		}
		if err := m.Relink(ctx); err != nil {
			return err
		}
		if s := m.State(); s.Layers != 0 || s.BaseVersion != 2 || s.Version != 2 || s.Staged != 0 {
			return fmt.Errorf("state %+v", s)
		}
		return nil
	}
	o := &operation{rig: r, old: r.now, new: u.data, run: all, again: all}
	o.crashEverywhere(t, crashdisk.Options{Seed: seed, Tears: 4, Subsets: 24 * soak(), Lone: true}).report(t, "whole update", 600)
}

// A process that dies while the power stays on leaves its last writes in a cache; the next one
// reads them as if they were durable.
func TestCrashAfterKill(t *testing.T) {
	const seed = 8
	rnd := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for round := range 16 * soak() {
		r, u := prepared(t, seed+uint64(round), &session{dirty: round%2 == 0})
		r.disk.Start()
		hook, _ := crashdisk.FailAt(1+rnd.IntN(350), crashdisk.IOError, true)
		r.disk.SetHook(func(c crashdisk.Call) (int, error) {
			if _, err := hook(c); err != nil {
				return 0, err
			}
			return 0, nil
		})
		if m, err := Open(filesOf(r.disk)); err == nil && m.Commit(ctx) == nil {
			_ = mergeAll(m) == nil && m.Relink(ctx) == nil
		}
		r.disk.SetHook(nil)
		o := &operation{rig: r, old: r.now, new: u.data, run: func(m *Machine) error {
			if err := commitAgain(m); err != nil {
				return err
			}
			if err := mergeAll(m); err != nil {
				return err
			}
			return m.Relink(ctx)
		}}
		o.again = o.run
		m := open(t, r.disk) // the recording goes on: what was not flushed may still get lost
		must(t, o.run(m))
		c := newChecker(r.disk, o.old, o.new)
		for k := range 12 {
			s := r.disk.Random(rnd.Uint64())
			if _, err := o.crashOnce(c, s, uint64(k)); err != nil {
				t.Fatalf("round %d: %v: %v", round, s, err)
			}
		}
	}
}
