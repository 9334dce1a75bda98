package machine

import (
	"bytes"
	"errors"
	"testing"

	"troy/internal/testing/crashdisk"
)

// healTo compares by regions, as the caller does with the map of a version.
func healTo(want []byte) func(Files) error {
	return func(f Files) error {
		h, err := OpenForHeal(f)
		if errors.Is(err, ErrNothingToHeal) {
			return nil
		} else if err != nil {
			return err
		}
		have, err := readDiskOf(h, h.Size())
		if err != nil {
			return err
		}
		const region = 64 << 10
		for at := 0; at < len(want); at += region {
			if bytes.Equal(have[at:at+region], want[at:at+region]) {
				continue
			}
			if _, err := h.WriteAt(want[at:at+region], int64(at)); err != nil {
				return err
			}
		}
		return h.Finish(ctx)
	}
}

// damageBase is what another program does to the parent, cut off with its log open.
func damageBase(t *testing.T, r *rig, seed uint64) {
	t.Helper()
	touch(t, r.disk, BaseName)
	f := r.disk.File(BaseName)
	for i, at := range []int64{0, int64(seed) % 90 * 16 * pageSize, r.virtual - pageSize} {
		write(t, f, payloadOffset(r.virtual)+at, noise(pageSize, seed+uint64(i)))
	}
	openLog(t, f)
}

// healCase is a machine with a damaged parent; want is what Heal is to bring about.
func healCase(t *testing.T, kind string, seed uint64) (r *rig, want []byte) {
	t.Helper()
	dirty := session{seed: seed, dirty: true, locator: true}
	switch kind {
	case "on the parent":
		r = newRig(t, 8*mib, 512, 8*mib)
		want = r.now
		dirty.run(t, r)
	case "under a slot":
		var u *update
		r, u = prepared(t, seed, nil)
		want = r.now
		must(t, open(t, r.disk).Commit(ctx))
		r.now = u.data
	default:
		r, want = twoSlots(t, seed, dirty)
		if kind == "half merged" {
			_, err := open(t, r.disk).Merge(ctx, &MergeOptions{Policy: Now, MaxBytes: 2 * mib, sliceBytes: mib})
			must(t, err)
		} else {
			must(t, mergeAll(open(t, r.disk)))
		}
	}
	damageBase(t, r, seed)
	return r, want
}

var healKinds = []string{"on the parent", "under a slot", "half merged", "merged"}

func TestHeal(t *testing.T) {
	for i, kind := range healKinds {
		r, want := healCase(t, kind, 200+uint64(i))
		refused(t, r.disk, ErrParentChanged, kind)
		r.disk.Start()
		h, err := OpenForHeal(filesOf(r.disk))
		must(t, err)
		l, known := h.Label()
		if v := []int{1, 1, 3, 3}[i]; !known || l.Version != v || l.Image != image || h.Size() != r.virtual || r.disk.Written() != 0 {
			t.Errorf("%s: label %+v %v, %d bytes written", kind, l, known, r.disk.Written())
		}
		must(t, healTo(want)(filesOf(r.disk)))
		m := open(t, r.disk)
		if s := m.State(); kind == "half merged" && (s.MergeOffset != 0 || !s.Merging) || kind == "merged" && !s.Merged {
			t.Errorf("%s: %+v", kind, s)
		}
		must(t, m.Recover(ctx))
		shows(t, r.disk, r.now, kind)
		if kind == "under a slot" {
			must(t, m.Rollback(ctx))
			shows(t, r.disk, want, "rolled back onto the healed parent")
			continue
		}
		must(t, mergeAll(m))
		must(t, m.Relink(ctx))
		must(t, m.Reset(ctx))
		shows(t, r.disk, want, kind+": merged onto the healed parent")
	}
}

func TestHealWithoutJournal(t *testing.T) {
	for i, kind := range []string{"on the parent", "half merged"} {
		r, want := healCase(t, kind, 210+uint64(i))
		loseJournal(t, r.disk)
		h, err := OpenForHeal(filesOf(r.disk))
		must(t, err)
		if _, known := h.Label(); known {
			t.Error("the version cannot be known")
		}
		must(t, healTo(want)(filesOf(r.disk)))
		must(t, open(t, r.disk).Recover(ctx))
		shows(t, r.disk, r.now, kind)
	}
}

