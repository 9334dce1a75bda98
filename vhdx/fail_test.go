package vhdx

import (
	"errors"
	"math/rand"
	"testing"
)

// brokenDisk fails some writes, after doing a part of them, and some syncs.
type brokenDisk struct {
	*memFile
	r    *rand.Rand
	odds int  // one write in so many fails; 0: none
	all  bool // metadata and syncs also fail
}

func (d *brokenDisk) WriteAt(p []byte, off int64) (int, error) {
	meta := off < 4*mib // where a new file has everything but blocks
	if d.odds > 0 && (d.all || !meta) && d.r.Intn(d.odds) == 0 {
		n := d.r.Intn(len(p)/sector+1) * sector
		d.memFile.WriteAt(p[:n], off)
		return n, errBroken
	}
	return d.memFile.WriteAt(p, off)
}

func (d *brokenDisk) Sync() error {
	if d.odds > 0 && d.all && d.r.Intn(d.odds) == 0 {
		return errBroken
	}
	return nil
}

// TestFailingStorage: after errors of the storage the file is sound, and every
// sector reads as before or after the write that failed. A session that lost
// metadata stops; one that lost payload goes on.
func TestFailingStorage(t *testing.T) {
	r := seeded(t)
	parent := createMem(t, &CreateOptions{Size: 6 * mib, BlockSize: mib})
	pf := openMem(t, parent, true)
	_, err := chainOf(t, pf).WriteAt(tagged(1, 0, 6*mib), 0)
	must(t, err)
	must(t, pf.Close())
	pf = openMem(t, parent, false)
	failed := 0
	for round := range soak(12) {
		o := &CreateOptions{Size: 6 * mib, BlockSize: mib}
		below, old := []*File{}, []byte(nil)
		if round%2 == 1 {
			o.Kind, o.Parent, o.ParentPath = Differencing, pf, "p"
			below = append(below, pf)
			old = tagged(1, 0, 6*mib)
		}
		d := &brokenDisk{memFile: createMem(t, o), r: r, all: round%4 >= 2}
		model := &crashModel{allowed: make([][]uint64, 6*mib/sector)}
		model.add(0, 6*mib, old)
		f, err := OpenStorage(d, d.size, &OpenOptions{Writable: true})
		must(t, err)
		c := chainOf(t, append([]*File{f}, below...)...)
		d.odds = 12
		for i := range 60 {
			off := r.Int63n(c.Size()) / sector * sector
			n := min((1+r.Int63n(600))*sector, c.Size()-off)
			tag := int64(i + 2)
			switch r.Intn(8) {
			case 0:
				model.add(off, n, nil)
				err = c.ZeroRange(off, n)
			case 1:
				err = c.Sync()
			default:
				model.add(off, n, tagged(tag, off, n))
				_, err = c.WriteAt(tagged(tag, off, n), off)
			}
			if err != nil && !errors.Is(err, errBroken) {
				t.Fatal(err)
			}
			if err != nil {
				failed++
			}
		}
		d.odds = 0
		// Sector bitmaps lie among the blocks: to lose one also ends the session.
		if err := f.Close(); err != nil && (!d.all && len(below) == 0 || !errors.Is(err, errBroken)) {
			t.Fatalf("Close: %v", err)
		}
		model.verify(t, readAll(t, c0(t, d.memFile, below)))
		compareNaive(t, r, c0(t, d.memFile, below), append([]*memFile{d.memFile}, mems(below, parent)...)...)
		checkNoErrors(t, d.memFile)
		w := openMem(t, d.memFile, true)
		must(t, w.Close())
		checkClean(t, d.memFile, d.memFile.size)
	}
	if failed == 0 {
		t.Fatal("nothing failed")
	}
}

// mems is the parent's file if there is a parent.
func mems(below []*File, parent *memFile) []*memFile {
	if len(below) == 0 {
		return nil
	}
	return []*memFile{parent}
}
