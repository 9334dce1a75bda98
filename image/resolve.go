package image

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"

	"troy/image/internal/fault"
	"troy/image/internal/layer"
	"troy/image/internal/pages"
)

// resolver finds where the content of pages of a version lies. It reads a version's manifest and
// table once.
type resolver struct {
	l         *loader
	x         *Index
	manifests map[int]*Manifest
	tables    map[int]*layer.Table
	// fork is the version down from which the disk's own pages serve, except moved, which layers of
	// the way back have written; 0 for none.
	fork  int
	moved pages.Set
	keep  bool // tables, for several plans
}

// need is a run of pages: the content of page src of the version looked at must go to page dst of
// the disk. keys are there if the need comes from a copy.
type need struct {
	src, dst, count int64
	keys            layer.Keys
}

// part returns the pages from i to j.
func (n need) part(i, j int64) need {
	p := need{src: n.src + i, dst: n.dst + i, count: j - i}
	if n.keys != nil {
		p.keys = n.keys.Part(i, j)
	}
	return p
}

func (r *resolver) manifest(ctx context.Context, version int) (*Manifest, error) {
	if m := r.manifests[version]; m != nil {
		return m, nil
	}
	e, err := r.x.Entry(version)
	if err != nil {
		return nil, err
	}
	m, err := r.l.manifest(ctx, e)
	if err != nil {
		return nil, err
	}
	if r.manifests == nil {
		r.manifests = map[int]*Manifest{}
	}
	for _, o := range r.manifests { // a disk may grow from version to version, and does nothing else
		if cmp.Compare(o.VirtualSize, m.VirtualSize)*cmp.Compare(o.Version, m.Version) < 0 || o.SectorSize != m.SectorSize {
			return nil, r.l.fault(e.Manifest.Name, fault.Corruptf("versions %d and %d have disks of different size", o.Version, m.Version))
		}
	}
	r.manifests[version] = m
	return m, nil
}

func (r *resolver) table(ctx context.Context, version int) (*layer.Table, error) {
	if t := r.tables[version]; t != nil {
		return t, nil
	}
	m, err := r.manifest(ctx, version)
	if err != nil {
		return nil, err
	}
	t, err := r.l.table(ctx, m)
	if err == nil && r.keep {
		r.tables[version] = t
	}
	return t, err
}

// path returns the versions whose layers lie between have and want: up to have and up to want from
// where they part.
func (r *resolver) path(ctx context.Context, have, want int) (up, down []int, err error) {
	for have != want { // parents have smaller numbers: the larger of the two steps down
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		step := &want
		if have > want {
			step = &have
			down = append(down, have)
		} else {
			up = append(up, want)
		}
		e, err := r.x.Entry(*step)
		if err != nil {
			return nil, nil, err
		}
		*step = e.Parent
	}
	return up, down, nil
}

// fork returns the newest version that both stand on or are, 0 for none. The index is known to be
// in order.
func (x *Index) fork(a, b int) int {
	for a != b {
		e, err := x.Entry(max(a, b))
		if err != nil {
			return 0
		}
		if a > b {
			a = e.Parent
		} else {
			b = e.Parent
		}
	}
	return a
}

// touched returns the pages that the layers of versions say something about. The tables are kept:
// they are needed again.
func (r *resolver) touched(ctx context.Context, versions []int) (pages.Set, error) {
	var list []pages.Span
	for _, v := range versions {
		t, err := r.table(ctx, v)
		if err != nil {
			return nil, err
		}
		r.tables[v] = t
		if list == nil {
			list = t.Pages()
		} else {
			list = append(list, t.Pages()...)
		}
	}
	return pages.NewSet(list), nil
}

// resolution collects what the layers give.
type resolution struct {
	plan *Plan
	zero []pages.Span
	at   map[uint64]int // pack and chunk → index in plan.jobs
}

// plan walks from a version downwards until every page has found its content.
func (r *resolver) plan(ctx context.Context, top *Manifest, have int, todo pages.Set) (*Plan, error) {
	res := resolution{plan: newPlan(top, have), at: map[uint64]int{}}
	needs := make([]need, 0, len(todo))
	for _, s := range todo {
		needs = append(needs, need{src: s.Lo, dst: s.Lo, count: s.Hi - s.Lo})
	}
	for version := top.Version; len(needs) > 0; {
		if version == r.fork {
			if needs = res.here(needs, r.moved); len(needs) == 0 {
				break
			}
		}
		m, err := r.manifest(ctx, version)
		if err != nil {
			return nil, err
		}
		t, err := r.table(ctx, version)
		if err != nil {
			return nil, err
		}
		if !r.keep {
			delete(r.tables, version)
		}
		if needs, err = res.layer(m, t, needs); err != nil {
			return nil, r.l.fault(m.Table.Name, err)
		}
		if m.Parent == 0 && len(needs) > 0 {
			return nil, r.l.fault(m.Table.Name, fault.Corruptf("version %d stands on nothing and says nothing of page %d", version, needs[0].src))
		}
		version = m.Parent
	}
	if err := res.plan.finish(res.zero); err != nil {
		return nil, r.l.fault(IndexName(top.Image), err)
	}
	return res.plan, nil
}