func TestHealRefuses(t *testing.T) {
	r, _ := twoSlots(t, 220, session{})
	if _, err := OpenForHeal(filesOf(r.disk)); !errors.Is(err, ErrNothingToHeal) {
		t.Error("a healthy machine:", err)
	}
	touch(t, r.disk, LayerAName, BaseName)
	if _, err := OpenForHeal(filesOf(r.disk)); !errors.Is(err, ErrParentChanged) {
		t.Error("a changed slot:", err)
	}
	r = newRig(t, 8*mib, 512, 8*mib)
	touch(t, r.disk, BaseName)
	h, err := OpenForHeal(filesOf(r.disk))
	must(t, err)
	for _, bad := range [][2]int64{{1, pageSize}, {0, 100}, {-pageSize, pageSize}, {r.virtual, pageSize}, {0, r.virtual + pageSize}} {
		if _, err := h.WriteAt(make([]byte, bad[1]), bad[0]); !errors.Is(err, ErrRuns) {
			t.Errorf("%d bytes at %d: %v", bad[1], bad[0], err)
		}
	}
	must(t, h.Finish(ctx))
	if _, err := h.WriteAt(make([]byte, pageSize), 0); !errors.Is(err, ErrReopen) || !errors.Is(h.Finish(ctx), ErrReopen) {
		t.Error("used after Finish:", err)
	}
	_, err = Reinstall(ctx, filesOf(r.disk), &ReinstallRequest{Image: image, Version: 2})
	must(t, err)
	if _, err := OpenForHeal(filesOf(r.disk)); !errors.Is(err, ErrReinstalling) {
		t.Error("a reinstall:", err)
	}
}

func TestCrashHeal(t *testing.T) {
	for i, kind := range healKinds[:3] {
		seed := 230 + uint64(i)
		r, want := healCase(t, kind, seed)
		o := &repair{rig: r, new: r.now, run: healTo(want)}
		o.crashes(t, "heal "+kind, crashdisk.Options{Seed: seed, Tears: 4, Subsets: 8 * soak(), Lone: true}, 80)
	}
}

func TestFaultsHeal(t *testing.T) {
	r, want := healCase(t, "half merged", 240)
	(&repair{rig: r, new: r.now, run: healTo(want)}).faults(t, "heal")
}

// A version was committed over one whose merge has begun: it hides pages that the next rollback
// shows, and that the merge has written already.
func TestHealUnderAFurtherVersion(t *testing.T) {
	r, u := prepared(t, 250, nil)
	m := open(t, r.disk)
	must(t, m.Commit(ctx))
	_, err := m.Merge(ctx, &MergeOptions{Policy: Now, MaxBytes: 2 * mib, sliceBytes: mib})
	must(t, err)
	r.now = u.data
	all := &update{version: 3, runs: []Run{{Length: r.virtual}}, data: noise(int(r.virtual), 250)}
	must(t, all.stage(m))
	must(t, m.Commit(ctx))
	touch(t, r.disk, BaseName)
	for at := int64(0); at < r.virtual; at += 3 * pageSize {
		write(t, r.disk.File(BaseName), payloadOffset(r.virtual)+at, noise(pageSize, uint64(at)))
	}
	h, err := OpenForHeal(filesOf(r.disk))
	must(t, err)
	if l, known := h.Label(); !known || l.Version != 2 {
		t.Errorf("label %+v, known %v", l, known)
	}
	must(t, healTo(u.data)(filesOf(r.disk)))
	shows(t, r.disk, all.data, "healed")
	m = open(t, r.disk)
	must(t, m.Rollback(ctx))
	shows(t, r.disk, u.data, "rolled back")
	must(t, mergeAll(m))
	must(t, m.Relink(ctx))
	shows(t, r.disk, u.data, "merged")
}
