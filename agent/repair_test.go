package agent

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"troy/agent/decide"
	"troy/chainload"
	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/image/publish"
	"troy/image/trust/sign"
	"troy/internal/guid"
	"troy/server/protocol"
	"troy/vhdx"
)

// changeParent gives the parent another DataWriteGuid, as opening it read-write in Windows does,
// and damages it at some places.
func (b *bench) changeParent(places int) {
	b.t.Helper()
	seed := rand.Uint64()
	b.t.Logf("seed of the damage %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	b.withTarget(func(tg *pcdisk.Target) {
		files, err := tg.MapFiles()
		b.must(err)
		h, slot, err := vhdx.ReadHeaders(files.Base.Storage)
		b.must(err)
		h.DataWriteGUID = guid.New()
		h.SequenceNumber++
		_, err = files.Base.WriteAt(h.Marshal(), []int64{vhdx.Header2Offset, vhdx.Header1Offset}[slot])
		b.must(err)
		for range places {
			page := make([]byte, 4096)
			for i := range page {
				page[i] = byte(r.Uint32())
			}
			_, err = files.Base.WriteAt(page, machine.BaseSize(testVirtual)-testVirtual+int64(r.IntN(testVirtual>>12))<<12)
			b.must(err)
		}
	})
}

// Somebody mounted base.vhdx read-write: what he changed is repaired, and then the order is carried
// out.
func TestParentChanged(t *testing.T) {
	for name, places := range map[string]int{"untouched content": 0, "changed content": 5} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, protocol.MergeNow)
			b.changeParent(places)
			if code := b.run(); code != ExitDone || !b.handed {
				t.Fatalf("exit code %d, handed over %t", code, b.handed)
			}
			b.holds(b.v2)
		})
	}
}

func TestParentChangedAndNoServer(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.changeParent(1)
	b.url = "https://127.0.0.1:1" // reserved: nothing listens there
	before := b.digest(pcdisk.Journal, pcdisk.Mailbox)
	b.stopped(b.run(), ExitUntouched, "DataWriteGuid", "base.vhdx", "connection refused")
	if b.digest(pcdisk.Journal, pcdisk.Mailbox) != before {
		t.Error("the disk was written to")
	}
}

// A store that is damaged where the repair needs it: nothing is given back its GUID that is not
// right.
func TestHealFromDamagedStore(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.changeParent(1000) // so many that each region needs its repair
	b.damageVersion(1, ".pack")
	b.stopped(b.run(), ExitUnfinished, "pack")
	b.withTarget(func(tg *pcdisk.Target) {
		if _, _, err := tg.Open(); !errors.Is(err, machine.ErrParentChanged) {
			t.Errorf("after a repair that failed: %v", err)
		}
	})
}

// The machine holds something of which the journal knows nothing: an explicit order rewrites it.
func TestReinstall(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.forgetVersion()
	b.waits(b.run(), "not recorded", "`reinstall: true`")
	b.orders.Permits.Reinstall = true
	b.reinstallsForNone()
	b.permit(reinstalls)
	if code := b.run(); code != ExitDone || !b.handed {
		t.Fatalf("exit code %d, handed over %t", code, b.handed)
	}
	b.holds(b.v2)
	if code := b.run(); code != ExitDone || strings.Contains(b.out.String(), "fetch") {
		t.Fatalf("second run: exit code %d", code)
	}
}

// Another image in between is no way back to an older version without the admin's signature.
func TestReinstallIsNoWayBack(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	store, err := image.OpenStore(b.store)
	b.must(err)
	base, err := vhdx.OpenChain(filepath.Join(b.dir, "base.vhdx"), nil)
	b.must(err)
	defer base.Close()
	const other = "other"
	_, err = publish.Import(t.Context(), store, other, publish.ChainDisk(base), nil)
	b.must(err)
	repo, err := sign.Open(b.store, nil)
	b.must(err)
	_, err = repo.SignAll(t.Context(), store, time.Now())
	b.must(err)
	if code := b.run(); code != ExitDone {
		t.Fatalf("exit code %d", code)
	}
	b.orders.Permits.Reinstall = true
	b.permit(reinstalls)
	b.orders.Image, b.orders.Version = other, 1
	if code := b.run(); code != ExitDone {
		t.Fatalf("to the other image: exit code %d", code)
	}
	b.holds(b.v1)
	b.orders.Image = testImage
	b.needsOrder()
	b.permit(downgrade(1))
	if code := b.run(); code != ExitDone {
		t.Fatalf("with the admin's permit: exit code %d", code)
	}
	b.holds(b.v1)
}

