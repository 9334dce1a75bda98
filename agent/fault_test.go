package agent

import (
	"bytes"
	"context"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"troy/chainload"
	"troy/chainload/selfboot"
	"troy/diskwriter/machine"
	"troy/diskwriter/ntfs"
	"troy/diskwriter/pcdisk"
	"troy/server/protocol"
	"troy/vhdx"
)

// faulty is a medium below a mapped file.
type faulty struct {
	ntfs.Storage
	read, write func(off int64, n int) error
}

// ReadAt implements io.ReaderAt.
func (f *faulty) ReadAt(p []byte, off int64) (int, error) {
	if f.read != nil {
		if err := f.read(off, len(p)); err != nil {
			return 0, err
		}
	}
	return f.Storage.ReadAt(p, off)
}

// WriteAt implements io.WriterAt.
func (f *faulty) WriteAt(p []byte, off int64) (int, error) {
	if f.write != nil {
		if err := f.write(off, len(p)); err != nil {
			return 0, err
		}
	}
	return f.Storage.WriteAt(p, off)
}

// under puts a faulty medium below a file of the machine.
func under(s machine.Storage, f *faulty) {
	field := reflect.ValueOf(s.(*ntfs.MappedFile)).Elem().FieldByName("s")
	below := (*ntfs.Storage)(unsafe.Pointer(field.UnsafeAddr()))
	f.Storage = *below
	*below = f
}

// failWrite lets write number at to the boot child fail once, as a disk does that has to remap a
// sector. hit tells whether it came to that.
func (b *bench) failWrite(at int) (a *agent, hit *bool) {
	a, hit = b.agent(), new(bool)
	n := 0
	a.con.out = &onLine{word: "deploy: disk: ", then: func() {
		under(a.disk.target.Files().Boot.Storage, &faulty{write: func(int64, int) error {
			if n++; n == at {
				*hit = true
				return syscall.EIO
			}
			return nil
		}})
	}}
	return a, hit
}

// everyWrite runs the agent once for each write to the boot child, that one failing once, until
// there are no more. check is called when Windows is about to be started.
func everyWrite(t *testing.T, prepare func(*bench), check func(b *bench, f machine.Files, at int)) {
	t.Helper()
	for at := 1; ; at++ {
		b := newBench(t, protocol.MergeLazy)
		prepare(b)
		a, hit := b.failWrite(at)
		b.handed = false
		a.win.toWindows = func(context.Context) (chainload.Method, error) {
			b.handed = true
			f := a.disk.target.Files()
			h, _, err := vhdx.ReadHeaders(f.Boot.Storage)
			b.must(err)
			if !h.LogGUID.IsZero() {
				t.Errorf("write %d failed once: Windows is started with a log in boot.vhdx that was not carried out", at)
			}
			check(b, f, at)
			return chainload.ByBootNext, nil
		}
		code := a.run(t.Context())
		text := a.con.log()
		if !*hit {
			if at < 4 {
				t.Errorf("only %d writes to the boot child\n%s", at-1, text)
			}
			return
		}
		if !b.handed {
			t.Errorf("write %d failed once: exit code %d, Windows is not started\n%s", at, code, text)
		}
		if strings.Contains(text, machine.ErrReopen.Error()) {
			t.Errorf("write %d failed once: the agent goes on with a machine that has to be opened again\n%s", at, text)
		}
	}
}

// One write of a commit fails once: the disk is opened and recovered, and the commit done again,
// before Windows is started.
func TestFailedCommitIsFinished(t *testing.T) {
	everyWrite(t, func(b *bench) { b.stageVersion2(false) }, func(b *bench, f machine.Files, at int) {
		chain, err := pcdisk.Chain(f)
		b.must(err)
		have, want := make([]byte, chain.Size()), b.read(b.v2)
		_, err = chain.ReadAt(have, 0)
		b.must(err)
		if !bytes.Equal(have, want) {
			t.Errorf("write %d failed once: the machine does not hold version 2", at)
		}
	})
}

// So with the rollback of a version that does not come up.
func TestFailedRollbackIsFinished(t *testing.T) {
	everyWrite(t, func(b *bench) { b.startsInVain() }, func(b *bench, f machine.Files, at int) {
		chain, err := pcdisk.Chain(f)
		b.must(err)
		have, want := make([]byte, chain.Size()), b.read(b.v1)
		_, err = chain.ReadAt(have, 0)
		b.must(err)
		if !bytes.Equal(have, want) {
			t.Errorf("write %d failed once: the machine does not hold version 1", at)
		}
	})
}

// withoutLog shows a file as a reader sees it that knows nothing of logs: the headers name none.
type withoutLog struct{ machine.Storage }

// ReadAt implements io.ReaderAt.
func (w withoutLog) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.Storage.ReadAt(p, off)
	for _, at := range []int64{vhdx.Header1Offset, vhdx.Header2Offset} {
		if off <= at && at+4096 <= off+int64(n) {
			if h, e := vhdx.ParseHeader(p[at-off : at-off+4096]); e == nil {
				h.LogGUID = vhdx.GUID{}
				copy(p[at-off:], h.Marshal())
			}
		}
	}
	return n, err
}

