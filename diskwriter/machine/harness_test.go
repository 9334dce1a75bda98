package machine

import (
	"slices"
	"testing"

	"troy/internal/testing/crashdisk"
)

// The harness is only worth something if it finds a wrong order. Each of these breaks the order in
// one place; crashEverywhere has to find a mixture or an unreadable chain.

// swapped runs a commit whose header decides after the pages were already rewritten in their
// places.
func swapped(m *Machine) error {
	steps := commitSteps()
	for i := range steps {
		if steps[i].name == "switch the header" {
			steps[i], steps[i+2] = steps[i+2], steps[i]
			break
		}
	}
	return m.runChange(ctx, &change{op: "commit", parent: m.staged(), reset: true}, steps)
}

// lyingStorage drops the flushes that skip names, counted from 1.
type lyingStorage struct {
	Storage
	n    *int
	skip func(n int) bool
}

func (l lyingStorage) Sync() error {
	*l.n++
	if l.skip(*l.n) {
		return nil
	}
	return l.Storage.Sync()
}

func lying(f *File, skip func(n int) bool) { f.Storage = lyingStorage{f.Storage, new(int), skip} }

func always(int) bool { return true }

func TestHarnessFindsBrokenOrders(t *testing.T) {
	commit := func(m *Machine) error { return m.Commit(ctx) }
	whole := func(u *update) func(m *Machine) error {
		return func(m *Machine) error {
			if m.State().Version < 2 && m.State().Staged == 0 {
				if err := u.stage(m); err != nil {
					return err
				}
			}
			for _, f := range []func(*Machine) error{commitAgain, mergeAll, func(m *Machine) error { return m.Relink(ctx) }} {
				if err := f(m); err != nil {
					return err
				}
			}
			return nil
		}
	}
	nth := func(ks ...int) func(int) bool { return func(n int) bool { return slices.Contains(ks, n) } }
	for _, c := range []struct {
		name   string
		staged bool
		run    func(*update) func(*Machine) error
		wrap   func(*Files)
	}{
		{"apply before the header", true, func(*update) func(*Machine) error { return swapped }, nil},
		{"log entry not flushed", true, func(*update) func(*Machine) error { return commit }, func(f *Files) { lying(&f.Boot, nth(2)) }},
		{"header not flushed", true, func(*update) func(*Machine) error { return commit }, func(f *Files) { lying(&f.Boot, nth(3, 4)) }},
		{"applied pages not flushed", true, func(*update) func(*Machine) error { return commit }, func(f *Files) { lying(&f.Boot, nth(5)) }},
		{"slot not flushed before commit", false, whole, func(f *Files) { lying(&f.LayerA, always); lying(&f.LayerB, always) }},
		{"merged slices not flushed before relink", false, whole, func(f *Files) { lying(&f.Base, always) }},
		{"nothing wrong", true, func(*update) func(*Machine) error { return commit }, func(*Files) {}},
	} {
		const seed = 50
		r := newRig(t, 8*mib, 512, 8*mib)
		u := r.randomUpdate(2, seed, 10)
		if c.staged {
			must(t, u.stage(open(t, r.disk)))
		}
		(&session{seed: seed, odd: true, locator: true}).run(t, r)
		o := &operation{rig: r, old: r.now, new: u.data, run: c.run(u), again: whole(u)}
		if c.wrap != nil {
			o.wrap = func(f Files) Files { c.wrap(&f); return f }
		}
		res := o.crashEverywhere(t, crashdisk.Options{Seed: seed, Tears: 4, Subsets: 24, Lone: true})
		t.Logf("%s: %d states, %d found bad", c.name, res.states, len(res.problems))
		if found := len(res.problems) > 0; found != (c.name != "nothing wrong") {
			t.Errorf("%s: found bad: %v %q", c.name, found, res.problems)
		}
	}
}