// An order permits one version: from there the machine goes to none that is older than the newest
// that it ever had.
func TestOrderPermitsOneVersion(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	v3 := b.addVersion(3)
	b.orders.Version = 3
	if code := b.run(); code != ExitDone {
		t.Fatalf("exit code %d", code)
	}
	b.holds(v3)
	b.permit(downgrade(1))
	b.orders.Permits.Reinstall, b.orders.Version = true, 1
	if code := b.run(); code != ExitDone {
		t.Fatalf("with the admin's permit: exit code %d", code)
	}
	b.holds(b.v1)
	b.orders.Permits.Reinstall, b.orders.Version = false, 2
	b.needsOrder()
	b.orders.Permits.Reinstall = true
	b.needsOrder()
}

// A version that does not come up, rewritten by an order, is started as often as a new one.
func TestReinstallCountsAnew(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.startsInVain()
	b.permit(reinstalls)
	b.forgetVersion()
	b.orders.Permits.Reinstall = true
	b.startsInVain()
}

// needsOrder fails unless what the server says is refused for lack of a signature, and the disk is
// left alone.
func (b *bench) needsOrder() {
	b.t.Helper()
	before := b.digest(pcdisk.Journal, pcdisk.Mailbox)
	b.waits(b.run(), "no signed permit", "`troy permit downgrade")
	if b.digest(pcdisk.Journal, pcdisk.Mailbox) != before {
		b.t.Error("the disk was written to")
	}
}

// forgetVersion empties the machine's record in the journal.
func (b *bench) forgetVersion() {
	b.t.Helper()
	b.withTarget(func(tg *pcdisk.Target) {
		files, err := tg.MapFiles()
		b.must(err)
		j, err := machine.OpenJournal(files.Journal)
		b.must(err)
		b.must(j.Put(machine.RecordMachine, []byte("{}")))
	})
}

// A reinstall that is cut off has no Windows to start: the machine comes back to the agent, and the
// next start goes on.
func TestReinstallCutOff(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.forgetVersion()
	b.orders.Permits.Reinstall = true
	b.cutReinstall()
	url := b.url
	b.url = "https://127.0.0.1:1"
	a := b.agent()
	a.win.toWindows = func(context.Context) (chainload.Method, error) {
		t.Error("Windows was to be started from a disk without one")
		return "", nil
	}
	a.win.reset = func() error {
		if len(b.slept) != 1 || b.slept[0] != decide.AgainAfter {
			t.Errorf("restarted after waiting %v", b.slept)
		}
		return nil
	}
	if code := a.run(t.Context()); code == ExitDone || !strings.Contains(b.out.String(), "no Windows on this disk") {
		t.Errorf("exit code %d\n%s", code, b.out.String())
	}
	b.url = url
	if code := b.run(); code != ExitDone || !b.handed || !strings.Contains(b.out.String(), "continuing at 12.6 MB") {
		t.Fatalf("exit code %d, handed over %t", code, b.handed)
	}
	b.holds(b.v2)
}

// Going back needs the admin's signature; with it, a version that is still on the disk comes back
// without fetching.
func TestRollback(t *testing.T) {
	b := newBench(t, protocol.MergeLazy)
	if code := b.run(); code != ExitDone {
		t.Fatalf("exit code %d", code)
	}
	b.orders.Version = 1
	b.needsOrder()
	b.permit(downgrade(1))
	if code := b.run(); code != ExitDone || strings.Contains(b.out.String(), "fetch") {
		t.Fatalf("exit code %d", code)
	}
	b.holds(b.v1)
}

