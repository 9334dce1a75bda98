package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"iter"

	"troy/image"
	"troy/image/internal/layer"
	"troy/image/internal/pages"
	"troy/internal/block"
)

// scan is the comparison of a disk with the version below.
type scan struct {
	disk      *Disk
	delta     *Delta     // nil: version 1, everything is told
	parentMap *image.Map // of the version below; nil as delta is
	named     pages.Set  // pages that the child names (version 1: that may hold data and are in use)
	free      pages.Set  // pages that the filter calls unused
	compelled pages.Set  // used now, and undefined below or behind its end: told whatever the comparison says
	copies    copyIndex
	places    *places   // of the version below; nil: there are none, or not yet
	zeroSum   image.Sum // of a whole region of zeros
	buffers   *buffers
}

// foundRun is a run of one kind within one region.
type foundRun struct {
	page, count int64
	kind        layer.Kind
	data        []byte
	copy        *foundCopy
}

// foundCopy is where the pages of a run stand in the version below.
type foundCopy struct {
	source int64
	keys   layer.Keys
}

// found is what the scan says about one region.
type found struct {
	region    int64
	sum       image.Sum
	runs      []foundRun
	undefined pages.Set // all undefined pages of the region in the new version
	figures   image.Figures
	now       []byte      // what was read; the runs point into it
	hashes    *pageHashes // of its pages; nil: all are zeros
}

// verdict is what becomes of one page.
type verdict uint8

const (
	keep   verdict = iota // as below, not named
	equal                 // named, but as below
	free                  // named and unused; undefined below already
	hidden                // becomes undefined
	zero
	copied
	data
)

func newScan(disk *Disk, delta *Delta, parentMap *image.Map, unused pages.Set) (*scan, error) {
	s := &scan{disk: disk, delta: delta, parentMap: parentMap, free: unused, zeroSum: sha256.Sum256(make([]byte, image.RegionSize)), buffers: &buffers{}}
	var err error
	if delta == nil {
		s.named, err = pagesOf(disk.Data, disk.Size)
		s.named = pages.Subtract(s.named, unused)
		return s, err
	}
	if s.named, err = pagesOf(delta.Changed, disk.Size); err != nil {
		return nil, err
	}
	untold := parentMap.Undefined
	if end, now := parentMap.VirtualSize/image.PageSize, disk.Size/image.PageSize; end < now {
		grown := pages.Set{{Lo: end, Hi: now}}
		s.named, untold = pages.Union(s.named, grown), pages.Union(untold, grown)
	}
	s.compelled = pages.Subtract(untold, unused)
	return s, nil
}

// regions yields the numbers of the regions to look at: all for version 1, else those with a page
// that may have changed.
func (s *scan) regions() iter.Seq2[int64, error] {
	touched := pages.Union(s.named, s.compelled)
	if s.delta == nil {
		touched = pages.Set{{Lo: 0, Hi: s.disk.Size / image.PageSize}}
	}
	return func(yield func(int64, error) bool) {
		next := int64(0)
		for _, t := range touched {
			for r := max(next, t.Lo/pages.PerRegion); r*pages.PerRegion < t.Hi; r++ {
				if !yield(r, nil) {
					return
				}
				next = r + 1
			}
		}
	}
}

// reads returns how many bytes of a region are read: all, but in version 1 none of one that holds
// nothing in use.
func (s *scan) reads(region int64) int64 {
	if s.delta != nil {
		return s.length(region)
	}
	first := region * pages.PerRegion
	for range s.named.Within(first, first+s.length(region)/image.PageSize) {
		return s.length(region)
	}
	return 0
}

// length returns the bytes of a region.
func (s *scan) length(region int64) int64 {
	return min(image.RegionSize, s.disk.Size-region*image.RegionSize)
}

// look reads one region of the disk and of the version below, and judges every page.
func (s *scan) look(ctx context.Context, region int64) (*found, error) {
	f := &found{region: region}
	first, n := region*pages.PerRegion, s.length(region)
	if s.reads(region) == 0 {
		s.lookAtNothing(f, first, n)
		return f, ctx.Err()
	}
	now, below, verdicts, err := s.compare(ctx, region)
	if err != nil {
		return nil, err
	}
	if below != nil {
		if err := s.checkBelow(below, region); err != nil {
			return nil, err
		}
	}
	s.buffers.put(below)
	f.now, f.hashes = now, (&pageHashes{}).hash(now)
	s.collect(f, verdicts, now)
	f.figures.Scanned = n
	if s.unchanged(f, verdicts) {
		f.sum = s.parentMap.Sums[region]
	} else {
		f.mask(now)
	}
	return f, nil
}

// compare reads one region of the disk and of the version below, if there is one, and judges every
// page. What was read is not compared with the map.
func (s *scan) compare(ctx context.Context, region int64) (now, below []byte, verdicts []verdict, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, nil, err
	}
	n := s.length(region)
	now = s.buffers.get(n)
	if err := block.ReadFull(s.disk.Reader, now, region*image.RegionSize); err != nil {
		return nil, nil, nil, fmt.Errorf("image: reading bytes %d+%d of the disk: %w", region*image.RegionSize, n, err)
	}
	if s.delta != nil {
		below = s.buffers.get(n)
		if err := s.readBelow(below, region); err != nil {
			return nil, nil, nil, err
		}
	}
	verdicts = make([]verdict, n/image.PageSize)
	for i := range verdicts {
		at := i * image.PageSize
		page := now[at : at+image.PageSize]
		same := below != nil && bytes.Equal(page, below[at:at+image.PageSize])
		verdicts[i] = s.judge(region*pages.PerRegion+int64(i), page, same)
	}
	return now, below, verdicts, nil
}

