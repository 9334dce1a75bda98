package agent

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// A version is given up and rolled back, and the power goes before the hand-off: the next start
// knows it, whatever was done before the cut.
func TestGivenUpIsKeptBeforeACut(t *testing.T) {
	for name, cut := range map[string]string{"after the note": "rolling back to", "after the rollback": "rolled back to version"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, protocol.MergeLazy)
			b.startsInVain()
			b.cutAt(cut)
			b.stopped(b.run(), ExitUntouched, "without a sign of health", "order it again")
			b.holds(b.v1)
		})
	}
}

// powerCut is what a start ends with in the middle of a step.
type powerCut struct{}

// cutAt runs the agent until it says a line.
func (b *bench) cutAt(words string) {
	b.t.Helper()
	a := b.agent()
	a.con.out = &onLine{word: words, then: func() { panic(powerCut{}) }}
	defer func() {
		if recover() != (powerCut{}) {
			b.t.Fatalf("it never said %q", words)
		}
		a.disk.close()
	}()
	a.run(b.t.Context())
}

// onLine calls then once, when the agent says a line with that word.
type onLine struct {
	bytes.Buffer
	word string
	then func()
}

// Write implements io.Writer.
func (o *onLine) Write(p []byte) (int, error) {
	n, err := o.Buffer.Write(p)
	if then := o.then; then != nil && strings.Contains(string(p), o.word) {
		o.then = nil
		then()
	}
	return n, err
}

// addVersion publishes a version with one piece more changed, and returns its raw image.
func (b *bench) addVersion(version int) string {
	b.t.Helper()
	disk, err := os.ReadFile(b.v2)
	b.must(err)
	copy(disk[9<<20:], bytes.Repeat([]byte{byte(version)}, 64<<10))
	return b.addTo(b.store, version, disk)
}

// addTo publishes a disk as a version of the store in a folder.
func (b *bench) addTo(dir string, version int, disk []byte) (raw string) {
	b.t.Helper()
	store, err := image.OpenStore(dir)
	b.must(err)
	below, err := store.Show(b.t.Context(), testImage, version-1)
	b.must(err)
	parent, err := image.OpenVersion(b.t.Context(), store, testImage, version-1)
	b.must(err)
	_, err = publish.Add(b.t.Context(), store, testImage, &publish.Disk{Reader: bytes.NewReader(disk), Size: int64(len(disk)), SectorSize: 512,
		DataWriteGUID: guid.New().String(), Parents: []string{below.DataWriteGUID},
		Since: func(string) (*publish.Delta, error) {
			return &publish.Delta{Parent: parent, ParentSize: int64(len(disk))}, nil
		}}, nil)
	b.must(err)
	repo, err := sign.Open(dir, nil)
	b.must(err)
	_, err = repo.SignAll(b.t.Context(), store, time.Now())
	b.must(err)
	raw = filepath.Join(b.dir, fmt.Sprintf("v%d.raw", version))
	b.must(os.WriteFile(raw, disk, 0o644))
	return raw
}

// Version 3 was deployed above version 2 before that was merged. It does not come up: version 2
// comes back, which is whole in the slot below; and neither a new version nor a signed permit is
// blocked afterwards.
func TestGivenUpAboveAnotherSlot(t *testing.T) {
	b := newBench(t, protocol.MergeLazy)
	if code := b.run(); code != ExitDone {
		t.Fatalf("exit code %d", code)
	}
	b.addVersion(3)
	b.orders.Version = 3
	for range chainload.MaxStarts {
		if code := b.run(); code != ExitDone || !b.handed {
			t.Fatalf("exit code %d, handed over %t", code, b.handed)
		}
	}
	b.stopped(b.run(), ExitUntouched, "without a sign of health")
	if strings.Contains(b.out.String(), "no version to go back to") || !strings.Contains(b.out.String(), "rolling back to version 2") {
		t.Error("it does not see the version below")
	}
	b.holds(b.v2)
	v4 := b.addVersion(4)
	b.orders.Version = 4
	if code := b.run(); code != ExitDone {
		t.Errorf("the order of a sound version: exit code %d", code)
	}
	b.holds(v4)
	b.orders.Version = 2
	b.permit(downgrade(2))
	if code := b.run(); code != ExitDone {
		t.Errorf("the permit to go back: exit code %d", code)
	}
	b.holds(b.v2)
}