// A session that Windows wrote is thrown away when the order says so.
func TestReset(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.orders.Rules.Reset = protocol.ResetBoot
	if code := b.run(); code != ExitDone {
		t.Fatalf("exit code %d", code)
	}
	b.withTarget(func(tg *pcdisk.Target) {
		_, _, err := tg.Open()
		b.must(err)
		b.must(writeSession(tg.Files()))
	})
	if code := b.run(); code != ExitDone || !strings.Contains(b.out.String(), "is reset to version 2") {
		t.Fatalf("exit code %d", code)
	}
	b.holds(b.v2)
}

// startsInVain starts the machine as often as it is allowed to without a sign of health from
// Windows.
func (b *bench) startsInVain() {
	b.t.Helper()
	for range chainload.MaxStarts {
		if code := b.run(); code != ExitDone || !b.handed {
			b.t.Fatalf("exit code %d, handed over %t", code, b.handed)
		}
		b.holds(b.v2)
	}
}

// Windows that never comes up: after three starts the version below comes back, is not given up for
// the bad one again, and an order to try again is obeyed.
func TestBootLoop(t *testing.T) {
	b := newBench(t, protocol.MergeLazy)
	b.startsInVain()
	b.stopped(b.run(), ExitUntouched, "without a sign of health")
	b.holds(b.v1)
	b.stopped(b.run(), ExitUntouched, "without a sign of health")
	b.orders.Permits.Retry = true
	if code := b.run(); code != ExitDone {
		t.Fatalf("exit code %d", code)
	}
	b.holds(b.v2)
}

// Windows that never comes up, and nothing to go back to: it is started all the same, after a pause
// that doubles.
func TestBootLoopWithoutWayBack(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.startsInVain()
	for range 6 {
		if code := b.run(); code != ExitDone || !b.handed || !strings.Contains(b.out.String(), "no version to go back to") {
			t.Fatalf("exit code %d, handed over %t", code, b.handed)
		}
	}
	want := []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 2 * time.Minute, 2 * time.Minute}
	if !slices.Equal(b.slept, want) {
		t.Errorf("pauses %v, want %v", b.slept, want)
	}
}

// A session that was closed in order is a sign of health: the starts are counted from there.
func TestHealthySession(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	if code := b.run(); code != ExitDone {
		t.Fatalf("exit code %d", code)
	}
	b.withTarget(func(tg *pcdisk.Target) {
		_, _, err := tg.Open()
		b.must(err)
		b.must(writeSession(tg.Files()))
	})
	if code := b.run(); code != ExitDone || !strings.Contains(b.out.String(), "the last hand-off worked") {
		t.Fatalf("exit code %d", code)
	}
}

// writeSession writes to the virtual disk as Windows does.
func writeSession(f machine.Files) error {
	boot, err := vhdx.OpenStorage(f.Boot.Storage, f.Boot.Size, &vhdx.OpenOptions{Writable: true})
	if err != nil {
		return err
	}
	below, err := pcdisk.Chain(f)
	if err != nil {
		return err
	}
	chain, err := vhdx.NewChain(append([]*vhdx.File{boot}, below.Files()[1:]...)...)
	if err != nil {
		return err
	}
	if _, err := chain.WriteAt(bytes.Repeat([]byte("a document of a student "), 4096/24+1)[:4096], 1<<20); err != nil {
		return err
	}
	return chain.Close()
}

// cutReinstall begins a reinstall of version 2 and leaves it when half of the disk is written.
func (b *bench) cutReinstall() {
	b.t.Helper()
	b.withTarget(func(tg *pcdisk.Target) {
		_, _, err := tg.Open()
		b.must(err)
		in, err := machine.Reinstall(b.t.Context(), tg.Files(), &machine.ReinstallRequest{Image: testImage, Version: 2, Manifest: b.manifestOf(testImage, 2)})
		b.must(err)
		store, err := image.OpenStore(b.store)
		b.must(err)
		plan, err := image.LoadPlan(b.t.Context(), store, testImage, 0, 2)
		b.must(err)
		const half = testVirtual / 2
		_, err = plan.Fetch(b.t.Context(), store, in, &image.FetchOptions{Have: func(off, length int64) bool { return off >= half }})
		b.must(err)
		b.must(in.Advance(b.t.Context(), half))
	})
}
