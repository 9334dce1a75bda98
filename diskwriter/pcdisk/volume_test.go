package pcdisk

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/ntfs"
	"troy/internal/testing/needs"
)

// TestVolume makes the volume on a partition that another program made, which does not
// begin on a whole MiB.
func TestVolume(t *testing.T) {
	needs.Root(t)
	dev := newImage(t, 200*mib, 512)
	tool(t, "sgdisk", "-a", "8", "-n", "1:4096:+20M", "-n", "2:50008:0", "-t", "2:0700", dev.Path())
	table, err := dev.ReadTable()
	if err != nil {
		t.Fatal(err)
	}
	part, err := dev.Partition(table.Partitions[1])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := filesOn(part); !errors.Is(err, ntfs.ErrNotNTFS) {
		t.Fatalf("empty partition: %v", err)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if err := volumeOn(cancelled, part, &volumeOptions{}); !errors.Is(err, context.Canceled) && !errors.Is(err, ErrTool) {
		t.Fatalf("cancelled: %v", err)
	}
	if err := volumeOn(context.Background(), part, &volumeOptions{Sizes: Sizes{Base: 60 * mib, Journal: 16 * mib}, TempDir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	files, err := filesOn(part, Base, Journal)
	if err != nil || files[Base].Size() != 60*mib || files[Journal].Size() != 16*mib {
		t.Fatalf("%v, %v", files, err)
	}
	if _, err := filesOn(part); !errors.Is(err, ntfs.ErrNotExist) {
		t.Fatalf("files that were not made: %v", err)
	}
	tool(t, "ntfsfix", "-n", cutOut(t, part))
}

// TestLarge: a disk of 1 TiB takes no longer than its metadata, and every file is in
// one piece.
func TestLarge(t *testing.T) {
	needs.Root(t)
	dev := newImage(t, 1<<40, 512)
	const gib = 1 << 30
	sizes := Sizes{Base: 256*gib + 4*mib, LayerA: 64 * gib, LayerB: 64 * gib, Boot: 256*gib + 8*mib, Journal: 16 * mib}
	table, err := formatDisk(context.Background(), dev, &diskOptions{Volume: volumeOptions{Sizes: sizes}})
	if err != nil {
		t.Fatal(err)
	}
	part, err := dev.Partition(table.Partitions[2])
	if err != nil {
		t.Fatal(err)
	}
	files, err := filesOn(part)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range files {
		r := f.Mapping().Runs
		if len(r) != 1 || r[0].LCN%256 != 0 || f.Size() != sizes[name] {
			t.Errorf("%s: %d bytes in %v", name, f.Size(), r)
		}
		fill(t, f, name)
	}
	b := make([]byte, ntfs.PageSize)
	for name, f := range files {
		for _, off := range offsets(f) {
			if _, err := f.ReadAt(b, off); err != nil || string(b) != string(page(name, off)) {
				t.Fatalf("%s: page at %d differs (%v)", name, off, err)
			}
		}
	}
}

// TestMissingTool: without ntfs-3g nothing is touched and its package is named.
func TestMissingTool(t *testing.T) {
	dev := newImage(t, 200*mib, 512)
	t.Setenv("PATH", t.TempDir())
	if _, err := formatDisk(context.Background(), dev, &diskOptions{ESPSize: 40 * mib}); !errors.Is(err, ErrTool) {
		t.Fatal(err)
	}
	if _, err := dev.ReadTable(); !errors.Is(err, blockdev.ErrNoTable) {
		t.Fatalf("table: %v", err)
	}
}

// TestMounted: an error of the caller comes back, what it wrote stays, nothing is left
// mounted; what is no volume is an error of the tool.
func TestMounted(t *testing.T) {
	needs.Root(t)
	path := filepath.Join(t.TempDir(), "ntfs")
	if err := os.WriteFile(path, make([]byte, 8*mib), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Mounted(context.Background(), path, func(string) error { return nil }); !errors.Is(err, ErrTool) {
		t.Fatalf("no volume: %v", err)
	}
	tool(t, "mkntfs", "-q", "-Q", "-F", "-s", "512", "-p", "0", "-H", "1", "-S", "1", path)
	want := errors.New("mine")
	err := Mounted(context.Background(), path, func(root string) error {
		if err := os.WriteFile(filepath.Join(root, "kept"), []byte("content"), 0o644); err != nil {
			return err
		}
		return want
	})
	if !errors.Is(err, want) {
		t.Fatal(err)
	}
	if got := tool(t, "ntfscat", "-f", path, "kept"); got != "content" {
		t.Fatalf("%q", got)
	}
}

func TestPlace(t *testing.T) {
	free := []ntfs.Run{{LCN: 10, Length: 1000}, {LCN: 2000, Length: 500}, {LCN: 3000, Length: 5000}}
	sizes := Sizes{"big": 6000 * 4096, "fits": 256 * 4096, "tiny": 4096}
	names, err := sizes.check()
	if err != nil {
		t.Fatal(err)
	}
	got, err := place(free, 0, 4096, names, sizes)
	if !errors.Is(err, ErrNoSpace) {
		t.Fatalf("%v, %v", got, err)
	}
	sizes["big"] = 5200 * 4096
	if got, err = place(free, 100, 4096, names, sizes); err != nil {
		t.Fatal(err)
	}
	var all []ntfs.Run
	for name, runs := range got {
		var n int64
		for _, r := range runs {
			n += r.Length
			if r.LCN%256 != 0 || r.LCN < 100 {
				t.Errorf("%s: %v", name, r)
			}
		}
		if n*4096 != sizes[name] {
			t.Errorf("%s: %v", name, runs)
		}
		all = append(all, runs...)
	}
	for i, a := range all {
		for _, b := range all[:i] {
			if a.LCN < b.LCN+b.Length && b.LCN < a.LCN+a.Length {
				t.Errorf("%v and %v overlap", a, b)
			}
		}
	}
	if len(got["big"]) != 2 || len(got["fits"]) != 1 {
		t.Errorf("%v", got)
	}
}
