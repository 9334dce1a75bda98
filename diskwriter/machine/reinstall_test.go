package machine

import (
	"bytes"
	"errors"
	"testing"

	"troy/internal/guid"
	"troy/internal/testing/crashdisk"
)

// reinstallTo writes a version in pieces, the upper half of each before the lower, unless the
// machine has it already.
func reinstallTo(version int, want []byte) func(Files) error {
	return func(f Files) error {
		m, err := Open(f)
		if err == nil && m.State().Version == version {
			return nil
		} else if err != nil && !errors.Is(err, ErrChain) && !errors.Is(err, ErrParentChanged) {
			return err
		}
		in, err := Reinstall(ctx, f, &ReinstallRequest{Image: image, Version: version})
		if err != nil {
			return err
		}
		if err := writeHalves(in, want, int64(len(want))); err != nil {
			return err
		}
		return in.Finish(ctx)
	}
}

// writeHalves goes on to a place.
func writeHalves(in *Reinstaller, want []byte, to int64) error {
	const piece = mib
	for at := in.Offset(); at < to; at += piece {
		for _, off := range []int64{at + piece/2, at} {
			if _, err := in.WriteAt(want[off:off+piece/2], off); err != nil {
				return err
			}
		}
		if err := in.Advance(ctx, at+piece); err != nil {
			return err
		}
	}
	return nil
}

// reinstallCase is a machine with a slot in the chain, one that is staged, a session, and a version
// that has nothing in common.
func reinstallCase(t *testing.T, virtual int64, seed uint64) (r *rig, want []byte) {
	t.Helper()
	r = newRig(t, virtual, 512, virtual)
	u := r.randomUpdate(2, seed, 4)
	must(t, u.stage(open(t, r.disk)))
	must(t, open(t, r.disk).Commit(ctx))
	r.now = u.data
	must(t, r.randomUpdate(3, seed, 4).stage(open(t, r.disk)))
	(&session{seed: seed, dirty: true, locator: true}).run(t, r)
	want = noise(int(virtual), seed)
	clear(want[mib : mib+300<<10])
	return r, want
}

