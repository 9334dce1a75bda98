package agent

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"troy/diskwriter/machine"
	"troy/diskwriter/ntfs"
	"troy/diskwriter/pcdisk"
	"troy/internal/testing/diskfile"
	"troy/server/protocol"
)

func TestDeployNow(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	if code := b.run(); code != ExitDone || !b.handed {
		t.Fatalf("exit code %d, handed over %t", code, b.handed)
	}
	b.holds(b.v2)
	b.withTarget(func(tg *pcdisk.Target) {
		m, _, err := tg.Open()
		b.must(err)
		if s := m.State(); s.Layers != 0 || s.Version != 2 || s.BaseVersion != 2 {
			t.Errorf("state after policy now: %+v", s)
		}
	})
	before := b.digest(pcdisk.Journal, pcdisk.Mailbox)
	if code := b.run(); code != ExitDone || !b.handed {
		t.Fatalf("second run: exit code %d, handed over %t", code, b.handed)
	}
	if b.digest(pcdisk.Journal, pcdisk.Mailbox) != before {
		t.Error("a run with nothing to do wrote to the disk")
	}
}

func TestDeployLazyMergesWhenHealthy(t *testing.T) {
	b := newBench(t, protocol.MergeLazy)
	if code := b.run(); code != ExitDone {
		t.Fatalf("exit code %d", code)
	}
	b.holds(b.v2)
	if code := b.run(); code != ExitDone || !strings.Contains(b.out.String(), "not seen healthy") {
		t.Fatalf("exit code %d; the version was taken for healthy without Windows having run", code)
	}
	b.withTarget(func(tg *pcdisk.Target) {
		m, _, err := tg.Open()
		b.must(err)
		if s := m.State(); s.Layers != 1 || s.BaseVersion != 1 {
			t.Errorf("state after policy lazy: %+v", s)
		}
	})
}

func TestMissingServer(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.url = "https://127.0.0.1:1" // reserved: nothing listens there
	before := b.digest(pcdisk.Journal, pcdisk.Mailbox)
	b.stopped(b.run(), ExitUntouched, "127.0.0.1:1", "connection refused")
	if b.digest(pcdisk.Journal, pcdisk.Mailbox) != before {
		t.Error("the disk was written to")
	}
}

func TestWrongHashInTable(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.damage(".table")
	before := b.digest(pcdisk.Journal, pcdisk.Mailbox)
	b.stopped(b.run(), ExitUntouched, "table")
	if b.digest(pcdisk.Journal, pcdisk.Mailbox) != before {
		t.Error("the disk was written to")
	}
}

// A wrong chunk is found while the inactive slot is being filled: nothing but that slot and the
// journal may differ.
func TestWrongHashInPack(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.damage(".pack")
	before := b.digest(pcdisk.LayerA, pcdisk.LayerB, pcdisk.Journal, pcdisk.Mailbox)
	b.stopped(b.run(), ExitUnfinished, "pack")
	if b.digest(pcdisk.LayerA, pcdisk.LayerB, pcdisk.Journal, pcdisk.Mailbox) != before {
		t.Error("more than the inactive slot was written to")
	}
	b.holds(b.v1)
}

func TestSparseFile(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.onVolume(func(root string) {
		name := filepath.Join(root, "Troy", "base.vhdx")
		b.must(os.Remove(name))
		f, err := os.Create(name)
		b.must(err)
		b.must(f.Truncate(machine.BaseSize(testVirtual)))
		b.must(f.Close())
	})
	before := b.digest()
	b.stopped(b.run(), ExitUntouched, "base.vhdx", ntfs.ErrSparse.Error())
	if b.digest() != before {
		t.Error("the disk was written to")
	}
}

