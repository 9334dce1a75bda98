package diskwriter

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"troy/diskwriter/crashdisk"
	"troy/vhdx"
)

// refused wants OpenMachine to fail that way without a byte written.
func refused(t *testing.T, d *crashdisk.Disk, want error, name string) error {
	t.Helper()
	d.Start()
	_, err := OpenMachine(filesOf(d), nil)
	if err == nil || want != nil && !errors.Is(err, want) || d.Written() != 0 {
		t.Errorf("%s: %v, %d bytes written", name, err, d.Written())
	}
	return err
}

// touch writes one sector into the disk that a file and its parents show, as another program would.
func touch(t *testing.T, d *crashdisk.Disk, leafFirst ...string) {
	t.Helper()
	var files []*vhdx.File
	for i, name := range leafFirst {
		f := d.File(name)
		v, err := vhdx.OpenStorage(f, f.Size(), &vhdx.OpenOptions{Writable: i == 0})
		must(t, err)
		files = append(files, v)
	}
	c, err := vhdx.NewChain(files...)
	must(t, err)
	_, err = c.WriteAt(noise(pageSize, 1), 5*mib)
	must(t, err)
	must(t, c.Close())
}

func TestParentOpenedElsewhere(t *testing.T) {
	r := newRig(t, 8*mib, 512, 8*mib)
	was, err := ReadBase(filesOf(r.disk).Base)
	must(t, err)
	touch(t, r.disk, BaseName)
	is, err := ReadBase(filesOf(r.disk).Base)
	must(t, err)
	err = refused(t, r.disk, ErrParentChanged, "base")
	var changed *ParentChangedError
	if !errors.As(err, &changed) || changed.Want != was.DataWriteGUID || changed.Have != is.DataWriteGUID || changed.Parent != BaseName || changed.Child != BootName {
		t.Errorf("%v: %+v", err, changed)
	}

	r, _ = twoSlots(t, 70, session{})
	slotDisk := r.disk.Fork()
	touch(t, slotDisk, LayerAName, BaseName)
	refused(t, slotDisk, ErrParentChanged, "slot below another")

	openLog(t, r.disk.File(BaseName))
	refused(t, r.disk, ErrParentChanged, "base with a log")
}

