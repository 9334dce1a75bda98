package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
)

// scan is the comparison of a disk with the version below.
type scan struct {
	disk      *Disk
	delta     *Delta // nil: version 1, everything is told
	parentMap *Map   // of the version below; nil as delta is
	named     spans  // pages that the child names (version 1: that may hold data)
	free      spans  // pages that the filter calls unused
	compelled spans  // undefined below and used now: told whatever the comparison says
	copies    copyIndex
	progress  Progress
	zeroSum   Sum // of a whole region of zeros
	buffers   *buffers
}

// foundRun is a run of one kind within one region.
type foundRun struct {
	page, count int64
	kind        runKind
	data        []byte
	copy        *foundCopy
}

// foundCopy is where the pages of a run stand in the version below.
type foundCopy struct {
	source int64
	keys   pageKeys
}

// found is what the scan says about one region.
type found struct {
	region    int64
	sum       Sum
	runs      []foundRun
	undefined spans // all undefined pages of the region in the new version
	figures   Figures
	now       []byte // what was read; the runs point into it
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

func newScan(disk *Disk, delta *Delta, parentMap *Map, unused spans, p Progress) (*scan, error) {
	s := &scan{disk: disk, delta: delta, parentMap: parentMap, free: unused, progress: p, zeroSum: sha256.Sum256(make([]byte, RegionSize)), buffers: &buffers{}}
	var err error
	if delta == nil {
		s.named, err = pagesOf(disk.Data, disk.Size)
		return s, err
	}
	if s.named, err = pagesOf(delta.Changed, disk.Size); err != nil {
		return nil, err
	}
	s.compelled = subtract(parentMap.undefined, unused)
	return s, nil
}

// regions yields the numbers of the regions to look at: all for version 1, else those with a page that may have changed.
func (s *scan) regions() iter.Seq2[int64, error] {
	touched := union(s.named, s.compelled)
	if s.delta == nil {
		touched = spans{{0, s.disk.Size / PageSize}}
	}
	return func(yield func(int64, error) bool) {
		next := int64(0)
		for _, t := range touched {
			for r := max(next, t.lo/pagesPerRegion); r*pagesPerRegion < t.hi; r++ {
				if !yield(r, nil) {
					return
				}
				next = r + 1
			}
		}
	}
}

// length returns the bytes of a region.
func (s *scan) length(region int64) int64 { return min(RegionSize, s.disk.Size-region*RegionSize) }

// look reads one region of the disk and of the version below, and judges every page.
func (s *scan) look(ctx context.Context, region int64) (*found, error) {
	f := &found{region: region}
	first, n := region*pagesPerRegion, s.length(region)
	if s.delta == nil && !s.touches(s.named, first, n) {
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
	f.now = now
	s.collect(f, verdicts, now)
	f.figures.Scanned = n
	if s.unchanged(f, verdicts) {
		f.sum = s.parentMap.sums[region]
	} else {
		f.mask(now)
	}
	progress(s.progress, n)
	return f, nil
}

// compare reads one region of the disk and of the version below, if there is one, and judges every page. What was read is not compared with the map.
func (s *scan) compare(ctx context.Context, region int64) (now, below []byte, verdicts []verdict, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, nil, err
	}
	n := s.length(region)
	now = s.buffers.get(n)
	if err := readFull(s.disk.Reader, now, region*RegionSize, s.disk.Size); err != nil {
		return nil, nil, nil, fmt.Errorf("image: reading bytes %d+%d of the disk: %w", region*RegionSize, n, err)
	}
	if s.delta != nil {
		below = s.buffers.get(n)
		if err := s.readBelow(below, region); err != nil {
			return nil, nil, nil, err
		}
	}
	verdicts = make([]verdict, n/PageSize)
	for i := range verdicts {
		at := i * PageSize
		page := now[at : at+PageSize]
		same := below != nil && bytes.Equal(page, below[at:at+PageSize])
		verdicts[i] = s.judge(region*pagesPerRegion+int64(i), page, same)
	}
	return now, below, verdicts, nil
}

// unchanged says that a region reads in the new version as it does in the one below.
func (s *scan) unchanged(f *found, verdicts []verdict) bool {
	if s.parentMap == nil || len(f.runs) > 0 {
		return false
	}
	first, undefined := f.region*pagesPerRegion, int64(0)
	for u := range s.parentMap.undefined.within(first, first+int64(len(verdicts))) {
		undefined += u.hi - u.lo
	}
	return undefined == f.undefined.pages() // none of them became another without a run
}

func (s *scan) touches(set spans, first, n int64) bool {
	for range set.within(first, first+n/PageSize) {
		return true
	}
	return false
}

// lookAtNothing is the region of a first version in which the file holds no data: zeros, without reading.
func (s *scan) lookAtNothing(f *found, first, n int64) {
	end := first + n/PageSize
	for u := range s.free.within(first, end) {
		f.undefined.push(u.lo, u.hi)
		f.runs = append(f.runs, foundRun{page: u.lo, count: u.hi - u.lo, kind: runUndefined})
		f.figures.Undefined += (u.hi - u.lo) * PageSize
	}
	at := first
	var runs []foundRun
	for _, r := range append(f.runs, foundRun{page: end}) {
		if r.page > at {
			runs = append(runs, foundRun{page: at, count: r.page - at, kind: runZero})
			f.figures.Zero += (r.page - at) * PageSize
		}
		if r.count > 0 {
			runs = append(runs, r)
		}
		at = r.page + r.count
	}
	f.runs, f.figures.Changed, f.sum = runs, n, s.zeroSum
	if n != RegionSize {
		f.sum = sha256.Sum256(make([]byte, n))
	}
	progress(s.progress, n)
}

// readBelow reads a region of the version below.
func (s *scan) readBelow(p []byte, region int64) error {
	if err := readFull(s.delta.Parent, p, region*RegionSize, s.delta.ParentSize); err != nil {
		return fmt.Errorf("image: reading bytes %d+%d of the parent: %w", region*RegionSize, len(p), err)
	}
	return nil
}

// checkBelow compares what was read of a region of the version below with that version's map.
func (s *scan) checkBelow(p []byte, region int64) error {
	if sumDefined(p, region*pagesPerRegion, s.parentMap.undefined) != s.parentMap.sums[region] {
		return &ParentError{Region: region}
	}
	return nil
}

// sumDefined hashes a region with its undefined pages as zeros; p is not changed.
func sumDefined(p []byte, first int64, undefined spans) Sum {
	h, at := sha256.New(), int64(0)
	for u := range undefined.within(first, first+int64(len(p))/PageSize) {
		h.Write(p[at : (u.lo-first)*PageSize])
		h.Write(make([]byte, (u.hi-u.lo)*PageSize))
		at = (u.hi - first) * PageSize
	}
	h.Write(p[at:])
	return Sum(h.Sum(nil))
}

// judge decides about one page; same says that the version below has the same bytes there.
func (s *scan) judge(page int64, now []byte, same bool) verdict {
	compelled := s.compelled.has(page)
	named := s.delta == nil || compelled || s.named.has(page) || !same
	switch {
	case !named:
		return keep
	case s.free.has(page):
		return s.judgeFree(page, same)
	case same && !compelled:
		return equal
	case zeros(now):
		return zero
	case len(s.copies) > 0 && s.copies.holds(page, now):
		return copied
	}
	return data
}

func (s *scan) judgeFree(page int64, same bool) verdict {
	switch {
	case s.parentMap != nil && s.parentMap.undefined.has(page):
		return free
	case same:
		return equal
	}
	return hidden
}

// collect turns the verdicts of a region into runs and figures.
func (s *scan) collect(f *found, verdicts []verdict, now []byte) {
	first := f.region * pagesPerRegion
	for i := 0; i < len(verdicts); {
		j := i + 1
		for j < len(verdicts) && verdicts[j] == verdicts[i] {
			j++
		}
		page, count := first+int64(i), int64(j-i)
		f.count(verdicts[i], count*PageSize)
		switch verdicts[i] {
		case hidden:
			f.runs = append(f.runs, foundRun{page: page, count: count, kind: runUndefined})
			f.undefined.push(page, page+count)
		case free, keep:
			if s.parentMap != nil { // what was undefined below stays so
				for u := range s.parentMap.undefined.within(page, page+count) {
					f.undefined.push(u.lo, u.hi)
				}
			}
		case zero:
			f.runs = append(f.runs, foundRun{page: page, count: count, kind: runZero})
		case copied:
			f.runs = append(f.runs, s.copies.runs(page, count)...)
		case data:
			f.runs = append(f.runs, foundRun{page: page, count: count, kind: runData, data: now[i*PageSize : j*PageSize]})
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
	f.sum = sumDefined(now, f.region*pagesPerRegion, f.undefined)
}
