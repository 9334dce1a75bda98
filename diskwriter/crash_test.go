package diskwriter

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"

	"troy/diskwriter/crashdisk"
)

// TestMain trades memory for time: crash states make much garbage.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// soak multiplies the number of crash states with TROY_SOAK=1.
func soak() int {
	if os.Getenv("TROY_SOAK") == "1" {
		return 10
	}
	return 1
}

// operation is something done to a machine that is allowed to be cut off anywhere.
type operation struct {
	rig *rig
	old []byte                 // shown before
	new []byte                 // shown afterwards; may be the same
	run func(m *Machine) error // from the start
	// again completes it on a machine on which it was cut off anywhere, also before the start or after the end.
	again func(m *Machine) error
	// wrap, when set, changes what the recorded run sees of its files: for orders that are broken on purpose.
	wrap func(Files) Files
}

// crashResult counts what crashEverywhere did.
type crashResult struct {
	mu             sync.Mutex
	states         int
	old, new       int
	crashedAgain   int
	seenBySevenZip int
	problems       []string
}

// crashEverywhere records the operation and looks at its crash states. In each, both readers must see the old or the new
// version; then the operation is run again, that is crashed too, and (every fourth time) the next run completes it.
func (o *operation) crashEverywhere(t *testing.T, opts crashdisk.Options) *crashResult {
	t.Helper()
	t.Logf("seed %d", opts.Seed)
	disk := o.rig.disk
	disk.Start()
	files := filesOf(disk)
	if o.wrap != nil {
		files = o.wrap(files)
	}
	m, err := OpenMachine(files, nil)
	must(t, err)
	must(t, o.run(m))
	res := &crashResult{}
	shards := runtime.GOMAXPROCS(0)
	var wg sync.WaitGroup
	for shard := range shards {
		wg.Go(func() { o.crashShard(t, opts, shard, shards, res) })
	}
	wg.Wait()
	return res
}

func (o *operation) crashShard(t *testing.T, opts crashdisk.Options, shard, shards int, res *crashResult) {
	opts.Shard, opts.Shards = shard, shards
	c := newChecker(o.rig.disk, o.old, o.new)
	n := 0
	for s := range o.rig.disk.States(opts) {
		n++
		seen, err := o.crashOnce(c, s, opts.Seed+uint64(n))
		zip := n%900 == 1 && err == nil && clean(s.Disk)
		res.add(s, seen, err, zip)
		if zip && !o.sevenZipAgrees(t, s.Disk) {
			res.add(s, 0, errors.New("7zz sees something else"), false)
		}
		if res.enough() {
			return
		}
	}
}

func (r *crashResult) add(s *crashdisk.State, seen uint, err error, zip bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.states++
	if seen&1 != 0 {
		r.old++
	} else if seen&2 != 0 {
		r.new++
	}
	if zip {
		r.seenBySevenZip++
	}
	if err != nil {
		r.problems = append(r.problems, fmt.Sprintf("%v: %v", s, err))
		return
	}
	r.crashedAgain++
}

// enough stops a run that has found plenty.
func (r *crashResult) enough() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.problems) > 20
}

func (o *operation) sevenZipAgrees(t *testing.T, d *crashdisk.Disk) bool {
	got := sevenZip(t, unpack(t, d))
	return string(got) == string(o.old) || string(got) == string(o.new)
}

// crashOnce checks a state, recovers from it, crashes the recovery, and completes it.
func (o *operation) crashOnce(c *checker, s *crashdisk.State, seed uint64) (seen uint, err error) {
	if seen, err = c.match(s.Disk); err != nil {
		return 0, err
	}
	if seen == 0 {
		return 0, errors.New("neither the old nor the new version")
	}
	thorough := c.states%4 == 0
	if err := o.complete(c, s.Disk, thorough); err != nil {
		return seen, fmt.Errorf("recovery: %w", err)
	}
	r := s.Disk.Random(seed)
	again, err := c.match(r.Disk)
	switch {
	case err != nil:
		return seen, fmt.Errorf("crashed again, %v: %w", r, err)
	case again == 0:
		return seen, fmt.Errorf("crashed again, %v: neither the old nor the new version", r)
	case seen == 2 && again == 1:
		return seen, fmt.Errorf("crashed again, %v: the new version was lost", r)
	}
	if !thorough {
		return seen, nil
	}
	if err := o.complete(c, r.Disk, true); err != nil {
		return seen, fmt.Errorf("crashed again, %v: recovery: %w", r, err)
	}
	return seen, nil
}

