package machine

import (
	"errors"
	"io"
	"syscall"
	"testing"

	"troy/internal/testing/crashdisk"
	"troy/vhdx"
)

// twice lists the places of what stands twice: one of them may be lost.
func twice() map[string][]int64 {
	heads := []int64{vhdx.Header1Offset, vhdx.Header2Offset, vhdx.RegionTable1Offset, vhdx.RegionTable2Offset}
	return map[string][]int64{BootName: heads, BaseName: heads, LayerAName: heads,
		JournalName: {slotOffset(RecordMachine, 0), slotOffset(RecordMachine, 1), slotOffset(RecordAgent, 0), slotOffset(RecordAgent, 1)}}
}

// One copy that cannot be read stops nothing, whichever it is, and Recover writes it again.
func TestOneCopyUnreadable(t *testing.T) {
	r, u := prepared(t, 940, nil)
	must(t, open(t, r.disk).Commit(ctx))
	must(t, openJournal(t, r.disk).Put(RecordAgent, noise(300, 1)))
	session{seed: 940, dirty: true, locator: true}.run(t, &rig{disk: r.disk, virtual: r.virtual, sector: r.sector, now: u.data})
	for name, places := range twice() {
		for _, off := range places {
			d := r.disk.Fork()
			d.Spoil(name, off)
			m, err := Open(filesOf(d))
			if err != nil {
				t.Errorf("%s, %d: %v", name, off, err)
				continue
			}
			must(t, m.Recover(ctx))
			if d.Spoiled() != 0 {
				t.Errorf("%s, %d: it was not mended", name, off)
			}
			d.Start()
			must(t, m.Recover(ctx))
			if n := d.Written(); n != 0 {
				t.Errorf("%s, %d: %d bytes written at rest", name, off, n)
			}
			must(t, m.Reset(ctx))
			c := newChecker(d, u.data)
			if seen, err := c.match(d); err != nil || seen == 0 {
				t.Errorf("%s, %d: versions %b, %v", name, off, seen, err)
			}
		}
	}
}

// A slot that no chain needs may be lost as a whole.
func TestUnreadableSlotOfNoUse(t *testing.T) {
	r, u := prepared(t, 941, nil)
	must(t, open(t, r.disk).Commit(ctx))
	r.now = u.data
	for _, off := range []int64{0, 2 * mib, 3 * mib} { // identifier, metadata, BAT
		d := r.disk.Fork()
		d.Spoil(LayerBName, off)
		m, err := Open(filesOf(d))
		if err != nil {
			t.Errorf("%d: %v", off, err)
			continue
		}
		v3 := r.randomUpdate(3, 941, 5)
		must(t, v3.stage(m))
		must(t, m.Commit(ctx))
		if s := m.State(); s.Version != 3 {
			t.Errorf("%d: %+v", off, s)
		}
	}
	r.disk.Spoil(LayerAName, 0)
	if _, err := Open(filesOf(r.disk)); !errors.Is(err, syscall.EIO) || !errors.Is(err, ErrChain) {
		t.Errorf("a slot that is needed: %v", err)
	}
}

// Pages of the boot child that cannot be read are written again by a reset.
func TestResetOfUnreadablePages(t *testing.T) {
	r, u := prepared(t, 942, nil)
	must(t, open(t, r.disk).Commit(ctx))
	l := bootLayout(r.virtual, r.sector)
	for name, off := range map[string]int64{"BAT": l.bat.off, "sector bitmap": l.bitmaps.off} {
		d := r.disk.Fork()
		d.Spoil(BootName, off)
		must(t, open(t, d).Reset(ctx))
		if d.Spoiled() != 0 {
			t.Errorf("%s: it was not written", name)
		}
		shows(t, d, u.data, name)
	}
}