// A boot loader that does not replay logs sees one whole version after a commit of which one write
// failed once.
func TestNoMixtureForReaderWithoutLog(t *testing.T) {
	var before []byte
	read := func(b *bench, f machine.Files) []byte {
		c, err := pcdisk.Chain(f)
		b.must(err)
		p := make([]byte, c.Size())
		_, err = c.ReadAt(p, 0)
		b.must(err)
		return p
	}
	everyWrite(t, func(b *bench) {
		b.orders.Version = 1 // nothing to do: Windows runs in version 1
		if code := b.run(); code != ExitDone {
			t.Fatalf("exit code %d", code)
		}
		b.withTarget(func(tg *pcdisk.Target) {
			_, _, err := tg.Open()
			b.must(err)
			b.must(writeSession(tg.Files()))
		})
		b.withTarget(func(tg *pcdisk.Target) { _, _, err := tg.Open(); b.must(err); before = read(b, tg.Files()) })
		b.orders.Version = 2
		b.stageVersion2(false)
	}, func(b *bench, f machine.Files, at int) {
		f.Boot.Storage = withoutLog{f.Boot.Storage}
		if seen := read(b, f); !bytes.Equal(seen, before) && !bytes.Equal(seen, b.read(b.v2)) {
			t.Errorf("write %d failed once: a reader that ignores the log sees neither the old nor the new version", at)
		}
	})
}

func (b *bench) read(path string) []byte {
	b.t.Helper()
	p, err := os.ReadFile(path)
	b.must(err)
	return p
}

// A slot in the chain is damaged, so Windows does not start. Where the room permits it the version
// is written as a whole; where it does not, the machine waits for that.
func TestReinstallOverDamagedSlot(t *testing.T) {
	b := newBench(t, protocol.MergeLazy)
	if code := b.run(); code != ExitDone {
		t.Fatalf("exit code %d", code)
	}
	b.withTarget(func(tg *pcdisk.Target) {
		_, _, err := tg.Open()
		b.must(err)
		for _, f := range []machine.File{tg.Files().LayerA, tg.Files().LayerB} {
			for _, off := range []int64{vhdx.Header1Offset, vhdx.Header2Offset} {
				_, err := f.WriteAt(make([]byte, 4096), off)
				b.must(err)
			}
		}
	})
	b.waits(b.run(), "`reinstall: true`")
	b.orders.Permits.Reinstall = true
	if code := b.run(); code != ExitDone || !b.handed {
		t.Fatalf("exit code %d, handed over %t", code, b.handed)
	}
	b.holds(b.v2)
}

// One sector of the slot that is being merged cannot be read, so the merge fails at every start. A
// permitted reinstall helps.
func TestReinstallOverUnreadableSlot(t *testing.T) {
	b := newBench(t, protocol.MergeLazy)
	if code := b.run(); code != ExitDone {
		t.Fatalf("exit code %d", code)
	}
	b.withTarget(func(tg *pcdisk.Target) {
		m, _, err := tg.Open()
		b.must(err)
		_, err = m.Merge(t.Context(), &machine.MergeOptions{Policy: machine.Now, MaxBytes: 4096})
		b.must(err)
	})
	b.orders.Permits.Reinstall = true
	b.permit(reinstalls)
	a := b.agent()
	a.con.out = &onLine{word: "deploy: disk: ", then: func() {
		f := a.disk.target.Files()
		for _, s := range []machine.Storage{f.LayerA.Storage, f.LayerB.Storage} {
			m := s.(*ntfs.MappedFile)
			start := m.Mapping().Runs[0].LCN * int64(m.Mapping().ClusterSize)
			first, end := start+4<<20, start+m.Size() // behind the tables
			under(s, &faulty{read: func(off int64, n int) error {
				if off+int64(n) > first && off < end && n >= 64<<10 {
					return syscall.EIO
				}
				return nil
			}})
		}
	}}
	if code := a.run(t.Context()); code != ExitDone || !b.handed {
		t.Errorf("exit code %d, handed over %t\n%s", code, b.handed, a.con.log())
	}
	if !strings.Contains(a.con.log(), "input/output error") && !strings.Contains(a.con.log(), "reinstall: "+testImage) {
		t.Errorf("nothing failed, or nothing was written again\n%s", a.con.log())
	}
	b.holds(b.v2)
}

// A reinstall of version 2 was cut off; meanwhile the server wants version 1, for which the admin
// signed nothing. What was begun, and was permitted, is finished: until then the machine starts
// nothing.
func TestReinstallCutOffThenRefusedOrder(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	if code := b.run(); code != ExitDone {
		t.Fatalf("exit code %d", code)
	}
	b.cutReinstall()
	b.orders.Version = 1
	b.waits(b.run(), "no signed permit", "`troy permit downgrade pc-01 --to "+testImage+"@1 --until DATE`")
	b.holds(b.v2)
	if !strings.Contains(b.out.String(), "continuing at 12.6 MB") {
		t.Error("what was written before the cut was written again")
	}
}

// An agent on trial that reported is confirmed, whatever starts next. (Without UEFI that fails with
// a line; that it is tried is what counts.)
func TestTrialIsConfirmed(t *testing.T) {
	for name, cut := range map[string]bool{"Windows starts": false, "reinstall unfinished": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, protocol.MergeNow)
			if cut {
				b.withTarget(func(tg *pcdisk.Target) {
					_, _, err := tg.Open()
					b.must(err)
					_, err = machine.Reinstall(t.Context(), tg.Files(), &machine.ReinstallRequest{Image: testImage, Version: 2, Manifest: b.manifestOf(testImage, 2)})
					b.must(err)
				})
				b.damage(".pack")
			}
			a := b.agent()
			a.own.trial = true
			a.rec.Agent.Trial = &selfboot.Trial{Version: "2", Copy: selfboot.B}
			a.run(t.Context())
			if b.handed == cut {
				t.Errorf("handed over %t", b.handed)
			}
			if !strings.Contains(b.out.String(), "deploy: agent: ") {
				t.Errorf("the agent has reported and is not confirmed\n%s", b.out.String())
			}
		})
	}
}
