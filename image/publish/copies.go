package publish

import (
	"cmp"
	"context"
	"fmt"
	"hash/crc32"
	"iter"
	"slices"
	"sort"

	"troy/image"
	"troy/image/internal/layer"
	"troy/image/internal/pages"
	"troy/internal/progress"
)

// maxWanted bounds for how many new pages a place in the version below is looked for (8 GiB), and
// with it the memory: 16 bytes each, and 32 for each that is found. What is new beyond that is
// shipped.
const maxWanted = 2 << 20

// copyIndex says where the content of new pages stands in the version below. It is sorted by page.
type copyIndex []copyPair

type copyPair struct {
	page, source int64
	key          layer.Key // of the source
}

// find returns the entry of a page, len(c) if there is none.
func (c copyIndex) find(page int64) int {
	i := sort.Search(len(c), func(i int) bool { return c[i].page >= page })
	if i < len(c) && c[i].page == page {
		return i
	}
	return len(c)
}

// holds says that the content of a page stands elsewhere: the weak hash that found the place is not
// believed.
func (c copyIndex) holds(page int64, now []byte) bool {
	i := c.find(page)
	return i < len(c) && c[i].key == layer.KeyOf(now)
}

// runs splits pages that are all held into runs whose sources lie one after the other.
func (c copyIndex) runs(page, count int64) []foundRun {
	var runs []foundRun
	for i := c.find(page); count > 0; {
		j := i + 1
		for int64(j-i) < count && c[j].source == c[i].source+int64(j-i) {
			j++
		}
		r := &foundCopy{source: c[i].source, keys: layer.NewKeys(j - i)}
		for k := i; k < j; k++ {
			r.keys = append(r.keys, c[k].key[:]...)
		}
		n := int64(j - i)
		runs = append(runs, foundRun{page: page, count: n, kind: layer.Copied, copy: r})
		page, count, i = page+n, count-n, j
	}
	return runs
}

// weak is a cheap hash that says where to look; whether the pages are equal says layer.KeyOf. It
// does not vary: the output has to be the same each time.
func weak(page []byte) uint64 {
	t, half := crc32.MakeTable(crc32.Castagnoli), len(page)/2
	return uint64(crc32.Checksum(page[:half], t))<<32 | uint64(crc32.Checksum(page[half:], t))
}

type wanted struct {
	hash uint64
	page int64
}

// want is the set of new pages, sorted by hash, behind a bit field that answers most questions with
// no.
type want struct {
	list  []wanted
	seen  []uint64 // by the highest bits of the hash
	shift int
	found []uint64 // one bit for each of list
}

func newWant(list []wanted) *want {
	slices.SortFunc(list, func(a, b wanted) int { return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.page, b.page)) })
	w := &want{list: list, shift: 64 - 10, found: make([]uint64, len(list)/64+1)}
	for 1<<(64-w.shift) < 16*len(list) {
		w.shift--
	}
	w.seen = make([]uint64, 1<<(64-w.shift)/64)
	for _, p := range list {
		w.seen[p.hash>>w.shift/64] |= 1 << (p.hash >> w.shift % 64)
	}
	return w
}

func (w *want) has(hash uint64) bool {
	if w.seen[hash>>w.shift/64]>>(hash>>w.shift%64)&1 == 0 {
		return false
	}
	i := w.first(hash)
	return i < len(w.list) && w.list[i].hash == hash
}

func (w *want) first(hash uint64) int {
	return sort.Search(len(w.list), func(i int) bool { return w.list[i].hash >= hash })
}

// take gives a place to all wanted pages of a hash that have none yet: the first place serves.
func (w *want) take(p wanted, c copyIndex) copyIndex {
	for i := w.first(p.hash); i < len(w.list) && w.list[i].hash == p.hash; i++ {
		if w.found[i/64]>>(i%64)&1 == 0 {
			w.found[i/64] |= 1 << (i % 64)
			c = append(c, copyPair{page: w.list[i].page, source: p.page})
		}
	}
	return c
}

// findCopies reads the changed regions once to learn what is new, and then the weak hashes of all
// pages of the version below to see where it may stand already. Only regions in which something was
// found are read, hashed and compared with the map. Of several places the first is taken, so that
// the result depends on the content alone.
func (s *scan) findCopies(ctx context.Context, workers int, p progress.Start, st *store) (copyIndex, error) {
	var list []wanted
	collect := func(l []wanted) error {
		list = append(list, l[:min(len(l), maxWanted-len(list))]...)
		return nil
	}
	if err := inOrder(ctx, workers, p, "comparing", s.regions(), s.reads, s.wantedOf, collect); err != nil || len(list) == 0 {
		return nil, err
	}
	c, err := s.search(ctx, workers, p, newWant(list), st)
	if err != nil {
		return nil, err
	}
	if err := s.confirm(ctx, workers, p, c); err != nil {
		return nil, err
	}
	slices.SortFunc(c, func(a, b copyPair) int { return cmp.Compare(a.page, b.page) })
	return c, nil
}