// complete runs the operation to its end and, if asked, looks for the new version.
func (o *operation) complete(c *checker, d *crashdisk.Disk, look bool) error {
	m, err := OpenMachine(filesOf(d), nil)
	if err != nil {
		return err
	}
	if err := o.again(m); err != nil {
		return err
	}
	if !look {
		return nil
	}
	if seen, err := c.match(d); err != nil || seen&2 == 0 {
		return fmt.Errorf("afterwards the disk shows versions %b: %v", seen, err)
	}
	return nil
}

func (r *crashResult) report(t *testing.T, what string, least int) {
	t.Helper()
	t.Logf("%s: %d states, %d old, %d new, %d crashed again, 7zz asked %d times", what, r.states, r.old, r.new, r.crashedAgain, r.seenBySevenZip)
	for _, p := range r.problems {
		t.Errorf("%s: %s", what, p)
	}
	if r.states < least*soak() {
		t.Errorf("%s: only %d states, want %d", what, r.states, least*soak())
	}
}

// prepared is a machine with version 2 staged on version 1, in which a session of Windows has left its traces.
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

// The largest: Windows was cut off after it had trimmed, moved and promoted blocks and rewritten the locator.
func TestCrashCommit(t *testing.T) {
	const seed = 1
	r, u := prepared(t, seed, &session{dirty: true, odd: true, locator: true})
	o := &operation{rig: r, old: r.now, new: u.data, run: func(m *Machine) error { return m.Commit(ctx) }, again: commitAgain}
	res := o.crashEverywhere(t, crashdisk.Options{Seed: seed, Tears: 64 * soak(), Subsets: 4000 * soak(), Lone: true})
	res.report(t, "commit", 10_000)
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
		res.report(t, fmt.Sprintf("commit after %+v", s), 230)
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
	o.crashEverywhere(t, crashdisk.Options{Seed: seed, Tears: 8, Subsets: 64 * soak(), Lone: true}).report(t, "stage", 400)
}

func TestCrashReset(t *testing.T) {
	const seed = 3
	r, _ := prepared(t, seed, nil)
	before := r.now
	(&session{seed: seed, dirty: true, odd: true, locator: true}).run(t, r)
	reset := func(m *Machine) error { return m.Reset(ctx) }
	o := &operation{rig: r, old: r.now, new: before, run: reset, again: reset}
	o.crashEverywhere(t, crashdisk.Options{Seed: seed, Tears: 14, Subsets: 64 * soak(), Lone: true}).report(t, "reset", 500)
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
	o.crashEverywhere(t, crashdisk.Options{Seed: seed, Tears: 14, Subsets: 64 * soak(), Lone: true}).report(t, "rollback", 600)
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
	if done, err := m.Merge(ctx, &MergeOptions{Policy: Now, SliceBytes: mib, Depth: 8}); err != nil || !done {
		return fmt.Errorf("merge: done %v: %w", done, err)
	}
	return nil
}

// Merge writes what is masked: the machine shows the same at every instant, its session included.
func TestCrashMerge(t *testing.T) {
	const seed = 5
	r, _ := twoSlots(t, seed, session{})
	o := &operation{rig: r, old: r.now, new: r.now, run: mergeAll, again: mergeAll}
	o.crashEverywhere(t, crashdisk.Options{Seed: seed, Tears: 4, Subsets: 64 * soak(), Lone: true}).report(t, "merge of two slots", 600)
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
	o.crashEverywhere(t, crashdisk.Options{Seed: seed, Tears: 14, Subsets: 64 * soak(), Lone: true}).report(t, "relink", 600)
}

// The policy "now" from end to end, cut off anywhere, and gone on from what OpenMachine finds.
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
	o.crashEverywhere(t, crashdisk.Options{Seed: seed, Tears: 4, Subsets: 24 * soak(), Lone: true}).report(t, "whole update", 650)
}

// A process that dies while the power stays on leaves its last writes in a cache; the next one reads them as if they were durable.
func TestCrashAfterKill(t *testing.T) {
	const seed = 8
	rnd := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for round := range 16 * soak() {
		r, u := prepared(t, seed+uint64(round), &session{dirty: round%2 == 0})
		r.disk.Start()
		hook, _ := crashdisk.FailAt(1+rnd.IntN(250), crashdisk.IOError, true)
		r.disk.SetHook(func(c crashdisk.Call) (int, error) {
			if _, err := hook(c); err != nil {
				return 0, err
			}
			return 0, nil
		})
		if m, err := OpenMachine(filesOf(r.disk), nil); err == nil && m.Commit(ctx) == nil {
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
