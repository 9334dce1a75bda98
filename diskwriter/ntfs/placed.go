package ntfs

import (
	"fmt"
	"io"
	"slices"

	"troy/internal/block"
)

// solid is a file whose content fills clusters of its own: bytes written there are its content and
// nothing else.
type solid struct {
	n    *inode
	d    attribute // the first segment of its content
	runs []Run
}

// solid finds the file at path and refuses it, as FileError, if its content does not lie in clusters
// of its own from the first to the last byte.
func (v *Volume) solid(path string) (*solid, error) {
	n, parent, err := v.lookup(path)
	if err != nil {
		return nil, err
	}
	fail := func(err error, format string, a ...any) (*solid, error) {
		return nil, &FileError{Path: path, Err: err, Detail: fmt.Sprintf(format, a...)}
	}
	if err := v.checkKind(n, parent); err != nil {
		return fail(err, "")
	}
	segs := n.segments(attrData, "")
	if len(segs) == 0 {
		return nil, corrupt(n.what(), -1, "no $DATA")
	}
	d := segs[0]
	switch {
	case d.resident:
		return fail(ErrResident, "%d bytes", len(d.value))
	case anyFlag(segs, flagEncrypted):
		return fail(ErrEncrypted, "")
	case anyFlag(segs, flagCompressed):
		return fail(ErrCompressed, "")
	case anyFlag(segs, flagSparse):
		return fail(ErrSparse, "")
	case d.initialized != d.size:
		return fail(ErrValidLength, "%d of %d bytes", d.initialized, d.size)
	}
	runs, err := v.runs(n, segs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if slices.ContainsFunc(runs, Run.Hole) {
		return fail(ErrSparse, "a hole")
	}
	if err := v.checkOwned(runs); err != nil {
		err.Path = path
		return nil, err
	}
	return &solid{n, d, runs}, nil
}

// Span is a piece of the volume in bytes.
type Span struct{ Offset, Length int64 }

// PlacedFile is a file of which is known where on the volume each byte lies. Its methods may be
// called concurrently.
type PlacedFile struct{ at *stream }

// Place finds out where the content of the file at path lies. It refuses what Map refuses, but takes
// a file of any size: it is for single bytes that are to be overwritten by somebody else.
func (v *Volume) Place(path string) (*PlacedFile, error) {
	c, err := v.solid(path)
	if err != nil {
		return nil, err
	}
	return &PlacedFile{v.newStream(c.runs, c.d.size, c.d.size)}, nil
}

// Size returns the size of the content in bytes.
func (f *PlacedFile) Size() int64 { return f.at.size }

// ReadAt implements io.ReaderAt over the content.
func (f *PlacedFile) ReadAt(p []byte, off int64) (int, error) { return f.at.ReadAt(p, off) }

// Bytes reads n bytes at off, all of them or none.
func (f *PlacedFile) Bytes(off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off > f.at.size-n {
		return nil, io.ErrUnexpectedEOF
	}
	b := make([]byte, n)
	return b, block.ReadFull(f.at, b, off)
}

// Spans returns where on the volume n bytes at off of the content lie, in their order; nil if they
// are not all within the content.
func (f *PlacedFile) Spans(off, n int64) []Span {
	if off < 0 || n <= 0 || off > f.at.size-n {
		return nil
	}
	var out []Span
	for n > 0 {
		pos, left := f.at.locate(off)
		if pos < 0 || left == 0 {
			return nil
		}
		left = min(left, n)
		out = append(out, Span{pos, left})
		off, n = off+left, n-left
	}
	return out
}