// relinkCut is a machine whose power went between the commit of a relink and its record.
func relinkCut(t *testing.T, seed uint64) (*rig, *Machine) {
	t.Helper()
	r, u := prepared(t, seed, nil)
	m := open(t, r.disk)
	must(t, m.Commit(ctx))
	r.now = u.data
	must(t, mergeAll(m))
	must(t, m.change(ctx, &change{op: opRelink, parent: m.base}))
	return r, m
}

// Neither slot of the record alone brings back a merge that is not finished, a rollback that is
// allowed, or a version that is staged.
func TestRotAfterRelinkCut(t *testing.T) {
	r, _ := relinkCut(t, 930)
	for slot := range 2 {
		d := r.disk.Fork()
		write(t, d.File(JournalName), slotOffset(RecordMachine, slot), noise(pageSize, 5))
		m := open(t, d)
		must(t, m.Recover(ctx))
		wantState(t, m, State{Image: image, Version: 2, BaseVersion: 2, SlotFree: true})
		shows(t, d, r.now, "recovered")
	}
}

// A commit is cut off anywhere; then one slot of the record, or one header of one
// file, rots. The machine opens and shows the old or the new version, and the operation can be run
// again.
func TestCutAndRot(t *testing.T) {
	const seed = 931
	r, u := prepared(t, seed, &session{dirty: true, odd: true, locator: true})
	r.disk.Start()
	o := &operation{rig: r, old: r.now, new: u.data, again: commitAgain}
	must(t, open(t, r.disk).Commit(ctx))
	c := newChecker(r.disk, o.old, o.new)
	n := 0
	for s := range r.disk.States(crashdisk.Options{Seed: seed, Tears: 2, Subsets: 8 * soak(), Lone: true}) {
		for name, places := range twice() {
			off := places[n%len(places)]
			d := s.Disk.Fork()
			write(t, d.File(name), off, noise(pageSize, 7))
			seen, err := c.match(d)
			if err == nil && seen == 0 {
				err = errors.New("neither the old nor the new version")
			}
			if err == nil {
				err = o.complete(c, d, true)
			}
			if err != nil && !tornBefore(s.Disk, name, off) {
				t.Fatalf("%v, %s at %d: %v", s, name, off, err)
			}
		}
		n++
	}
	t.Logf("seed %d: %d states", seed, n)
}

// tornBefore tells whether the other copy was torn by the cut itself: no copy is left then.
func tornBefore(d *crashdisk.Disk, name string, off int64) bool {
	f := d.File(name)
	if name == JournalName {
		return false
	}
	other := map[int64]int64{vhdx.Header1Offset: vhdx.Header2Offset, vhdx.Header2Offset: vhdx.Header1Offset}[off]
	if other == 0 {
		return false
	}
	b := make([]byte, pageSize)
	if _, err := f.ReadAt(b, other); err != nil && err != io.EOF {
		return false
	}
	_, err := vhdx.ParseHeader(b)
	return err != nil
}

// A second Stage takes the slot of a version that was staged; dropped, it leaves nothing to commit.
func TestCommitAfterDroppedStage(t *testing.T) {
	for name, manifest := range map[string]string{"fresh": "", "taken over": "v4"} {
		t.Run(name, func(t *testing.T) {
			r, u2 := prepared(t, 902, nil)
			m := open(t, r.disk)
			must(t, m.Commit(ctx))
			r.now = u2.data
			must(t, r.randomUpdate(3, 902, 10).stage(m))
			u4 := r.smallUpdate(4, 902)
			_, err := m.Stage(ctx, &StageRequest{Image: image, Version: 4, Runs: u4.runs, Manifest: manifest})
			must(t, err)
			if s := m.State(); s.Staged != 0 || !s.SlotFree {
				t.Errorf("%+v", s)
			}
			if err := m.Commit(ctx); !errors.Is(err, ErrNothingStaged) {
				t.Errorf("commit: %v", err)
			}
			shows(t, r.disk, r.now, "as before")
			open(t, r.disk)
		})
	}
}
