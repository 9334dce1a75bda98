package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/internal/testing/fixture"
	"troy/server/protocol"
)

// newNoiseBench is a machine without slots in use that holds version 1, a disk full of noise, and its
// content.
func newNoiseBench(t *testing.T) (b *bench, v1 []byte) {
	b, v1 = newMovedBench(t)
	b.orders.Version, b.orders.Rules.Merge = 1, protocol.MergeLazy
	return b, v1
}

// last is what the newest report says of an order to verify.
func (b *bench) last() *protocol.Verified {
	b.t.Helper()
	v := b.reports[len(b.reports)-1].Verified
	if v == nil {
		b.t.Fatal("the report says nothing of the comparison")
	}
	return v
}

// base is the content of base.vhdx, structures and all.
func (b *bench) base() (all []byte) {
	b.t.Helper()
	b.withTarget(func(tg *pcdisk.Target) {
		f, err := tg.MapFiles()
		b.must(err)
		all = make([]byte, f.Base.Size)
		_, err = f.Base.ReadAt(all, 0)
		b.must(err)
	})
	return all
}

// student leaves a session on top of the version.
func (b *bench) student() {
	b.t.Helper()
	b.withTarget(func(tg *pcdisk.Target) {
		_, _, err := tg.Open()
		b.must(err)
		b.must(writeSession(tg.Files()))
	})
}

func (b *bench) done() {
	b.t.Helper()
	if code := b.run(); code != ExitDone || !b.handed {
		b.t.Fatalf("exit code %d, handed over %t", code, b.handed)
	}
}

// A store is restored from a backup that lacks the newest version, and the work is published again:
// the same image, keys and numbers, another content. A machine that has the lost version 2 has
// neither the version 2 of the store, nor what its version 3 is built on.
func TestStoreRestored(t *testing.T) {
	b, v1 := newMovedBench(t)
	backup := filepath.Join(b.dir, "backup")
	b.must(os.CopyFS(backup, os.DirFS(b.store)))
	lost := bytes.Clone(v1)
	copy(lost[15<<20:], bytes.Repeat([]byte("lost"), 1<<18))
	b.addTo(b.store, 3, lost)
	b.orders.Version = 3
	b.done()

	again := bytes.Clone(v1)
	copy(again[18<<20:], bytes.Repeat([]byte("again"), 1<<17))
	want := map[int]string{3: b.addTo(backup, 3, again)}
	copy(again[21<<20:], bytes.Repeat([]byte("next"), 1<<17))
	want[4] = b.addTo(backup, 4, again)
	b.url = b.serve(backup)

	before, session := b.digest(pcdisk.Journal, pcdisk.Mailbox), b.base()
	for _, b.orders.Version = range []int{3, 4} {
		b.waits(b.run(), "another "+testImage+" version 3", "reinstall: true", "troy verify --host pc-01 --adopt")
		if b.digest(pcdisk.Journal, pcdisk.Mailbox) != before {
			t.Error("the disk was written to")
		}
		if r := b.reports[len(b.reports)-1]; r.Outcome != protocol.OutcomeWaiting || r.Manifest != b.checkIn.Manifest || r.Manifest == b.manifestOf(testImage, 3) {
			t.Errorf("%+v", r)
		}
	}

	first, err := os.ReadFile(b.disk)
	b.must(err)
	for version, raw := range want { // in one PC and in a second one
		b.must(os.WriteFile(b.disk, first, 0o644))
		b.student()
		b.orders.Version, b.orders.Verify = version, &protocol.Verify{ID: "7", Adopt: true}
		b.orders.Rules.Merge = protocol.MergeLazy
		b.done()
		b.holds(raw)
		if v := b.last(); !v.Adopted || v.ID != "7" || v.With.Version != version || v.Differ == 0 || v.Where == "" {
			t.Errorf("%+v", v)
		}
		if !strings.Contains(b.out.String(), "what Windows wrote since the last reset is discarded") {
			t.Error("it does not say that the session is lost")
		}
		if !bytes.Equal(b.base(), session) {
			t.Error("base.vhdx was written to")
		}
		b.orders.Verify = nil
		b.done()
		if b.checkIn.Manifest != b.manifestOf(testImage, version) || !strings.Contains(b.out.String(), "nothing to do") {
			t.Errorf("after it the machine says that it holds %s", b.checkIn.Manifest)
		}
	}
}