// mayLeave bounds how many needs a layer leaves to the one below: for its copies, and between its
// runs.
func mayLeave(t *layer.Table, needs []need) int64 {
	count, pieces, end := int64(0), int64(len(t.Copies)+len(needs)), int64(0)
	for i := range needs {
		count += needs[i].count
	}
	for i := range t.Runs {
		if t.Runs[i].Page > end {
			pieces++
		}
		end = t.Runs[i].End()
	}
	return min(count, pieces)
}

// layer takes from needs what the layer holds and returns what is left for the version below,
// sorted by src.
func (res *resolution) layer(m *Manifest, t *layer.Table, needs []need) ([]need, error) {
	left := make([]need, 0, mayLeave(t, needs))
	pack := -1
	for _, n := range needs {
		i := sort.Search(len(t.Runs), func(i int) bool { return t.Runs[i].End() > n.src })
		for n.count > 0 {
			if i == len(t.Runs) || t.Runs[i].Page >= n.src+n.count {
				left = append(left, n)
				break
			}
			run := &t.Runs[i]
			if gap := run.Page - n.src; gap > 0 {
				left = append(left, n.part(0, gap))
				n = n.part(gap, n.count)
			}
			take := min(n.count, run.End()-n.src)
			below, err := res.take(m, t, run, n.part(0, take), &pack)
			if err != nil {
				return nil, err
			}
			if below != nil {
				left = append(left, *below)
			}
			n = n.part(take, n.count)
			i++
		}
	}
	slices.SortFunc(left, func(a, b need) int { return cmp.Compare(a.src, b.src) })
	return left, nil
}

// here settles the needs that the disk itself can serve and returns the others.
func (res *resolution) here(needs []need, moved pages.Set) (left []need) {
	res.plan.local = slices.Grow(res.plan.local, len(needs))
	for _, n := range needs {
		if n.keys == nil { // a page of the version itself, not of a copy
			left = append(left, n)
			continue
		}
		at := n.src
		for m := range moved.Within(n.src, n.src+n.count) {
			res.local(n.part(at-n.src, m.Lo-n.src))
			left = append(left, n.part(m.Lo-n.src, m.Hi-n.src))
			at = m.Hi
		}
		res.local(n.part(at-n.src, n.count))
	}
	return left
}

func (res *resolution) local(n need) {
	if n.count > 0 {
		res.plan.local = append(res.plan.local, localCopy{n.src, n.dst, n.keys})
	}
}

// take settles a need that lies within one run; it returns a need for the version below if the run
// is a copy.
func (res *resolution) take(m *Manifest, t *layer.Table, run *layer.Run, n need, pack *int) (*need, error) {
	into := n.src - run.Page
	switch run.Kind {
	case layer.Zero:
		res.zero = append(res.zero, pages.Span{Lo: n.dst, Hi: n.dst + n.count})
	case layer.Undefined:
		if n.keys != nil {
			return nil, fault.Corruptf("page %d is copied from page %d, which is undefined in version %d", n.dst, n.src, m.Version)
		}
	case layer.Copied:
		c := &t.Copies[run.Ref]
		return &need{c.Source + into, n.dst, n.count, t.KeysOf(run).Part(into, into+n.count)}, nil
	case layer.Data:
		if *pack < 0 {
			*pack = len(res.plan.packs)
			res.plan.packs = append(res.plan.packs, m.Pack)
		}
		key := uint64(*pack)<<32 | uint64(run.Ref)
		at, ok := res.at[key]
		if !ok {
			at = len(res.plan.jobs)
			res.at[key] = at
			res.plan.jobs = append(res.plan.jobs, chunkJob{pack: *pack, chunk: t.Chunks[run.Ref], pieces: make([]piece, 0, min(t.Chunks[run.Ref].Runs, 64))})
		}
		j := &res.plan.jobs[at]
		j.pieces = append(j.pieces, piece{dst: n.dst, off: run.Off + uint32(into), count: uint32(n.count)})
	}
	return nil, nil
}

// String says from where to where, for people.
func (p *Plan) String() string {
	if p.Have == p.Want {
		return fmt.Sprintf("%s version %d", p.Image, p.Want)
	}
	if p.Have == 0 {
		return fmt.Sprintf("%s nothing to version %d", p.Image, p.Want)
	}
	return fmt.Sprintf("%s version %d to %d", p.Image, p.Have, p.Want)
}