// bootChain opens the chain as Windows has it, the boot child for writing.
func bootChain(f machine.Files) (*vhdx.Chain, error) {
	boot, err := vhdx.OpenStorage(f.Boot.Storage, f.Boot.Size, &vhdx.OpenOptions{Writable: true})
	if err != nil {
		return nil, err
	}
	below, err := pcdisk.Chain(f)
	if err != nil {
		return nil, err
	}
	return vhdx.NewChain(append([]*vhdx.File{boot}, below.Files()[1:]...)...)
}

// windows lets a session run: it writes, dismounts its volumes, and leaves the log of boot.vhdx
// open, as a system does that has its own disk in there.
func (b *bench) windows() {
	b.t.Helper()
	b.withTarget(func(tg *pcdisk.Target) {
		_, _, err := tg.Open()
		b.must(err)
		chain, err := bootChain(tg.Files())
		b.must(err)
		_, err = chain.WriteAt(bytes.Repeat([]byte{1}, 4096), 22<<20+512<<10)
		b.must(err)
		b.must(chain.Sync()) // not closed
	})
}

// Windows runs and dismounts its volumes in order each time, but leaves a log in boot.vhdx. Health
// and merge see the same: the disk after the log was replayed.
func TestHealthIsJudgedAfterRecovery(t *testing.T) {
	for _, merge := range []protocol.Merge{protocol.MergeLazy, protocol.MergeNow} {
		t.Run(string(merge), func(t *testing.T) {
			b := newWindowsBench(t, merge)
			if code := b.run(); code != ExitDone {
				t.Fatalf("exit code %d", code)
			}
			for i := range chainload.MaxStarts + 1 {
				b.windows()
				if code := b.run(); code != ExitDone || !b.handed || !strings.Contains(b.out.String(), "the last hand-off worked") {
					t.Fatalf("start %d: exit code %d, handed over %t", i+2, code, b.handed)
				}
			}
			if len(b.slept) > 0 {
				t.Errorf("it paused %v before a version that is good", b.slept)
			}
			b.withTarget(func(tg *pcdisk.Target) {
				m, _, err := tg.Open()
				b.must(err)
				if s := m.State(); s.Layers != 0 {
					t.Errorf("a version that is good was not merged: %+v", s)
				}
			})
		})
	}
}

// reset: boot is a rule of the machine: it also holds without a server.
func TestResetWithoutServer(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.orders.Rules.Reset = protocol.ResetBoot
	if code := b.run(); code != ExitDone {
		t.Fatalf("exit code %d", code)
	}
	b.windows()
	b.url = "https://127.0.0.1:1" // reserved: nothing listens there
	b.stopped(b.run(), ExitUntouched, "connection refused")
	if !strings.Contains(b.out.String(), "is reset to version 2") {
		t.Error("the session of Windows is kept")
	}
	b.holds(b.v2)
}

// A version that was good once stays, and starts every time, however often the mains switch is
// used.
func TestMainsSwitch(t *testing.T) {
	b := newWindowsBench(t, protocol.MergeLazy)
	if code := b.run(); code != ExitDone {
		t.Fatalf("exit code %d", code)
	}
	b.windows()
	if code := b.run(); code != ExitDone {
		t.Fatalf("exit code %d", code)
	}
	for i := range 5 { // off before Windows wrote anything
		if code := b.run(); code != ExitDone || !b.handed || len(b.slept) > 0 {
			t.Fatalf("start %d: exit code %d, handed over %t, paused %v", i+1, code, b.handed, b.slept)
		}
	}
	b.withTarget(func(tg *pcdisk.Target) {
		m, _, err := tg.Open()
		b.must(err)
		if s := m.State(); s.Version != 2 {
			t.Errorf("it went back: %+v", s)
		}
	})
}
