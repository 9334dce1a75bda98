package pcdisk

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"troy/diskwriter/blockdev"
	"troy/internal/format"
	"troy/internal/guid"
	"troy/internal/testing/needs"
)

// reopen opens an image file again.
func reopen(t *testing.T, path string, sector int) *blockdev.Device {
	t.Helper()
	dev, err := blockdev.Open(path, &blockdev.Options{SectorSize: sector})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

// poke writes bytes into a file.
func poke(t *testing.T, path string, off int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

// TestUnfinished: whatever a power cut leaves of a disk that is being made is known for ours; what
// anybody else put there since is not.
func TestUnfinished(t *testing.T) {
	needs.Root(t)
	const size = 460 * mib
	for _, sector := range []int{512, 4096} {
		dev := newImage(t, size, sector)
		if _, err := formatDisk(context.Background(), dev, &diskOptions{Mark: true, ESPSize: 280 * mib, Volume: volumeOptions{Sizes: Sizes{Journal: 16 * mib}}}); err != nil {
			t.Fatal(err)
		}
		s := int64(sector)
		table, backup := 2*s+16<<10, size-s-16<<10 // end of the first copy, begin of the second
		zero := func(off, n int64) func(string) { return func(p string) { poke(t, p, off, make([]byte, n)) } }
		ones := func(off, n int64) func(string) {
			return func(p string) { poke(t, p, off, bytes.Repeat([]byte{0xff}, int(n))) }
		}
		junk := func(off int64) func(string) {
			return func(p string) { poke(t, p, off, []byte{byte(1 + rand.IntN(255))}) }
		}
		run := func(name string, args ...string) func(string) {
			return func(p string) { tool(t, name, append(args, p)...) }
		}
		onVolume := func(p, name string) {
			d := reopen(t, p, sector)
			tb, err := d.ReadTable()
			if err != nil {
				t.Fatal(err)
			}
			part, err := d.Partition(tb.Partitions[2])
			if err != nil {
				t.Fatal(err)
			}
			volume := cutOut(t, part)
			if err := Mounted(context.Background(), volume, func(root string) error { return os.Mkdir(filepath.Join(root, name), 0o755) }); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(volume)
			if err != nil {
				t.Fatal(err)
			}
			poke(t, p, part.Start(), b)
		}
		for name, c := range map[string]struct {
			change func(string)
			ours   bool
			only   int // sector size that the tool knows; 0: both
		}{
			"as made":           {func(string) {}, true, 0},
			"no table yet":      {func(p string) { zero(0, table)(p); zero(backup, size-backup)(p) }, true, 0},
			"MBR only":          {func(p string) { zero(512, table-512)(p); zero(backup, size-backup)(p) }, true, 0},
			"first copy only":   {zero(backup, size-backup), true, 0},
			"no MBR":            {zero(0, 512), true, 0},
			"first header torn": {zero(s+8, 100), true, 0},
			"torn entries":      {func(p string) { zero(2*s+100, 100)(p); zero(backup, size-backup)(p) }, true, 0},
			"erased flash":      {func(p string) { ones(0, markOffset)(p); ones(size-mib, mib)(p) }, true, 0},
			"partly erased":     {func(p string) { ones(0, table)(p); ones(backup, size-backup)(p) }, true, 0},
			"mark gone":         {zero(markOffset, markSize), false, 0},
			"mark torn":         {zero(markOffset+40, 8), false, 0},
			"mark torn later":   {junk(markOffset + int64(markHead) + 5), false, 0},
			"another table":     {run("sgdisk", "-G"), false, 512},
			"a partition added": {run("sgdisk", "-d", "2", "-n", "2:0:+1M"), false, 512},
			"boot code, no GPT": {func(p string) { zero(s, table-s)(p); zero(backup, size-backup)(p); junk(3)(p) }, false, 0},
			"an MBR": {func(p string) {
				zero(0, table)(p)
				zero(backup, size-backup)(p)
				poke(t, p, 446, []byte{0x80, 0, 2, 0, 7, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0})
				poke(t, p, 510, []byte{0x55, 0xaa})
			}, false, 0},
			"data in the gap":     {func(p string) { zero(0, table)(p); zero(backup, size-backup)(p); junk(100 << 10)(p) }, false, 0},
			"data at the end":     {func(p string) { zero(0, table)(p); zero(backup, size-backup)(p); junk(size - 200<<10)(p) }, false, 0},
			"files on the volume": {func(p string) { onVolume(p, "Users") }, false, 0},
			"files in the folder": {func(p string) { onVolume(p, "Troy/mine") }, false, 0},
		} {
			if c.only != 0 && c.only != sector {
				continue
			}
			path := filepath.Join(t.TempDir(), "copy")
			tool(t, "cp", "--sparse=always", dev.Path(), path)
			c.change(path)
			m, err := unfinishedMark(reopen(t, path, sector))
			if err != nil || (m != nil) != c.ours {
				t.Errorf("%d, %s: %+v, %v", sector, name, m, err)
			}
		}
		bigger := filepath.Join(t.TempDir(), "bigger")
		tool(t, "cp", "--sparse=always", dev.Path(), bigger)
		tool(t, "truncate", "-s", "+1M", bigger)
		if m, err := unfinishedMark(reopen(t, bigger, sector)); m != nil || err != nil {
			t.Errorf("copied to a larger disk: %v, %v", m, err)
		}
		begunAgain(t, dev)
	}
}

// begunAgain: a second run keeps the GUIDs, so that what is left of the first table does no harm;
// then the mark goes.
func begunAgain(t *testing.T, dev *blockdev.Device) {
	t.Helper()
	first, err := dev.ReadTable()
	if err != nil {
		t.Fatal(err)
	}
	second, err := formatDisk(context.Background(), dev, &diskOptions{Mark: true, ESPSize: 290 * mib, DataSize: 100 * mib, Volume: volumeOptions{Sizes: Sizes{Journal: 16 * mib}}})
	if err != nil {
		t.Fatal(err)
	}
	if first.DiskGUID != second.DiskGUID || first.Partitions[2].GUID != second.Partitions[2].GUID || second.Partitions[2].Size != 100*mib {
		t.Errorf("%+v then %+v", first, second)
	}
	if err := eraseMark(dev); err != nil {
		t.Fatal(err)
	}
	if m, err := unfinishedMark(dev); m != nil || err != nil {
		t.Errorf("after the end: %v, %v", m, err)
	}
	if _, err := formatDisk(context.Background(), dev, &diskOptions{DataSize: 4 << 30}); !errors.Is(err, ErrNoSpace) || errors.Is(err, ErrUnfinished) {
		t.Errorf("a volume larger than the disk: %v", err)
	}
}

// TestFuseDevice makes the node, and finds it there.
func TestFuseDevice(t *testing.T) {
	needs.Root(t)
	path := filepath.Join(t.TempDir(), "fuse")
	for range 2 {
		if err := makeFuseDevice(path); err != nil {
			t.Fatal(err)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(10, 229) {
		t.Errorf("%+v, %v", st, err)
	}
}

// TestRamfs: where the scratch file would lie in a ramfs it gets a tmpfs, and nothing stays
// mounted; what is made is the same.
func TestRamfs(t *testing.T) {
	needs.Root(t)
	dir := t.TempDir()
	if err := unix.Mount("ramfs", dir, "ramfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	dev := newImage(t, 20<<30, 512)
	table, err := formatDisk(context.Background(), dev, &diskOptions{Volume: volumeOptions{Sizes: Sizes{Base: 5 << 30, Journal: 16 * mib}, TempDir: dir}})
	if err != nil {
		t.Fatal(err)
	}
	part, err := dev.Partition(table.Partitions[2])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := filesOn(part, Base, Journal); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if out, err := exec.Command("grep", dir+"/", "/proc/mounts").Output(); err == nil {
		t.Errorf("still mounted: %s", out)
	}
}

// FuzzMark: no page makes a mark but one that says what it holds.
func FuzzMark(f *testing.F) {
	m := &diskMark{Size: 1 << 40, Disk: guid.New(), ESP: guid.New(), MSR: guid.New(), Data: guid.New()}
	marshal := func(t testing.TB, m *diskMark) []byte {
		b, err := m.marshal()
		must(t, err)
		return b
	}
	page := marshal(f, m)
	f.Add(page)
	f.Add(marshal(f, &diskMark{Head: format.Head{Needs: []string{"more"}}}))
	f.Add([]byte(markMagic))
	same := func(a, b *diskMark) bool {
		return a != nil && a.Size == b.Size && a.Disk == b.Disk && a.ESP == b.ESP && a.MSR == b.MSR && a.Data == b.Data
	}
	if !same(parseMark(page), m) {
		f.Fatal("the seed is no mark")
	}
	if parseMark(marshal(f, &diskMark{Size: 1, Head: format.Head{Needs: []string{"more"}}})) != nil {
		f.Fatal("a mark that needs more than this program knows counts")
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := parseMark(b)
		if m == nil {
			return
		}
		if again := parseMark(marshal(t, m)); !same(again, m) || !bytes.HasPrefix(b, []byte(markMagic)) {
			t.Fatalf("%+v", m)
		}
	})
}
