package image

import (
	"troy/image/internal/fault"
	"troy/image/internal/pages"
)

// WholePages returns the pages of a disk of size bytes that lie entirely within ranges, which are in
// any order. It returns ErrInvalid for a range outside the disk.
func WholePages(ranges []Range, size int64) (pages.Set, error) {
	var list []pages.Span
	for _, r := range ranges {
		if r.Offset < 0 || r.Length < 0 || r.Offset > size-r.Length {
			return nil, fault.Invalidf("the filter names bytes %d+%d of a disk of %d bytes", r.Offset, r.Length, size)
		}
		if lo, hi := (r.Offset+PageSize-1)/PageSize, (r.Offset+r.Length)/PageSize; lo < hi {
			list = append(list, pages.Span{Lo: lo, Hi: hi})
		}
	}
	return pages.NewSet(list), nil
}
