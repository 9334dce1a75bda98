package publish

import (
	"iter"

	"troy/image"
	"troy/vhdx"
)

// ChainDisk makes the disk to publish of a chain of VHDX files: of a base alone for Import, of a
// child with what it stands on for Add. The version in the store may be any file beneath the leaf;
// what the files above it name is what may have changed. The chain stays the caller's, must not be
// written meanwhile, and is read concurrently.
func ChainDisk(c *vhdx.Chain) *Disk {
	files := c.Files()
	d := &Disk{
		Reader: c, Size: c.Size(), SectorSize: files[0].Geometry().LogicalSectorSize,
		DataWriteGUID: files[0].Header().DataWriteGUID.String(),
		Data:          chainRanges(c, func(e vhdx.Extent) bool { return e.Kind == vhdx.Data }),
	}
	for _, f := range files[1:] {
		d.Parents = append(d.Parents, f.Header().DataWriteGUID.String())
	}
	d.Since = func(id string) (*Delta, error) {
		for i, p := range d.Parents {
			if sameGUID(p, id) {
				return chainDelta(c, files, i+1)
			}
		}
		return nil, nil
	}
	return d
}

// chainDelta is the difference that the first level files make to those below.
func chainDelta(c *vhdx.Chain, files []*vhdx.File, level int) (*Delta, error) {
	parent, err := vhdx.NewChain(files[level:]...)
	if err != nil {
		return nil, err
	}
	// An absent extent has the layer that was asked last: above level only if a file in between is
	// smaller and cuts off the parent's end.
	changed := chainRanges(c, func(e vhdx.Extent) bool { return e.Layer < level })
	return &Delta{Parent: parent, ParentSize: parent.Size(), Changed: changed}, nil
}

func chainRanges(c *vhdx.Chain, want func(vhdx.Extent) bool) iter.Seq2[image.Range, error] {
	return func(yield func(image.Range, error) bool) {
		for e, err := range c.Extents(0, c.Size()) {
			if err != nil {
				yield(image.Range{}, err)
				return
			}
			if want(e) && !yield(image.Range{Offset: e.Offset, Length: e.Length}, nil) {
				return
			}
		}
	}
}
