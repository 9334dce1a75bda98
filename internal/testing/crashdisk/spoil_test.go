package crashdisk

import (
	"errors"
	"syscall"
	"testing"
)

// A spoiled page fails every read that touches it, also in forks and crash states, until it is
// written as a whole.
func TestSpoil(t *testing.T) {
	d := New()
	f := d.Create("a", 1<<20, nil)
	d.Create("b", 1<<20, nil)
	d.Spoil("a", 8192)
	d.Start()
	page := make([]byte, pageSize)
	read := func(d *Disk, file string, off int64, n int) error {
		_, err := d.File(file).ReadAt(make([]byte, n), off)
		return err
	}
	for name, disk := range map[string]*Disk{"itself": d, "fork": d.Fork(), "state": d.Random(1).Disk} {
		for at, c := range map[int64]struct {
			n   int
			bad bool
		}{0: {8192, false}, 4096: {4097, true}, 8192: {1, true}, 12287: {1, true}, 12288: {4096, false}} {
			if err := read(disk, "a", at, c.n); errors.Is(err, syscall.EIO) != c.bad {
				t.Errorf("%s: %d bytes at %d: %v", name, c.n, at, err)
			}
		}
		if err := read(disk, "b", 8192, 1); err != nil {
			t.Errorf("%s: the other file: %v", name, err)
		}
	}
	if _, err := f.WriteAt(page[:SectorSize], 8192); err != nil || d.Spoiled() != 1 {
		t.Errorf("part of the page: %v, %d spoiled", err, d.Spoiled())
	}
	if _, err := f.WriteAt(page, 8192); err != nil || d.Spoiled() != 0 || read(d, "a", 8192, 1) != nil {
		t.Errorf("the page: %v, %d spoiled", err, d.Spoiled())
	}
}
