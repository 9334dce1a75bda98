package machine

import (
	"math/rand/v2"
	"testing"

	"troy/internal/testing/crashdisk"
	"troy/internal/testing/needs"
)

// believe takes for written what the log names, without a look at what the disk holds.
func believe(stageNote, [16]byte) bool { return true }

func TestCrashResume(t *testing.T) {
	needs.Time(t)
	const seed = 440
	r := newRig(t, 4*mib, 512, 4*mib)
	u := r.smallUpdate(2, seed)
	run := func(m *Machine) error { return u.resumeAndCommit(m, sameSum) }
	o := &operation{rig: r, old: r.now, new: u.data, run: run, again: run, look: true}
	o.crashEverywhere(t, crashdisk.Options{Seed: seed, Tears: 8, Subsets: 320 * soak(), Lone: true}).report(t, "stage, resume, commit", 2500*soak())
}

// Staging is cut off twice, in two processes without a power cut between, before the run that is
// recorded: what an earlier one left is taken over and crashed on top of.
func TestCrashResumeAfterKills(t *testing.T) {
	const seed = 450
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	held := int64(0)
	for round := range 8 * soak() {
		r := newRig(t, 4*mib, 512, 4*mib)
		u := r.smallUpdate(2, seed+uint64(round))
		run := func(m *Machine) error { return u.resumeAndCommit(m, sameSum) }
		o := &operation{rig: r, old: r.now, new: u.data, run: run, again: run, look: true}
		r.disk.Start() // once: what the killed ones did not flush may still get lost
		for range 2 {
			hook, _ := crashdisk.FailAt(r.disk.Calls()+60+rnd.IntN(160), crashdisk.IOError, true)
			r.disk.SetHook(func(c crashdisk.Call) (int, error) {
				_, err := hook(c)
				return 0, err
			})
			if m, err := Open(filesOf(r.disk)); err == nil {
				_ = run(m)
			}
			r.disk.SetHook(nil)
		}
		if m := open(t, r.disk); m.State().Staged == 0 && m.State().Version == 1 {
			s, err := m.Stage(ctx, u.request())
			must(t, err)
			held += s.Held()
		}
		must(t, run(open(t, r.disk)))
		c := newChecker(r.disk, o.old, o.new)
		for k := range 24 {
			s := r.disk.Random(rnd.Uint64())
			if _, err := o.crashOnce(c, s, uint64(k)); err != nil {
				t.Fatalf("round %d: %v: %v", round, s, err)
			}
		}
	}
	if held == 0 {
		t.Error("nothing was ever taken over")
	}
	t.Logf("%d bytes taken over", held)
}

// The harness has to find a resume that believes its log, or that forgets to flush what it took
// over.
func TestHarnessFindsBrokenResumes(t *testing.T) {
	for name, c := range map[string]struct {
		check checkNote
		wrap  func(*Files)
	}{
		"log believed":      {check: believe},
		"slots not flushed": {sameSum, func(f *Files) { lying(&f.LayerA, always); lying(&f.LayerB, always) }},
	} {
		const seed = 460
		r := newRig(t, 4*mib, 512, 4*mib)
		u := r.smallUpdate(2, seed)
		run := func(m *Machine) error { return u.resumeAndCommit(m, c.check) }
		o := &operation{rig: r, old: r.now, new: u.data, run: run, again: run, look: true}
		if c.wrap != nil {
			o.wrap = func(f Files) Files { c.wrap(&f); return f }
		}
		res := o.crashEverywhere(t, crashdisk.Options{Seed: seed, Tears: 4, Subsets: 24, Lone: true})
		t.Logf("%s: %d states, %d found bad", name, res.states, len(res.problems))
		if len(res.problems) == 0 {
			t.Errorf("%s: not found", name)
		}
	}
}

// Every call of a stage that goes on with an earlier one fails, in every way.
func TestFaultsResume(t *testing.T) {
	const seed = 470
	t.Logf("seed %d", seed)
	r := newRig(t, 4*mib, 512, 4*mib)
	u := r.smallUpdate(2, seed)
	s, err := open(t, r.disk).Stage(ctx, u.request())
	must(t, err)
	for i, p := range u.pieces(2) {
		if i%2 == 0 {
			_, err := s.WriteAt(u.data[p.Offset:p.Offset+p.Length], p.Offset)
			must(t, err)
		}
	}
	must(t, s.Note())
	resume := func(m *Machine) error { return u.resume(m, sameSum) }
	again := func(m *Machine) error {
		if err := resume(m); err != nil {
			return err
		}
		return m.Commit(ctx)
	}
	// The next run commits: what is staged then has to be right, whatever failed.
	(&operation{rig: r, old: r.now, new: u.data, run: resume, again: again, look: true}).faultyRuns(t, "stage that goes on")
}
