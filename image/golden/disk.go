package golden

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"troy/image"
	"troy/image/capture"
	"troy/image/publish"
	"troy/internal/block"
)

// Disk is the disk of a golden PC: a version with a capture over it. Its methods may be called
// concurrently, but for Clear.
type Disk struct {
	c     *capture.Capture
	below *image.VersionReader
	old   *cached // the version below
	now   *cached // with the capture, and without the edits
	edits []edit  // sorted, none touches another
}

// edit is bytes that are written over.
type edit struct {
	off  int64
	data []byte
}

func (e *edit) end() int64 { return e.off + int64(len(e.data)) }

// Open joins a capture with the version in src that it stands on. All reads end with ctx. Errors:
// *BaseError, image.ErrNotFound, image.ErrInvalid, those of reading.
func Open(ctx context.Context, src image.Source, c *capture.Capture) (*Disk, error) {
	a := &c.About
	x, err := image.LoadIndex(ctx, src, a.Image)
	if err != nil {
		return nil, err
	}
	if newest := x.Latest(); newest != a.Version {
		return nil, &BaseError{Image: a.Image, Have: a.Version, Newest: newest}
	}
	below, err := image.OpenVersion(ctx, src, a.Image, a.Version)
	if err != nil {
		return nil, err
	}
	m := below.Manifest()
	if m.SHA256 != a.Manifest {
		return nil, &BaseError{Image: a.Image, Have: a.Version, Newest: a.Version, Other: true}
	}
	if m.VirtualSize != a.VirtualSize || m.SectorSize != a.SectorSize {
		return nil, fmt.Errorf("%w: the capture is of a disk of %d bytes with sectors of %d, %s version %d of %d with %d", image.ErrInvalid,
			a.VirtualSize, a.SectorSize, a.Image, a.Version, m.VirtualSize, m.SectorSize)
	}
	d := &Disk{c: c, below: below, old: newCached(below, a.VirtualSize)}
	d.now = newCached(overlay{c, below}, a.VirtualSize)
	return d, nil
}

// Below is the manifest of the version that the capture stands on.
func (d *Disk) Below() *image.Manifest { return d.below.Manifest() }

// ReadAt implements io.ReaderAt over the disk.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.now.ReadAt(p, off)
	i, _ := slices.BinarySearchFunc(d.edits, off, func(e edit, off int64) int { return cmp.Compare(e.end(), off+1) })
	for ; i < len(d.edits) && d.edits[i].off < off+int64(n); i++ {
		e := &d.edits[i]
		from := max(e.off, off)
		copy(p[from-off:n], e.data[from-e.off:])
	}
	return n, err
}

// Publish returns the disk to publish.
func (d *Disk) Publish() *publish.Disk {
	m := d.below.Manifest()
	return &publish.Disk{
		Reader: d, Size: m.VirtualSize, SectorSize: m.SectorSize, DataWriteGUID: d.c.ID, Parents: []string{m.DataWriteGUID},
		Since: func(id string) (*publish.Delta, error) {
			if !strings.EqualFold(id, m.DataWriteGUID) {
				return nil, nil
			}
			return &publish.Delta{Parent: d.below, ParentSize: m.VirtualSize, Changed: d.changed}, nil
		},
	}
}

// changed yields the pages that the capture names, and those that Clear wrote to, ascending.
func (d *Disk) changed(yield func(image.Range, error) bool) {
	edits := d.edits
	give := func(before int64) bool {
		for ; len(edits) > 0 && edits[0].off < before; edits = edits[1:] {
			if !yield(image.Range{Offset: edits[0].off, Length: int64(len(edits[0].data))}, nil) {
				return false
			}
		}
		return true
	}
	for i := range d.c.Pieces {
		p := &d.c.Pieces[i]
		for page := range capture.PerRegion {
			at := p.Region*image.RegionSize + int64(page)*image.PageSize
			if !p.Data.Has(page) && !p.Unused.Has(page) {
				continue
			}
			if !give(at) || !yield(image.Range{Offset: at, Length: image.PageSize}, nil) {
				return
			}
		}
	}
	give(d.below.Size())
}

// overlay reads the pages of a capture over a version.
type overlay struct {
	c     *capture.Capture
	below io.ReaderAt
}

// ReadAt implements io.ReaderAt. Package cached and publish read whole pages alone.
func (o overlay) ReadAt(p []byte, off int64) (int, error) {
	n, err := o.below.ReadAt(p, off)
	if err != nil && err != io.EOF {
		return n, err
	}
	end := off + int64(n)
	i, _ := slices.BinarySearchFunc(o.c.Pieces, off/image.RegionSize, func(m capture.Masks, r int64) int { return cmp.Compare(m.Region, r) })
	for ; i < len(o.c.Pieces) && o.c.Pieces[i].Region*image.RegionSize < end; i++ {
		if perr := o.piece(&o.c.Pieces[i], p[:n], off); perr != nil {
			return 0, perr
		}
	}
	return n, err
}

// piece puts what a piece has into p, which begins at off.
func (o overlay) piece(m *capture.Masks, p []byte, off int64) error {
	for page := range capture.PerRegion {
		at := m.Region*image.RegionSize + int64(page)*image.PageSize
		lo, hi := max(at, off), min(at+image.PageSize, off+int64(len(p)))
		if lo >= hi {
			continue
		}
		part := p[lo-off : hi-off]
		switch {
		case m.Data.Has(page):
			if err := block.ReadFull(o.c.Pages, part, lo); err != nil {
				return fmt.Errorf("reading the capture at byte %d: %w", lo, err)
			}
		case m.Unused.Has(page): // nothing uses it, and it is no longer what it was
			for i := range part {
				part[i] ^= 0xff
			}
		}
	}
	return nil
}
