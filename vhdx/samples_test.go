package vhdx

import (
	"crypto/md5"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestSamples reads real files and compares with the sums that independent
// readers agreed on.
func TestSamples(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct {
		name, parent, md5 string
		dirty             bool
		kind              Kind
	}{
		{"fat-parent.vhdx", "", "6aaec9014a00d9ae20d7ea6dee900c6b", false, Fixed},
		{"fat-differential.vhdx", "fat-parent.vhdx", "cb133190486199033a27e789dd5d530c", false, Differencing},
		{"ntfs-dynamic.vhdx", "", "20158534070142d63ee02c9ad1a9d87e", false, Dynamic},
		{"ext2.vhdx", "", "196066add11fb71c4c49cf1bb50d6d24", false, Dynamic},
		{"iotest-dynamic-1G.vhdx", "", "8a5df7512d96578c537279cee90b5e8d", false, Dynamic},
		{"vhdx-log-replay.vhdx", "", "671f96cf63f64ba869ce0fda80a48c6d", true, Dynamic},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path, ok := sample(t, dir, tc.name)
			if !ok {
				return
			}
			if tc.parent != "" {
				sample(t, dir, tc.parent)
			}
			before := fileSum(t, path)
			c, err := OpenChain(path, &ChainOptions{Parents: &Parents{}})
			must(t, err)
			defer c.Close()
			leaf := c.Files()[0]
			if leaf.LogPending() != tc.dirty || leaf.Metadata().Kind() != tc.kind {
				t.Errorf("LogPending %v, kind %v", leaf.LogPending(), leaf.Metadata().Kind())
			}
			if got := md5Of(t, c, c.Size()); got != tc.md5 {
				t.Errorf("md5 %s, want %s", got, tc.md5)
			}
			extentsMatch(t, c, 0, c.Size())
			h, err := os.Open(path)
			must(t, err)
			defer h.Close()
			rep, err := Check(h, leaf.size, nil)
			must(t, err)
			if rep.OK() == tc.dirty {
				t.Errorf("Check: %v", rep.Findings)
			}
			if fileSum(t, path) != before {
				t.Error("reading changed the file")
			}
		})
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
	path, ok := sample(t, t.TempDir(), "lvm2.vhdx")
	if !ok {
		return
	}
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

// TestSampleDirtyLog replays real logs, in memory and on disk, beside QEMU.
func TestSampleDirtyLog(t *testing.T) {
	for _, name := range []string{"iotest-dirtylog-10G-4M.vhdx", "vhdx-log-replay.vhdx"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, ok := sample(t, dir, name)
			if !ok {
				return
			}
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
		})
	}
}
