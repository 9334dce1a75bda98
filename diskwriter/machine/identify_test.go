package machine

import (
	"errors"
	"testing"
)

// A label says of what manifest each version is, and keeps it through all that moves content.
func TestManifests(t *testing.T) {
	r := newRig(t, 8*mib, 512, 8*mib)
	m := open(t, r.disk)
	must(t, m.Identify(ctx, Label{Image: image, Version: 1, Manifest: "one"}))
	stage := func(version int, manifest string) {
		t.Helper()
		u := r.randomUpdate(version, uint64(90+version), 3)
		s, err := m.Stage(ctx, &StageRequest{Image: image, Version: version, Manifest: manifest, Runs: u.runs})
		must(t, err)
		must(t, u.write(s, 90))
		must(t, s.Finish(ctx))
	}
	wants := func(what, manifest, previous, staged string) {
		t.Helper()
		m = open(t, r.disk)
		if s := m.State(); s.Manifest != manifest || s.PreviousManifest != previous || s.StagedManifest != staged {
			t.Errorf("%s: %+v", what, s)
		}
	}
	stage(2, "two")
	wants("staged", "one", "", "two")
	must(t, m.Commit(ctx))
	wants("committed", "two", "one", "")
	must(t, m.Rollback(ctx))
	wants("rolled back", "one", "", "")
	stage(2, "another two")
	must(t, m.Commit(ctx))
	_, err := m.Merge(ctx, &MergeOptions{Policy: Now, MaxBytes: pageSize})
	must(t, err)
	must(t, m.Identify(ctx, Label{Image: image, Version: 2, Manifest: "compared"}))
	must(t, mergeAll(m))
	must(t, m.Relink(ctx))
	wants("merged", "compared", "", "")
	in, err := Reinstall(ctx, filesOf(r.disk), &ReinstallRequest{Image: image, Version: 2, Manifest: "whole"})
	must(t, err)
	if s := open(t, r.disk).State(); s.ReinstallManifest != "whole" {
		t.Errorf("reinstalling: %+v", s)
	}
	must(t, writeHalves(in, noise(8*mib, 1), 4*mib))
	if in, err = Reinstall(ctx, filesOf(r.disk), &ReinstallRequest{Image: image, Version: 2, Manifest: "other"}); err != nil || in.Offset() != 0 {
		t.Errorf("another version of that number goes on at %d: %v", in.Offset(), err)
	}
}

// A slot of which the journal lost the label gets none: with it a rollback would be permitted, onto
// a parent that may be half merged. Without a slot a name does no harm.
func TestIdentifyAfterTheJournal(t *testing.T) {
	r, _ := twoSlots(t, 91, session{})
	loseJournal(t, r.disk)
	m := open(t, r.disk)
	if err := m.Identify(ctx, Label{Image: image, Version: 3, Manifest: "three"}); !errors.Is(err, ErrMergeStarted) {
		t.Errorf("a slot: %v", err)
	}
	must(t, mergeAll(m))
	must(t, m.Relink(ctx))
	must(t, m.Identify(ctx, Label{Image: image, Version: 3, Manifest: "three"}))
	shows(t, r.disk, r.now, "identified")
	if s := open(t, r.disk).State(); s.Version != 3 || s.Manifest != "three" || s.BaseVersion != 3 {
		t.Errorf("%+v", s)
	}
}