// An order to verify reads all that the version consists of and writes nothing; only one to adopt
// does, and then not into the parent.
func TestVerify(t *testing.T) {
	b, v1 := newNoiseBench(t)
	b.student()
	before := b.digest(pcdisk.Journal, pcdisk.Mailbox)
	b.orders.Verify = &protocol.Verify{ID: "1"}
	b.done()
	if v := b.last(); v.Differ != 0 || v.Adopted || v.With.Version != 1 || b.digest(pcdisk.Journal, pcdisk.Mailbox) != before {
		t.Errorf("equal, with a session on top: %+v", v)
	}
	b.wrongPages(v1, 3<<20, 20<<20, 21<<20)
	before, base := b.digest(pcdisk.Journal, pcdisk.Mailbox), b.base()
	b.done()
	if v := b.last(); v.Differ != 3<<20 || v.Where != "at 3 MiB (1 MiB), 20 MiB (2 MiB)" || v.Adopted || b.digest(pcdisk.Journal, pcdisk.Mailbox) != before {
		t.Errorf("wrong pages: %+v", v)
	}
	b.orders.Verify = &protocol.Verify{ID: "2", Adopt: true}
	b.done()
	if v := b.last(); v.Differ != 3<<20 || !v.Adopted || v.ID != "2" {
		t.Errorf("adopted: %+v", v)
	}
	if !bytes.Equal(b.base(), base) {
		t.Error("base.vhdx was written to")
	}
	b.holds(b.v1)
	b.done()
	if v := b.last(); v.Differ != 0 || !v.Adopted {
		t.Errorf("adopted once more: %+v", v)
	}
}

// Adopting obeys the rule against going back.
func TestAdoptOlder(t *testing.T) {
	b, _ := newNoiseBench(t)
	b.orders.Version = 2
	b.done()
	b.orders.Version, b.orders.Verify = 1, &protocol.Verify{ID: "1", Adopt: true}
	before := b.digest(pcdisk.Journal, pcdisk.Mailbox)
	b.waits(b.run(), "troy permit downgrade pc-01 --to "+testImage+"@1")
	if b.last().Adopted || b.digest(pcdisk.Journal, pcdisk.Mailbox) != before {
		t.Error("it went back without a permit")
	}
	b.permit(downgrade(1))
	b.done()
	b.holds(b.v1)
}

// A disk that was made without a store does not say which store its version is from: it is compared
// before the first update, and only then.
func TestUnnamedVersion(t *testing.T) {
	for name, wrong := range map[string]bool{"it is the store's": false, "it is another": true} {
		t.Run(name, func(t *testing.T) {
			b, v1 := newMovedBench(t)
			b.must(os.Remove(b.disk))
			b.must(fixture.MakePC(t.Context(), b.disk, &fixture.PCOptions{Image: testImage, Version: 1, Raw: b.v1, SlotBytes: testVirtual}))
			if !wrong {
				b.done()
				b.holds(b.v2)
				return
			}
			b.wrongPages(v1, 20<<20)
			b.waits(b.run(), "another "+testImage+" version 1")
			b.waits(b.run(), "another "+testImage+" version 1")
			if strings.Contains(b.out.String(), "deploy: verify:") || b.checkIn.Manifest != protocol.NoVersion {
				t.Errorf("it is compared at each start: %s", b.checkIn.Manifest)
			}
			b.withTarget(func(tg *pcdisk.Target) {
				m, _, err := tg.Open()
				b.must(err)
				if s := m.State(); s.Manifest != protocol.NoVersion || s.Version != 1 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// An adoption that was cut off between stage and commit is done again, and finds what it staged.
func TestAdoptCutOff(t *testing.T) {
	b, v1 := newNoiseBench(t)
	b.wrongPages(v1, 20<<20)
	b.orders.Verify = &protocol.Verify{ID: "1", Adopt: true}
	b.withTarget(func(tg *pcdisk.Target) {
		m, _, err := tg.Open()
		b.must(err)
		s, err := m.Stage(t.Context(), &machine.StageRequest{Image: testImage, Version: 1, Manifest: b.manifestOf(testImage, 1), Runs: []machine.Run{{Offset: 20 << 20, Length: 1 << 20}}})
		b.must(err)
		_, err = s.WriteAt(v1[20<<20:21<<20], 20<<20)
		b.must(err)
		b.must(s.Finish(t.Context()))
	})
	b.done()
	if !b.last().Adopted {
		t.Errorf("%+v", b.last())
	}
	b.holds(b.v1)
}