func TestFilesThatAreNoMachine(t *testing.T) {
	for name, change := range map[string]func(r *rig){
		"no boot child":         func(r *rig) { write(t, r.disk.File(BootName), 0, noise(mib, 1)) },
		"no base":               func(r *rig) { write(t, r.disk.File(BaseName), 0, noise(mib, 1)) },
		"boot child of a slot":  func(r *rig) { makeBoot(t, r, vhdx.NewGUID()) },
		"boot child of nothing": func(r *rig) { makeBoot(t, r, vhdx.GUID{}) },
		"base is a child": func(r *rig) {
			base, err := ReadBase(filesOf(r.disk).Base)
			must(t, err)
			must(t, FormatSlot(filesOf(r.disk).Base, base))
		},
		"disks of two sizes": func(r *rig) {
			f := filesOf(r.disk)
			base, err := ReadBase(f.Base)
			must(t, err)
			base.VirtualSize -= BootBlockSize
			f.Boot.Size -= BootBlockSize
			must(t, FormatBootChild(f.Boot, base))
		},
	} {
		r := newRig(t, 8*mib, 512, 8*mib)
		change(r)
		if err := refused(t, r.disk, nil, name); !errors.Is(err, ErrChain) && !errors.Is(err, ErrParentChanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenMachine(Files{}, nil); !errors.Is(err, ErrChain) {
		t.Errorf("no files: %v", err)
	}
}

// makeBoot makes the boot child anew, naming a parent.
func makeBoot(t *testing.T, r *rig, parent vhdx.GUID) {
	t.Helper()
	base, err := ReadBase(filesOf(r.disk).Base)
	must(t, err)
	base.DataWriteGUID = parent
	must(t, FormatBootChild(filesOf(r.disk).Boot, base))
}

// loseJournal is what a damaged journal file looks like.
func loseJournal(t *testing.T, d *crashdisk.Disk) {
	t.Helper()
	write(t, d.File(JournalName), 0, noise(JournalSize, 9))
}

// Without the journal the versions have no names, but the disk shows what it showed, and can still be merged and reset.
func TestJournalLost(t *testing.T) {
	r, clean := twoSlots(t, 71, session{dirty: true})
	loseJournal(t, r.disk)
	m := open(t, r.disk)
	if s := m.State(); s.Recorded || s.Version != 0 || s.Image != "" || s.Layers != 2 || s.Staged != 0 || s.SessionWritten {
		t.Errorf("%+v", s)
	}
	if err := m.Rollback(ctx); !errors.Is(err, ErrMergeStarted) {
		t.Errorf("rollback: %v", err)
	}
	if err := m.Commit(ctx); !errors.Is(err, ErrNothingStaged) {
		t.Errorf("commit: %v", err)
	}
	done, err := m.Merge(ctx, &MergeOptions{Policy: Now, SliceBytes: mib, MaxBytes: mib})
	if done || err != nil {
		t.Fatal(done, err)
	}
	loseJournal(t, r.disk) // once more, in the middle of the merge
	m = open(t, r.disk)
	if err := m.Rollback(ctx); !errors.Is(err, ErrMergeStarted) {
		t.Errorf("rollback: %v", err)
	}
	must(t, mergeAll(m))
	must(t, m.Relink(ctx))
	shows(t, r.disk, r.now, "merged without a journal")
	must(t, m.Reset(ctx))
	shows(t, r.disk, clean, "reset without a journal")
	must(t, m.SetVersion(ctx, image, 3))
	if s := open(t, r.disk).State(); !s.Recorded || s.Version != 3 || s.Image != image {
		t.Errorf("%+v", s)
	}
}

// A staged slot of which nobody knows what it holds is not committed.
func TestJournalLostWithAStagedSlot(t *testing.T) {
	r, _ := prepared(t, 72, nil)
	loseJournal(t, r.disk)
	if err := open(t, r.disk).Commit(ctx); !errors.Is(err, ErrNothingStaged) {
		t.Errorf("%v", err)
	}
	shows(t, r.disk, r.now, "as before")
}

// The newest copy of the record rots right after the merge has begun: the one before it must not allow a rollback.
func TestRecordRotsDuringMerge(t *testing.T) {
	r, _ := prepared(t, 82, nil)
	m := open(t, r.disk)
	must(t, m.Commit(ctx))
	full := r.disk.File(BaseName)
	r.disk.SetHook(func(c crashdisk.Call) (int, error) {
		if c.Kind == crashdisk.Write && c.File == full.Name() {
			return 0, syscall.EIO
		}
		return 0, nil
	})
	if err := mergeAll(m); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	r.disk.SetHook(nil)
	for slot := range 2 {
		d := r.disk.Fork()
		write(t, d.File(JournalName), slotOffset(RecordMachine, slot), noise(pageSize, 6))
		m := open(t, d)
		if err := m.Rollback(ctx); !errors.Is(err, ErrMergeStarted) {
			t.Errorf("slot %d: %v", slot, err)
		}
	}
}

// Base is half merged, and the slot that masks it is not in the chain: whoever did this, Troy does not boot it without a word.
func TestHalfMergedBaseWithoutItsSlot(t *testing.T) {
	r, u := prepared(t, 73, nil)
	_ = u
	m := open(t, r.disk)
	must(t, m.Commit(ctx))
	_, err := m.Merge(ctx, &MergeOptions{Policy: Now, SliceBytes: mib, MaxBytes: 1})
	must(t, err)
	makeBoot(t, r, m.base.guid())
	refused(t, r.disk, ErrChain, "half merged")
}

func TestSessionWritten(t *testing.T) {
	r, u := prepared(t, 74, nil)
	m := open(t, r.disk)
	must(t, m.Commit(ctx))
	r.now = u.data
	if open(t, r.disk).State().SessionWritten {
		t.Error("right after the commit")
	}
	session{seed: 74, dirty: true}.run(t, r)
	m = open(t, r.disk)
	if s := m.State(); !s.SessionWritten || !s.LogPending {
		t.Errorf("after Windows: %+v", s)
	}
	must(t, m.Recover(ctx))
	if s := open(t, r.disk).State(); !s.SessionWritten || s.LogPending {
		t.Errorf("after the replay: %+v", s)
	}
	must(t, mergeAll(m))
	must(t, m.Relink(ctx))
	if !open(t, r.disk).State().SessionWritten {
		t.Error("after the relink, which keeps the session")
	}
	must(t, m.Reset(ctx))
	if open(t, r.disk).State().SessionWritten {
		t.Error("after the reset")
	}
}

// A commit that was cut off before it decided does not make the old version look used.
func TestSessionWrittenAfterACutCommit(t *testing.T) {
	r, _ := prepared(t, 75, nil)
	must(t, open(t, r.disk).Reset(ctx))
	r.disk.Start()
	must(t, open(t, r.disk).Commit(ctx))
	for s := range r.disk.States(crashdisk.Options{Tears: 8, Subsets: 10, Lone: true, Seed: 75}) {
		m := open(t, s.Disk)
		must(t, m.Recover(ctx))
		if m.State().SessionWritten {
			t.Fatalf("%v: %+v", s, m.State())
		}
	}
}

func TestMergePolicies(t *testing.T) {
	r, u := prepared(t, 76, nil)
	m := open(t, r.disk)
	if done, err := m.Merge(ctx, nil); !done || err != nil {
		t.Errorf("nothing to merge: %v %v", done, err)
	}
	must(t, m.Relink(ctx))
	must(t, m.Commit(ctx))
	r.disk.Start()
	if _, err := m.Merge(ctx, nil); !errors.Is(err, ErrNotHealthy) {
		t.Errorf("lazy: %v", err)
	}
	if err := m.Relink(ctx); !errors.Is(err, ErrNotMerged) {
		t.Errorf("relink: %v", err)
	}
	if r.disk.Written() != 0 {
		t.Error("something was written")
	}
	done, err := m.Merge(ctx, &MergeOptions{Healthy: true, SliceBytes: 64 << 10, MaxBytes: 64 << 10})
	if done || err != nil {
		t.Fatal(done, err)
	}
	if err := m.Rollback(ctx); !errors.Is(err, ErrMergeStarted) {
		t.Errorf("rollback: %v", err)
	}
	if s := m.State(); !s.Merging || s.Merged || s.MergeOffset == 0 || s.BaseVersion != 0 || s.Version != 2 {
		t.Errorf("%+v", s)
	}
	for n := 0; !done; n++ { // in bites, opened anew each time; health is not asked again
		if n > 200 {
			t.Fatal("no end")
		}
		done, err = open(t, r.disk).Merge(ctx, &MergeOptions{SliceBytes: 64 << 10, MaxBytes: 64 << 10})
		must(t, err)
	}
	m = open(t, r.disk)
	must(t, m.Relink(ctx))
	shows(t, r.disk, u.data, "merged in bites")
	if err := m.Rollback(ctx); !errors.Is(err, ErrNoRollback) {
		t.Errorf("rollback: %v", err)
	}
}

// A version is half merged when the next one is committed on top of it; that one is rolled back, committed again, and both
// are merged.
func TestStageOnAHalfMergedVersion(t *testing.T) {
	r, u := prepared(t, 81, nil)
	m := open(t, r.disk)
	must(t, m.Commit(ctx))
	some := &MergeOptions{Policy: Now, SliceBytes: 256 << 10, MaxBytes: 256 << 10}
	_, err := m.Merge(ctx, some)
	must(t, err)
	r.now = u.data
	v3 := r.randomUpdate(3, 81, 10)
	must(t, v3.stage(m))
	must(t, m.Commit(ctx))
	shows(t, r.disk, v3.data, "on top of a half merged version")
	must(t, open(t, r.disk).Rollback(ctx))
	shows(t, r.disk, u.data, "rolled back to the half merged version")
	m = open(t, r.disk)
	if s := m.State(); !s.Merging || s.Version != 2 || s.BaseVersion != 0 {
		t.Errorf("%+v", s)
	}
	must(t, v3.stage(m))
	must(t, m.Commit(ctx))
	_, err = m.Merge(ctx, some)
	must(t, err)
	shows(t, r.disk, v3.data, "both half merged")
	m = open(t, r.disk)
	if err := m.Rollback(ctx); !errors.Is(err, ErrMergeStarted) {
		t.Errorf("rollback: %v", err)
	}
	must(t, mergeAll(m))
	must(t, m.Relink(ctx))
	shows(t, r.disk, v3.data, "both merged")
	if s := m.State(); s.Layers != 0 || s.BaseVersion != 3 {
		t.Errorf("%+v", s)
	}
}

// cancelling stops a merge after some bytes.
type cancelling struct {
	cancel context.CancelFunc
	left   int64
}

func (c *cancelling) Add(n int64) {
	if c.left -= n; c.left < 0 {
		c.cancel()
	}
}

func TestMergeCancelled(t *testing.T) {
	r, u := prepared(t, 77, nil)
	m := open(t, r.disk)
	must(t, m.Commit(ctx))
	stop, cancel := context.WithCancel(ctx)
	_, err := m.Merge(stop, &MergeOptions{Policy: Now, Depth: 1, Progress: &cancelling{cancel, 200 << 10}})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	shows(t, r.disk, u.data, "cancelled")
	must(t, mergeAll(m))
	must(t, m.Relink(ctx))
	shows(t, r.disk, u.data, "gone on")
}

// A cancelled context is noticed before anything is written, and the machine can be used on.
func TestCancelledBefore(t *testing.T) {
	r, u := prepared(t, 83, &session{dirty: true})
	m := open(t, r.disk)
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	r.disk.Start()
	for name, f := range map[string]func(context.Context) error{"commit": m.Commit, "reset": m.Reset, "recover": m.Recover,
		"set version": func(ctx context.Context) error { return m.SetVersion(ctx, "x", 9) }} {
		if err := f(stopped); !errors.Is(err, context.Canceled) || r.disk.Written() != 0 {
			t.Errorf("%s: %v, %d bytes written", name, err, r.disk.Written())
		}
	}
	must(t, m.Commit(ctx))
	shows(t, r.disk, u.data, "committed")
}

// Whatever Rollback, Reset and the rest do, a machine at rest is left alone by Recover and Relink.
func TestRecoverAtRest(t *testing.T) {
	r, _ := prepared(t, 78, &session{})
	m := open(t, r.disk)
	r.disk.Start()
	must(t, m.Recover(ctx))
	must(t, m.Relink(ctx))
	if n := r.disk.Written(); n != 0 {
		t.Errorf("%d bytes written", n)
	}
}

// A boot child that was not made here is not rewritten.
func TestForeignBootChild(t *testing.T) {
	r := newRig(t, 8*mib, 512, 8*mib)
	base, err := ReadBase(filesOf(r.disk).Base)
	must(t, err)
	l, err := slotLayout(r.virtual, 512, SlotSize(r.virtual, r.virtual))
	must(t, err)
	bat := l.marshalBAT(func(int64) vhdx.BATEntry { return 0 }, nil)
	must(t, formatFile(filesOf(r.disk).Boot, l, base.childMetadata(l, base.DataWriteGUID, BaseName), bat, vhdx.NewGUID()))
	m := open(t, r.disk)
	r.disk.Start()
	if err := m.Reset(ctx); !errors.Is(err, ErrChain) || r.disk.Written() != 0 {
		t.Errorf("%v, %d bytes written", err, r.disk.Written())
	}
}

// A parent that Troy did not make: fixed with other blocks is adopted, dynamic is refused before a byte is written.
func TestAdoptedParents(t *testing.T) {
	for _, o := range []vhdx.CreateOptions{
		{Size: 8 * mib, Kind: vhdx.Fixed, BlockSize: mib},
		{Size: 8 * mib, Kind: vhdx.Fixed, BlockSize: 32 * mib},
		{Size: 8 * mib, Kind: vhdx.Dynamic, BlockSize: 2 * mib},
	} {
		r := newRig(t, 8*mib, 512, 8*mib)
		path := filepath.Join(t.TempDir(), BaseName)
		v, err := vhdx.Create(path, &o)
		must(t, err)
		must(t, v.Close())
		content, err := os.ReadFile(path)
		must(t, err)
		write(t, r.disk.Create(BaseName, int64(len(content)), nil), 0, content)
		base, err := ReadBase(filesOf(r.disk).Base)
		must(t, err)
		must(t, FormatChildren(filesOf(r.disk), base, image, 1))
		r.now = make([]byte, r.virtual)
		m := open(t, r.disk)
		u := r.randomUpdate(2, 79, 6)
		must(t, u.stage(m))
		must(t, m.Commit(ctx))
		r.disk.Start()
		err = mergeAll(m)
		if o.Kind == vhdx.Dynamic {
			if !errors.Is(err, ErrChain) || r.disk.Written() != 0 {
				t.Errorf("dynamic: %v, %d bytes written", err, r.disk.Written())
			}
			continue
		}
		must(t, err)
		must(t, m.Relink(ctx))
		if got, err := view(r.disk, r.virtual); err != nil || !bytes.Equal(got, u.data) {
			t.Errorf("blocks of %d: %v", o.BlockSize, err)
		}
	}
}

// Content is the version without the session.
func TestContent(t *testing.T) {
	r, top := twoSlots(t, 80, session{dirty: true})
	c, err := open(t, r.disk).Content()
	must(t, err)
	got := make([]byte, r.virtual)
	_, err = c.ReadAt(got, 0)
	must(t, err)
	diff(t, got, top, "content")
}
