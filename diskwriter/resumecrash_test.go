package diskwriter

import (
	"testing"

	"troy/diskwriter/crashdisk"
)

// believe takes for written what the log names, without a look at what the disk holds.
func believe(stageNote, [16]byte) bool { return true }

func TestCrashResume(t *testing.T) {
	const seed = 440
	r := newRig(t, 4*mib, 512, 4*mib)
	u := r.smallUpdate(2, seed)
	run := func(m *Machine) error { return u.resumeAndCommit(m, sameSum) }
	o := &operation{rig: r, old: r.now, new: u.data, run: run, again: run, look: true}
	o.crashEverywhere(t, crashdisk.Options{Seed: seed, Tears: 8, Subsets: 100 * soak(), Lone: true}).report(t, "stage, resume, commit", 2500)
}
