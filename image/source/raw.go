package source

import (
	"context"
	"fmt"
	"iter"

	"troy/image"
	"troy/vhdx"
	"troy/vhdx/foreign"
)

// raw is a file that is the disk byte by byte.
type raw struct{ path string }

// Kind implements Source.
func (raw) Kind() string { return "raw disk" }

// Open implements Source.
func (r raw) Open(context.Context, *Options) (*Disk, error) {
	f, err := vhdx.OpenRaw(r.path)
	if err != nil {
		return nil, err
	}
	return rawDisk(f, r.path)
}

// rawDisk makes a disk of an opened file, or closes it.
func rawDisk(f *vhdx.Raw, path string) (*Disk, error) {
	sector, err := foreign.SectorSize(f)
	if err == nil && sector == 0 {
		err = fmt.Errorf("%w: %s has no partition table", ErrUnknown, path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return newDisk(f, f.Size(), sector, dataOf(f), f), nil
}

// dataOf yields what a sparse file holds.
func dataOf(f *vhdx.Raw) iter.Seq2[image.Range, error] {
	return func(yield func(image.Range, error) bool) {
		for e, err := range f.Extents(0, f.Size()) {
			if err == nil && e.Kind != vhdx.Data {
				continue
			}
			if !yield(image.Range{Offset: e.Offset, Length: e.Length}, err) || err != nil {
				return
			}
		}
	}
}
