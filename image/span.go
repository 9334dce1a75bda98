package image

import (
	"cmp"
	"iter"
	"slices"
	"sort"
)

// span is a half-open range of page numbers.
type span struct{ lo, hi int64 }

// spans is a set of pages: sorted, disjoint, never touching. A set that has been built is not changed: others may share it.
type spans []span

// push adds a range that does not start before the last one.
func (s *spans) push(lo, hi int64) {
	if lo >= hi {
		return
	}
	if n := len(*s); n > 0 && lo <= (*s)[n-1].hi {
		(*s)[n-1].hi = max((*s)[n-1].hi, hi)
		return
	}
	*s = append(*s, span{lo, hi})
}

// newSpans makes a set of ranges in any order, in the place of the argument.
func newSpans(list []span) spans {
	slices.SortFunc(list, func(a, b span) int { return cmp.Compare(a.lo, b.lo) })
	s := spans(list[:0])
	for _, r := range list {
		s.push(r.lo, r.hi)
	}
	return s
}

// pages counts the pages of the set.
func (s spans) pages() (n int64) {
	for _, r := range s {
		n += r.hi - r.lo
	}
	return n
}

// from returns the index of the first range that ends after page.
func (s spans) from(page int64) int {
	return sort.Search(len(s), func(i int) bool { return s[i].hi > page })
}

func (s spans) has(page int64) bool {
	i := s.from(page)
	return i < len(s) && s[i].lo <= page
}

// within yields the parts of the set that lie in [lo, hi).
func (s spans) within(lo, hi int64) iter.Seq[span] {
	return func(yield func(span) bool) {
		for _, r := range s[s.from(lo):] {
			if r.lo >= hi || !yield(span{max(r.lo, lo), min(r.hi, hi)}) {
				return
			}
		}
	}
}

func union(a, b spans) spans {
	if len(b) == 0 {
		return a
	}
	return newSpans(slices.Concat(a, b))
}

// subtract returns the pages of a that are not in b.
func subtract(a, b spans) spans {
	var out spans
	for _, r := range a {
		lo := r.lo
		for c := range b.within(r.lo, r.hi) {
			out.push(lo, c.lo)
			lo = c.hi
		}
		out.push(lo, r.hi)
	}
	return out
}
