package vhdx

import (
	"fmt"
	"iter"
)

// ExtentKind says what a range of a virtual disk is.
type ExtentKind uint8

// Kinds of extents. All but Data read zero.
const (
	Data      ExtentKind = iota // content in a file
	Zero                        // ZERO
	Unmapped                    // UNMAPPED
	Undefined                   // UNDEFINED
	Absent                      // no file in the chain holds it
)

// String returns the name of the kind in lower case.
func (k ExtentKind) String() string {
	switch k {
	case Data:
		return "data"
	case Zero:
		return "zero"
	case Unmapped:
		return "unmapped"
	case Undefined:
		return "undefined"
	case Absent:
		return "absent"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Extent is a range of the virtual disk that is uniform in kind, layer and,
// for Data, contiguous in a file.
type Extent struct {
	Offset     int64 // bytes of the virtual disk
	Length     int64 // bytes
	Kind       ExtentKind
	Layer      int   // the layer that decided: 0 is the leaf; for Absent the last layer that was asked
	FileOffset int64 // for Data: place in the file of that layer
}

// Extents returns the extents of a range, ascending, without gaps, and as long
// as they can be; the part of the range outside the disk is left out. The
// sequence ends after an error. Writing while it runs gives extents of before
// or after.
func (c *Chain) Extents(off, length int64) iter.Seq2[Extent, error] {
	return c.extents(off, length, Absent)
}

// extents is Extents with a chosen kind for what lies past the end of a
// smaller parent: it hides what stands below, which matters to a merge.
func (c *Chain) extents(off, length int64, past ExtentKind) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		off, length := max(off, 0), length+min(off, 0)
		length = min(length, c.Size()-off)
		var cur Extent
		for length > 0 {
			e, err := c.extentAt(off, length, past)
			if err != nil {
				if cur.Length == 0 || yield(cur, nil) {
					yield(Extent{}, err)
				}
				return
			}
			if cur.Length > 0 && cur.joins(e) {
				cur.Length += e.Length
			} else {
				if cur.Length > 0 && !yield(cur, nil) {
					return
				}
				cur = e
			}
			off, length = off+e.Length, length-e.Length
		}
		if cur.Length > 0 {
			yield(cur, nil)
		}
	}
}

// joins reports whether n continues e.
func (e *Extent) joins(n Extent) bool {
	return e.Kind == n.Kind && e.Layer == n.Layer && (e.Kind != Data || e.FileOffset+e.Length == n.FileOffset)
}

// extentAt returns an extent that starts at off, of at most n bytes.
func (c *Chain) extentAt(off, n int64, past ExtentKind) (Extent, error) {
	for layer, f := range c.files {
		e, through, err := f.extentAt(off, n, past)
		if err != nil {
			return Extent{}, err
		}
		n, e.Layer = e.Length, layer
		if !through {
			return e, nil
		}
	}
	return Extent{Offset: off, Length: n, Kind: Absent, Layer: len(c.files) - 1}, nil
}

// extentAt is the view of one layer; through means that its parent decides.
func (f *File) extentAt(off, n int64, past ExtentKind) (e Extent, through bool, err error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return e, false, ErrClosed
	}
	if off >= f.geo.VirtualDiskSize { // the files below are not asked: it reads zero
		return Extent{Offset: off, Length: n, Kind: past}, false, nil
	}
	m, err := f.lookup(off, min(n, f.geo.VirtualDiskSize-off))
	if err != nil {
		return e, false, err
	}
	e = Extent{Offset: off, Length: m.length, FileOffset: m.off}
	switch {
	case m.inFile:
		return e, false, nil
	case m.state == PayloadZero:
		e.Kind = Zero
	case m.state == PayloadUnmapped:
		e.Kind = Unmapped
	case m.state == PayloadUndefined:
		e.Kind = Undefined
	default:
		e.Kind = Absent
		return e, f.geo.Differencing, nil
	}
	return e, false, nil
}
