package vhdx

import (
	"crypto/md5"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"troy/internal/testing/needs"
	"troy/internal/testing/vhdxfile"
)

// TestSamples reads files of other programs, of every kind.
func TestSamples(t *testing.T) {
	vhdxfile.Both(t, func(t *testing.T, s vhdxfile.Source) {
		dir := t.TempDir()
		for _, tc := range []struct {
			name, parent string
			dirty        bool
			kind         Kind
		}{
			{"fat-parent.vhdx", "", false, Fixed},
			{"fat-differential.vhdx", "fat-parent.vhdx", false, Differencing},
			{"ntfs-dynamic.vhdx", "", false, Dynamic},
			{"ext2.vhdx", "", false, Dynamic},
			{"iotest-dynamic-1G.vhdx", "", false, Dynamic},
			{"vhdx-log-replay.vhdx", "", true, Dynamic},
		} {
			t.Run(tc.name, func(t *testing.T) {
				if tc.name == "iotest-dynamic-1G.vhdx" || tc.dirty { // disks of 1 GiB
					needs.Time(t)
				}
				if tc.parent != "" {
					s.Put(t, dir, tc.parent)
				}
				readOther(t, s.Put(t, dir, tc.name), s.MD5(t, tc.name), tc.dirty, tc.kind)
			})
		}
	})
}

// readOther reads a file, looks at it, and sees that this does not change it.
func readOther(t *testing.T, path, sum string, dirty bool, kind Kind) {
	t.Helper()
	before := fileSum(t, path)
	c, err := OpenChain(path, &ChainOptions{Parents: &Parents{}})
	must(t, err)
	defer c.Close()
	leaf := c.Files()[0]
	if leaf.LogPending() != dirty || leaf.Metadata().Kind() != kind {
		t.Errorf("LogPending %v, kind %v", leaf.LogPending(), leaf.Metadata().Kind())
	}
	if got := md5Of(t, c, c.Size()); got != sum {
		t.Errorf("md5 %s, want %s", got, sum)
	}
	extentsMatch(t, c, 0, c.Size())
	h, err := os.Open(path)
	must(t, err)
	defer h.Close()
	rep, err := Check(h, leaf.size, nil)
	must(t, err)
	if rep.OK() == dirty {
		t.Errorf("Check: %v", rep.Findings)
	}
	if fileSum(t, path) != before {
		t.Error("reading changed the file")
	}
}

func fileSum(t testing.TB, path string) string {
	b, err := os.ReadFile(path)
	must(t, err)
	return fmt.Sprintf("%x", md5.Sum(b))
}

// TestSampleUnmapped compares a disk with UNMAPPED blocks and three chunks
// with QEMU, extent by extent.
func TestSampleUnmapped(t *testing.T) {
	vhdxfile.Both(t, func(t *testing.T, s vhdxfile.Source) {
		path := s.Put(t, t.TempDir(), "lvm2.vhdx")
		c, err := OpenChain(path, nil)
		must(t, err)
		defer c.Close()
		unmapped := 0
		for e, err := range c.Extents(0, c.Size()) {
			must(t, err)
			if e.Kind == Unmapped {
				unmapped += int(e.Length / (32 * mib))
			}
		}
		if unmapped != 25 {
			t.Errorf("%d UNMAPPED blocks, want 25", unmapped)
		}
		compareQEMU(t, path, c)
	})
}

// compareQEMU reads the data of a disk beside a raw image that QEMU made.
func compareQEMU(t *testing.T, path string, c *Chain) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "disk.raw")
	run(t, "qemu-img", "convert", "-f", "vhdx", "-O", "raw", path, raw)
	r, err := OpenRaw(raw)
	must(t, err)
	defer r.Close()
	if r.Size() != c.Size() {
		t.Fatalf("size %d, QEMU says %d", c.Size(), r.Size())
	}
	for _, src := range []Source{r, c} { // data of either, so that nothing is missed
		for e, err := range src.Extents(0, c.Size()) {
			must(t, err)
			if e.Kind != Data {
				continue
			}
			a, b := make([]byte, mib), make([]byte, mib)
			for off := e.Offset; off < e.Offset+e.Length; off += mib {
				n := min(mib, e.Offset+e.Length-off)
				_, err := c.ReadAt(a[:n], off)
				must(t, err)
				_, err = r.ReadAt(b[:n], off)
				must(t, err)
				sameBytes(t, fmt.Sprintf("at %#x", off), a[:n], b[:n])
			}
		}
	}
}

// TestSampleDirtyLog replays logs that others left, in memory and on disk, beside QEMU.
func TestSampleDirtyLog(t *testing.T) {
	vhdxfile.Both(t, func(t *testing.T, s vhdxfile.Source) {
		for _, name := range []string{"iotest-dirtylog-10G-4M.vhdx", "vhdx-log-replay.vhdx"} {
			t.Run(name, func(t *testing.T) { replayOther(t, s, name) })
		}
	})
}

func replayOther(t *testing.T, s vhdxfile.Source, name string) {
	t.Helper()
	dir := t.TempDir()
	path := s.Put(t, dir, name)
	b, err := os.ReadFile(path)
	must(t, err)
	repaired := filepath.Join(dir, "qemu.vhdx")
	must(t, os.WriteFile(repaired, b, 0o644))
	run(t, "qemu-img", "check", "-r", "all", "-f", "vhdx", repaired)

	c, err := OpenChain(path, nil)
	must(t, err)
	compareQEMU(t, repaired, c)
	before := c.Files()[0].Header()
	must(t, c.Close())

	c, err = OpenChain(path, &ChainOptions{Writable: true})
	must(t, err)
	after := c.Files()[0].Header()
	must(t, c.Close())
	if !after.LogGUID.IsZero() || after.FileWriteGUID == before.FileWriteGUID || after.DataWriteGUID != before.DataWriteGUID {
		t.Errorf("headers: before %+v, after %+v", before, after)
	}
	qemuCheck(t, path)
	c, err = OpenChain(path, nil)
	must(t, err)
	defer c.Close()
	if c.Files()[0].LogPending() {
		t.Error("the log is still there after replay")
	}
	compareQEMU(t, repaired, c)
}
