package image

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"sort"
)

// copyIndex says where the content of new pages stands in the version below. It is sorted by page.
type copyIndex []copyPair

type copyPair struct{ page, source int64 }

func (c copyIndex) find(page int64) int {
	return sort.Search(len(c), func(i int) bool { return c[i].page >= page })
}

func (c copyIndex) has(page int64) bool {
	i := c.find(page)
	return i < len(c) && c[i].page == page
}

// runs splits pages that are all in the index, with the content b, into runs whose sources lie one after the other.
func (c copyIndex) runs(page int64, b []byte) []foundRun {
	var runs []foundRun
	for i := c.find(page); len(b) > 0; {
		j := i + 1
		for j-i < len(b)/PageSize && c[j].source == c[i].source+int64(j-i) {
			j++
		}
		n := int64(j - i)
		r := &copyRecord{source: c[i].source}
		for k := range n {
			r.keys = append(r.keys, keyOf(b[k*PageSize:(k+1)*PageSize]))
		}
		runs = append(runs, foundRun{page: page, count: n, kind: runCopy, copy: r})
		page, b, i = page+n, b[n*PageSize:], j
	}
	return runs
}

type wanted struct {
	page int64
	key  pageKey
}

// findCopies reads the changed regions once to learn what is new, then the version below to see where it stands already.
// Of several places the first is taken, so that the result depends on the content alone.
func (s *scan) findCopies(ctx context.Context, workers int) (copyIndex, error) {
	var want []wanted
	dry := *s
	dry.progress = nil
	collect := func(l []wanted) error { want = append(want, l...); return nil }
	if err := ordered(ctx, workers, s.regions(), dry.wantedOf, collect); err != nil {
		return nil, err
	}
	place := make(map[pageKey]int64, len(want))
	for _, w := range want {
		place[w.key] = -1
	}
	if len(place) == 0 {
		return nil, nil
	}
	note := func(l []wanted) error {
		for _, w := range l {
			if at, ok := place[w.key]; ok && at < 0 {
				place[w.key] = w.page
			}
		}
		return nil
	}
	if err := ordered(ctx, workers, s.parentRegions(), s.standing, note); err != nil {
		return nil, err
	}
	var c copyIndex
	for _, w := range want {
		if src := place[w.key]; src >= 0 {
			c = append(c, copyPair{w.page, src})
		}
	}
	slices.SortFunc(c, func(a, b copyPair) int { return cmp.Compare(a.page, b.page) })
	return c, nil
}

// wantedOf returns the pages of a region that would be shipped.
func (s *scan) wantedOf(ctx context.Context, region int64) ([]wanted, error) {
	f, err := s.look(ctx, region)
	if err != nil {
		return nil, err
	}
	var list []wanted
	for _, r := range f.runs {
		for i := int64(0); r.kind == runData && i < r.count; i++ {
			list = append(list, wanted{r.page + i, keyOf(r.data[i*PageSize : (i+1)*PageSize])})
		}
	}
	return list, nil
}

// standing returns the defined pages of a region of the version below that are not zeros.
func (s *scan) standing(ctx context.Context, region int64) ([]wanted, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	below := make([]byte, s.length(region))
	if err := s.readBelow(below, region); err != nil {
		return nil, err
	}
	var list []wanted
	for i := int64(0); i < int64(len(below))/PageSize; i++ {
		page := region*pagesPerRegion + i
		b := below[i*PageSize : (i+1)*PageSize]
		if s.parentMap.undefined.has(page) || zeros(b) {
			continue
		}
		list = append(list, wanted{page, keyOf(b)})
	}
	return list, nil
}

// parentRegions yields the regions of the version below that are not all zeros.
func (s *scan) parentRegions() iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		for r, sum := range s.parentMap.sums {
			if sum != s.zeroSum && !yield(int64(r), nil) {
				return
			}
		}
	}
}