func TestReinstall(t *testing.T) {
	r, want := reinstallCase(t, 8*mib, 300)
	order := &ReinstallRequest{Image: "win11-new", Version: 9}
	in, err := Reinstall(ctx, filesOf(r.disk), order)
	must(t, err)
	if _, err := vhdxChain(r.disk); err == nil {
		t.Error("the chain opens")
	}
	m := open(t, r.disk)
	wantState(t, m, State{Reinstalling: true, ReinstallImage: "win11-new", ReinstallVersion: 9})
	for name, err := range map[string]error{
		"commit": m.Commit(ctx), "reset": m.Reset(ctx), "rollback": m.Rollback(ctx), "relink": m.Relink(ctx), "recover": m.Recover(ctx),
		"stage": r.randomUpdate(4, 1, 1).stage(m), "merge": mergeAll(m),
	} {
		if !errors.Is(err, ErrReinstalling) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := m.Content(); !errors.Is(err, ErrReinstalling) {
		t.Error("content:", err)
	}
	must(t, writeHalves(in, want, 3*mib))
	if err := in.Finish(ctx); !errors.Is(err, ErrIncomplete) {
		t.Error("finished too early:", err)
	}
	if err := in.Advance(ctx, 9*mib); !errors.Is(err, ErrRuns) {
		t.Error("progress past the end:", err)
	}
	wantState(t, open(t, r.disk), State{Reinstalling: true, ReinstallImage: "win11-new", ReinstallVersion: 9})

	in, err = Reinstall(ctx, filesOf(r.disk), order)
	must(t, err)
	if in.Offset() != 3*mib || in.Size() != 8*mib {
		t.Errorf("goes on at %d of %d", in.Offset(), in.Size())
	}
	must(t, writeHalves(in, want, 8*mib))
	got, err := readDiskOf(in, in.Size())
	must(t, err)
	diff(t, got, want, "read back before the end")
	must(t, in.Finish(ctx))
	shows(t, r.disk, want, "reinstalled")
	m = open(t, r.disk)
	wantState(t, m, State{Image: "win11-new", Version: 9, BaseVersion: 9, SlotFree: true})
	if _, err := in.WriteAt(make([]byte, pageSize), 0); !errors.Is(err, ErrReopen) {
		t.Error("used after Finish:", err)
	}
	r.now = want
	u := r.randomUpdate(10, 300, 5)
	must(t, u.stage(m))
	must(t, m.Commit(ctx))
	shows(t, r.disk, u.data, "an update on top")
}

// What was begun counts only for the same version on a parent that no other program wrote to, and
// only when the journal knows it.
func TestReinstallStartsOver(t *testing.T) {
	for name, change := range map[string]func(r *rig) int{
		"another version":  func(*rig) int { return 10 },
		"journal lost":     func(r *rig) int { loseJournal(t, r.disk); return 9 },
		"opened elsewhere": func(r *rig) int { touch(t, r.disk, BaseName); return 9 },
		"a log in base":    func(r *rig) int { openLog(t, r.disk.File(BaseName)); return 9 },
		// The order is recorded as done when the boot child is poisoned again.
		"finished once": func(r *rig) int {
			p, err := open(t, r.disk).journal.Get(RecordMachine)
			must(t, err)
			must(t, reinstallTo(9, noise(8*mib, 1))(filesOf(r.disk)))
			must(t, open(t, r.disk).journal.Put(RecordMachine, p))
			return 9
		},
	} {
		r, want := reinstallCase(t, 8*mib, 310)
		in, err := Reinstall(ctx, filesOf(r.disk), &ReinstallRequest{Image: image, Version: 9})
		must(t, err)
		must(t, writeHalves(in, noise(8*mib, 1), 4*mib))
		version := change(r)
		if s := open(t, r.disk).State(); !s.Reinstalling && name != "finished once" || s.Version != 0 {
			t.Errorf("%s: %+v", name, s)
		}
		in, err = Reinstall(ctx, filesOf(r.disk), &ReinstallRequest{Image: image, Version: version})
		must(t, err)
		if in.Offset() != 0 {
			t.Errorf("%s: goes on at %d", name, in.Offset())
		}
		must(t, reinstallTo(version, want)(filesOf(r.disk)))
		shows(t, r.disk, want, name)
	}
}

// A reinstall helps where nothing else does, and refuses what it cannot write to.
func TestReinstallOfBrokenMachines(t *testing.T) {
	for name, change := range map[string]func(r *rig){
		"parent changed":        func(r *rig) { touch(t, r.disk, BaseName) },
		"slot changed":          func(r *rig) { touch(t, r.disk, LayerAName, BaseName) },
		"slots destroyed":       func(r *rig) { write(t, r.disk.File(LayerAName), 0, noise(mib, 3)) },
		"boot child of nothing": func(r *rig) { makeBoot(t, r, guid.GUID{}) },
		"no boot child":         func(r *rig) { write(t, r.disk.File(BootName), 0, noise(mib, 3)) },
		"no parent":             func(r *rig) { write(t, r.disk.File(BaseName), 0, noise(mib, 3)) },
	} {
		r, want := reinstallCase(t, 8*mib, 320)
		change(r)
		refused(t, r.disk, nil, name)
		must(t, reinstallTo(9, want)(filesOf(r.disk)))
		shows(t, r.disk, want, name)
	}
}

// What is refused is refused before a byte is written: a disk of another size, and files of which
// nothing says what they were made for. With the size in the order these are made again, too.
func TestReinstallRefuses(t *testing.T) {
	whole, want := reinstallCase(t, 8*mib, 321)
	broken, _ := reinstallCase(t, 8*mib, 321)
	write(t, broken.disk.File(BootName), 0, noise(mib, 3))
	write(t, broken.disk.File(BaseName), 0, noise(mib, 3))
	for name, c := range map[string]struct {
		r       *rig
		virtual int64
		sector  uint32
		want    error
	}{
		"larger":            {whole, 10 * mib, 512, ErrOtherSize},
		"other sectors":     {whole, 8 * mib, 4096, ErrOtherSize},
		"size not known":    {broken, 0, 0, ErrChain},
		"boot child larger": {broken, 6 * mib, 512, ErrChain},
		"parent larger":     {broken, 64 * mib, 512, ErrChain},
	} {
		t.Run(name, func(t *testing.T) {
			c.r.disk.Start()
			order := &ReinstallRequest{Image: image, Version: 9, VirtualSize: c.virtual, LogicalSectorSize: c.sector}
			if err := CheckReinstall(filesOf(c.r.disk), order); !errors.Is(err, c.want) {
				t.Errorf("CheckReinstall: %v, want %v", err, c.want)
			}
			if _, err := Reinstall(ctx, filesOf(c.r.disk), order); !errors.Is(err, c.want) || c.r.disk.Written() != 0 {
				t.Errorf("%v, want %v; %d bytes written", err, c.want, c.r.disk.Written())
			}
		})
	}
	in, err := Reinstall(ctx, filesOf(broken.disk), &ReinstallRequest{Image: image, Version: 9, VirtualSize: 8 * mib, LogicalSectorSize: 512})
	must(t, err)
	must(t, writeHalves(in, want, 8*mib))
	must(t, in.Finish(ctx))
	shows(t, broken.disk, want, "parent and boot child made again")
}

func TestCrashReinstall(t *testing.T) {
	const seed = 330
	r, want := reinstallCase(t, 4*mib, seed)
	o := &repair{rig: r, old: r.now, new: want, run: reinstallTo(9, want)}
	o.crashes(t, "reinstall", crashdisk.Options{Seed: seed, Tears: 2, Subsets: 3 * soak(), Lone: true}, 230)
	if bytes.Equal(o.old, o.new) {
		t.Error("nothing was changed")
	}
}

func TestFaultsReinstall(t *testing.T) {
	const seed = 340
	r, want := reinstallCase(t, 4*mib, seed)
	(&repair{rig: r, old: r.now, new: want, run: reinstallTo(9, want)}).faults(t, "reinstall")
}

// The harness has to find a parent that is not flushed before the boot child names it, and a boot
// child that is not poisoned first.
func TestHarnessFindsBrokenReinstalls(t *testing.T) {
	for name, wrap := range map[string]func(*Files){
		"parent not flushed":     func(f *Files) { lying(&f.Base, always) },
		"boot child not flushed": func(f *Files) { lying(&f.Boot, always) },
	} {
		const seed = 350
		r, want := reinstallCase(t, 4*mib, seed)
		o := &repair{rig: r, old: r.now, new: want, run: reinstallTo(9, want), wrap: func(f Files) Files { wrap(&f); return f }}
		_, problems := o.crashEverywhere(t, crashdisk.Options{Seed: seed, Subsets: 3})
		t.Logf("%s: %d states found bad", name, len(problems))
		if len(problems) == 0 {
			t.Errorf("%s: not found", name)
		}
	}
}