func TestFileNotWrittenToItsEnd(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.onVolume(func(root string) { b.must(os.Remove(filepath.Join(root, "Troy", "layer-a.vhdx"))) })
	b.onVolume(func(root string) { b.must(os.WriteFile(filepath.Join(root, "Troy", "layer-a.vhdx"), nil, 0o644)) })
	b.onPartition(func(part string) {
		out, err := exec.Command("ntfsfallocate", "-l", "8388608", part, "Troy/layer-a.vhdx").CombinedOutput()
		if err != nil {
			b.t.Fatalf("ntfsfallocate: %v: %s", err, out)
		}
	})
	before := b.digest()
	b.stopped(b.run(), ExitUntouched, "layer-a.vhdx", ntfs.ErrValidLength.Error())
	if b.digest() != before {
		t.Error("the disk was written to")
	}
}

func TestHibernatedVolume(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.onVolume(func(root string) {
		b.must(os.WriteFile(filepath.Join(root, "hiberfil.sys"), append([]byte("hibr"), make([]byte, 8188)...), 0o644))
	})
	before := b.digest()
	b.stopped(b.run(), ExitUntouched, ntfs.ErrHibernated.Error())
	if b.digest() != before {
		t.Error("the disk was written to")
	}
}

func TestTwoPreparedDisks(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	twin := filepath.Join(b.dir, "twin.img")
	info, err := os.Stat(b.disk)
	b.must(err)
	b.must(diskfile.Copy(twin, 0, b.disk, diskfile.Range{Length: info.Size()}))
	_, err = pcdisk.Find([]string{b.disk, twin})
	if !errors.Is(err, pcdisk.ErrAmbiguous) {
		t.Errorf("Find(two prepared disks) = %v, want %v", err, pcdisk.ErrAmbiguous)
	}
}

func TestParseKernel(t *testing.T) {
	var o Options
	err := o.parseKernel("quiet troy.server=http://10.0.0.1 console=ttyS0 troy.ip=10.0.0.7/24 troy.shell troy.disk=/dev/sdb\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Net.Servers) != 1 || o.Net.Servers[0] != "http://10.0.0.1" || o.Net.Static == nil || !o.Shell || o.Disk != "/dev/sdb" {
		t.Errorf("parseKernel gives %+v", o)
	}
	var quiet Options
	if err := quiet.parseKernel("# the media's config: troy.shell troy.unsigned\ntroy.port=eth0 # troy.disk=/dev/sdb\n"); err != nil {
		t.Fatal(err)
	}
	if quiet.Shell || quiet.Disk != "" || len(quiet.Net.Ports) != 1 {
		t.Errorf("parseKernel takes words of comments: %+v", quiet)
	}
	if err := o.parseKernel("troy.ip=nonsense"); err == nil {
		t.Error("parseKernel takes an address that is none")
	}
	if err := o.parseKernel("troy.unsigned"); err == nil || !strings.Contains(err.Error(), "troy media --store") {
		t.Errorf("a word that was removed: %v", err)
	}
}

func TestPartitionPath(t *testing.T) {
	for _, c := range []struct {
		disk string
		n    int
		want string
	}{{"/dev/sda", 1, "/dev/sda1"}, {"/dev/nvme0n1", 3, "/dev/nvme0n1p3"}, {"/dev/mmcblk0", 2, "/dev/mmcblk0p2"}, {"/dev/vdb", 10, "/dev/vdb10"}} {
		if got := partitionPath(c.disk, c.n); got != c.want {
			t.Errorf("partitionPath(%q, %d) = %q, want %q", c.disk, c.n, got, c.want)
		}
	}
}

// A start that was cut off after the stage, or after the commit, is finished by the next one
// without fetching again.
func TestCutOffStart(t *testing.T) {
	for name, commit := range map[string]bool{"before the commit": false, "after the commit": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, protocol.MergeNow)
			b.stageVersion2(commit)
			if code := b.run(); code != ExitDone {
				t.Fatalf("exit code %d", code)
			}
			if strings.Contains(b.out.String(), "fetch") {
				t.Error("it fetched again what was staged")
			}
			b.holds(b.v2)
			b.withTarget(func(tg *pcdisk.Target) {
				m, _, err := tg.Open()
				b.must(err)
				if s := m.State(); s.Layers != 0 {
					t.Errorf("not merged: %+v", s)
				}
			})
		})
	}
}
