// Package pages has sets of pages of a virtual disk.
package pages

import (
	"cmp"
	"crypto/sha256"
	"iter"
	"slices"
	"sort"

	"troy/image/internal/fault"
	"troy/internal/block"
	"troy/internal/digest"
)

// The units of a disk, in bytes, and how many pages a region has.
const (
	Size      = 4096
	Region    = 1 << 20
	PerRegion = Region / Size
)

// MaxDisk is the largest virtual disk of the VHDX format, in bytes (MS-VHDX 2.6.2.2).
const MaxDisk = 64 << 40

// CheckDisk returns ErrInvalid for a size in bytes that no disk of an image can have.
func CheckDisk(n int64) error {
	if n <= 0 || n%Size != 0 || n > MaxDisk {
		return fault.Invalidf("virtual disk of %d bytes: it must be a multiple of %d, at most %d", n, Size, int64(MaxDisk))
	}
	return nil
}

// Regions returns how many regions a disk of that size has.
func Regions(virtualSize int64) int64 { return block.RoundUp(virtualSize, Region) / Region }

// Span is a half-open range of page numbers.
type Span struct{ Lo, Hi int64 }

// Set is a set of pages: sorted, disjoint, never touching. A set that has been built is not
// changed: others may share it.
type Set []Span

// NewSet makes a set of ranges in any order, in the place of the argument.
func NewSet(list []Span) Set {
	slices.SortFunc(list, func(a, b Span) int { return cmp.Compare(a.Lo, b.Lo) })
	s := Set(list[:0])
	for _, r := range list {
		s.Push(r.Lo, r.Hi)
	}
	return s
}

// Push adds a range that does not start before the last one.
func (s *Set) Push(lo, hi int64) {
	if lo >= hi {
		return
	}
	if n := len(*s); n > 0 && lo <= (*s)[n-1].Hi {
		(*s)[n-1].Hi = max((*s)[n-1].Hi, hi)
		return
	}
	*s = append(*s, Span{lo, hi})
}

// Count returns how many pages the set has.
func (s Set) Count() (n int64) {
	for _, r := range s {
		n += r.Hi - r.Lo
	}
	return n
}

// from returns the index of the first range that ends after page.
func (s Set) from(page int64) int {
	return sort.Search(len(s), func(i int) bool { return s[i].Hi > page })
}

// Has reports whether a page is in the set.
func (s Set) Has(page int64) bool {
	i := s.from(page)
	return i < len(s) && s[i].Lo <= page
}

// Within yields the parts of the set that lie in [lo, hi).
func (s Set) Within(lo, hi int64) iter.Seq[Span] {
	return func(yield func(Span) bool) {
		for _, r := range s[s.from(lo):] {
			if r.Lo >= hi || !yield(Span{max(r.Lo, lo), min(r.Hi, hi)}) {
				return
			}
		}
	}
}

// Union returns the pages of both sets.
func Union(a, b Set) Set {
	if len(b) == 0 {
		return a
	}
	return NewSet(slices.Concat(a, b))
}

// Subtract returns the pages of a that are not in b.
func Subtract(a, b Set) Set {
	var out Set
	for _, r := range a {
		lo := r.Lo
		for c := range b.Within(r.Lo, r.Hi) {
			out.Push(lo, c.Lo)
			lo = c.Hi
		}
		out.Push(lo, r.Hi)
	}
	return out
}

// SumWithout hashes the pages in p, the first of which has the number first, with those of the set
// taken as zeros. p is not changed.
func (s Set) SumWithout(p []byte, first int64) digest.Sum {
	h, at := sha256.New(), int64(0)
	for u := range s.Within(first, first+int64(len(p))/Size) {
		h.Write(p[at : (u.Lo-first)*Size])
		h.Write(make([]byte, (u.Hi-u.Lo)*Size))
		at = (u.Hi - first) * Size
	}
	h.Write(p[at:])
	return digest.Sum(h.Sum(nil))
}