// unchanged says that a region reads in the new version as it does in the one below.
func (s *scan) unchanged(f *found, verdicts []verdict) bool {
	if s.parentMap == nil || len(f.runs) > 0 {
		return false
	}
	first, undefined := f.region*pages.PerRegion, int64(0)
	for u := range s.parentMap.Undefined.Within(first, first+int64(len(verdicts))) {
		undefined += u.Hi - u.Lo
	}
	return undefined == f.undefined.Count() // none of them became another without a run
}

// lookAtNothing is the region of a first version in which nothing is in use: it is not read. What
// the filter does not name there is zeros.
func (s *scan) lookAtNothing(f *found, first, n int64) {
	end := first + n/image.PageSize
	for u := range s.free.Within(first, end) {
		f.undefined.Push(u.Lo, u.Hi)
		f.runs = append(f.runs, foundRun{page: u.Lo, count: u.Hi - u.Lo, kind: layer.Undefined})
		f.figures.Undefined += (u.Hi - u.Lo) * image.PageSize
	}
	at := first
	var runs []foundRun
	for _, r := range append(f.runs, foundRun{page: end}) {
		if r.page > at {
			runs = append(runs, foundRun{page: at, count: r.page - at, kind: layer.Zero})
			f.figures.Zero += (r.page - at) * image.PageSize
		}
		if r.count > 0 {
			runs = append(runs, r)
		}
		at = r.page + r.count
	}
	f.runs, f.figures.Changed, f.sum = runs, n, s.zeroSum
	if n != image.RegionSize {
		zeros := make([]byte, n)
		f.sum, f.hashes = sha256.Sum256(zeros), (&pageHashes{}).hash(zeros)
	}
}

// readBelow reads a region of the version below.
func (s *scan) readBelow(p []byte, region int64) error {
	if err := readZeroed(s.delta.Parent, p, region*image.RegionSize, s.delta.ParentSize); err != nil {
		return fmt.Errorf("image: reading bytes %d+%d of the parent: %w", region*image.RegionSize, len(p), err)
	}
	return nil
}

// checkBelow compares what was read of a region of the version below with that version's map, as
// far as that version's disk reaches.
func (s *scan) checkBelow(p []byte, region int64) error {
	left := s.parentMap.VirtualSize - region*image.RegionSize
	if left > 0 && !s.parentMap.Holds(region, p[:min(int64(len(p)), left)]) {
		return &ParentError{Region: region}
	}
	return nil
}

// judge decides about one page; same says that the version below has the same bytes there.
func (s *scan) judge(page int64, now []byte, same bool) verdict {
	compelled := s.compelled.Has(page)
	named := s.delta == nil || compelled || s.named.Has(page) || !same
	switch {
	case !named:
		return keep
	case s.free.Has(page):
		return s.judgeFree(page, same)
	case same && !compelled:
		return equal
	case block.IsZero(now):
		return zero
	case len(s.copies) > 0 && s.copies.holds(page, now):
		return copied
	}
	return data
}

func (s *scan) judgeFree(page int64, same bool) verdict {
	switch {
	case s.parentMap != nil && s.parentMap.Undefined.Has(page):
		return free
	case same && page < s.parentMap.VirtualSize/image.PageSize:
		return equal
	}
	return hidden
}

// collect turns the verdicts of a region into runs and figures.
func (s *scan) collect(f *found, verdicts []verdict, now []byte) {
	first := f.region * pages.PerRegion
	for i := 0; i < len(verdicts); {
		j := i + 1
		for j < len(verdicts) && verdicts[j] == verdicts[i] {
			j++
		}
		page, count := first+int64(i), int64(j-i)
		f.count(verdicts[i], count*image.PageSize)
		switch verdicts[i] {
		case hidden:
			f.runs = append(f.runs, foundRun{page: page, count: count, kind: layer.Undefined})
			f.undefined.Push(page, page+count)
		case free, keep:
			if s.parentMap != nil { // what was undefined below stays so
				for u := range s.parentMap.Undefined.Within(page, page+count) {
					f.undefined.Push(u.Lo, u.Hi)
				}
			}
		case zero:
			f.runs = append(f.runs, foundRun{page: page, count: count, kind: layer.Zero})
		case copied:
			f.runs = append(f.runs, s.copies.runs(page, count)...)
		case data:
			f.runs = append(f.runs, foundRun{page: page, count: count, kind: layer.Data, data: now[i*image.PageSize : j*image.PageSize]})
		}
		i = j
	}
}

func (f *found) count(v verdict, n int64) {
	g := &f.figures
	if v != keep {
		g.Changed += n
	}
	switch v {
	case equal:
		g.Equal += n
	case free, hidden:
		g.Undefined += n
	case zero:
		g.Zero += n
	case copied:
		g.Copied += n
	case data:
		g.Shipped += n
	}
}

// mask hashes the region as the map of the new version has it.
func (f *found) mask(now []byte) {
	f.sum = f.undefined.SumWithout(now, f.region*pages.PerRegion)
}
