package machine

import (
	"context"
	"errors"
	"testing"

	"troy/internal/guid"
	"troy/internal/testing/crashdisk"
	"troy/vhdx"
)

// refused wants Open to fail that way without a byte written.
func refused(t *testing.T, d *crashdisk.Disk, want error, name string) error {
	t.Helper()
	d.Start()
	_, err := Open(filesOf(d))
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
		"boot child of a slot":  func(r *rig) { makeBoot(t, r, guid.New()) },
		"boot child of nothing": func(r *rig) { makeBoot(t, r, guid.GUID{}) },
		"base is a child": func(r *rig) {
			base, err := ReadBase(filesOf(r.disk).Base)
			must(t, err)
			must(t, formatSlot(filesOf(r.disk).Base, base))
		},
		"disks of two sizes": func(r *rig) {
			f := filesOf(r.disk)
			base, err := ReadBase(f.Base)
			must(t, err)
			base.VirtualSize -= bootBlockSize
			f.Boot.Size -= bootBlockSize
			must(t, formatBootChild(f.Boot, base, bootNames{own: guid.New(), linkage: base.DataWriteGUID, parent: BaseName}))
		},
	} {
		r := newRig(t, 8*mib, 512, 8*mib)
		change(r)
		if err := refused(t, r.disk, nil, name); !errors.Is(err, ErrChain) && !errors.Is(err, ErrParentChanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(Files{}); !errors.Is(err, ErrChain) {
		t.Errorf("no files: %v", err)
	}
}

// makeBoot replaces the boot child by one that names a parent.
func makeBoot(t *testing.T, r *rig, parent guid.GUID) {
	t.Helper()
	base, err := ReadBase(filesOf(r.disk).Base)
	must(t, err)
	must(t, formatBootChild(filesOf(r.disk).Boot, base, bootNames{own: guid.New(), linkage: parent, parent: BaseName}))
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

// A cancelled context is noticed before anything is written, and the machine can be used on.
func TestCancelledBefore(t *testing.T) {
	r, u := prepared(t, 83, &session{dirty: true})
	m := open(t, r.disk)
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	r.disk.Start()
	for name, f := range map[string]func(context.Context) error{"commit": m.Commit, "reset": m.Reset, "recover": m.Recover} {
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
	must(t, formatFile(filesOf(r.disk).Boot, l, base.childMetadata(l, base.DataWriteGUID, BaseName), bat, guid.New()))
	m := open(t, r.disk)
	r.disk.Start()
	if err := m.Reset(ctx); !errors.Is(err, ErrChain) || r.disk.Written() != 0 {
		t.Errorf("%v, %d bytes written", err, r.disk.Written())
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