// wantedOf returns the pages of a region that would be shipped.
func (s *scan) wantedOf(ctx context.Context, region int64) ([]wanted, error) {
	now, below, verdicts, err := s.compare(ctx, region)
	if err != nil {
		return nil, err
	}
	defer s.buffers.put(now)
	s.buffers.put(below)
	var list []wanted
	for i, v := range verdicts {
		if v == data {
			list = append(list, wanted{weak(now[i*image.PageSize : (i+1)*image.PageSize]), region*pages.PerRegion + int64(i)})
		}
	}
	return list, nil
}

// search looks at the hashes of all pages of the version below. Where the store has none, all of it
// is read, and they are kept for the next version.
func (s *scan) search(ctx context.Context, workers int, p progress.Start, w *want, st *store) (c copyIndex, err error) {
	take := func(r *regionHashes) {
		for i, hash := range r.hashes[:s.length(r.region)/image.PageSize] {
			page := r.region*pages.PerRegion + int64(i)
			if w.has(hash) && !s.parentMap.Undefined.Has(page) {
				c = w.take(wanted{hash, page}, c)
			}
		}
	}
	if s.places != nil {
		size := func(int64) int64 { return hashesSize }
		read := func(_ context.Context, region int64) (*regionHashes, error) {
			h, err := s.places.read(region)
			return &regionHashes{region, h}, err
		}
		err := inOrder(ctx, workers, p, "looking for what has moved", s.parentRegions(), size, read, func(r *regionHashes) error {
			take(r)
			return nil
		})
		return c, err
	}
	made, err := st.newPlaces("below", nil)
	if err != nil {
		return nil, err
	}
	defer made.discard()
	err = inOrder(ctx, workers, p, "looking for what has moved", s.parentRegions(), s.reads, s.hashBelow, func(r *regionHashes) error {
		take(r)
		return made.append(r.hashes)
	})
	if err == nil {
		s.places, err = made.reopen(s.parentMap, s.zeroSum)
	}
	return c, err
}

// regionHashes are the weak hashes of a region.
type regionHashes struct {
	region int64
	hashes *pageHashes
}

// hashBelow reads a region of the version below.
func (s *scan) hashBelow(ctx context.Context, region int64) (*regionHashes, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	below := s.buffers.get(s.length(region))
	defer s.buffers.put(below)
	if err := s.readBelow(below, region); err != nil {
		return nil, err
	}
	return &regionHashes{region, (&pageHashes{}).hash(below)}, nil
}

// confirm sorts c by source, checks the regions that sources lie in against the map of the version
// below, and notes the key of each source.
func (s *scan) confirm(ctx context.Context, workers int, p progress.Start, c copyIndex) error {
	slices.SortFunc(c, func(a, b copyPair) int { return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.page, b.page)) })
	groups := func(yield func(copyIndex, error) bool) {
		for rest := c; len(rest) > 0; {
			n, region := 1, rest[0].source/pages.PerRegion
			for n < len(rest) && rest[n].source/pages.PerRegion == region {
				n++
			}
			if !yield(rest[:n], nil) {
				return
			}
			rest = rest[n:]
		}
	}
	check := func(ctx context.Context, g copyIndex) (struct{}, error) {
		if err := ctx.Err(); err != nil {
			return struct{}{}, err
		}
		region := g[0].source / pages.PerRegion
		below := s.buffers.get(s.length(region))
		defer s.buffers.put(below)
		if err := s.readBelow(below, region); err != nil {
			return struct{}{}, err
		}
		for i := range g {
			at := (g[i].source - region*pages.PerRegion) * image.PageSize
			g[i].key = layer.KeyOf(below[at : at+image.PageSize])
		}
		return struct{}{}, s.checkBelow(below, region)
	}
	size := func(g copyIndex) int64 { return s.length(g[0].source / pages.PerRegion) }
	return inOrder(ctx, workers, p, "checking what has moved", groups, size, check, func(struct{}) error { return nil })
}

// parentRegions yields the regions of the version below that are not all zeros.
func (s *scan) parentRegions() iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		for r, sum := range s.parentMap.Sums {
			if sum != s.zeroSum && !yield(int64(r), nil) {
				return
			}
		}
	}
}

// searchNote says what the search for copies left out, "" for nothing.
func searchNote(f image.Figures) string {
	if f.Shipped+f.Copied <= maxWanted*image.PageSize {
		return ""
	}
	return fmt.Sprintf("more than %d MiB are new: beyond that no pages that stand elsewhere were looked for", int64(maxWanted*image.PageSize)>>20)
}
