package image

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"troy/image/internal/fault"
	"troy/image/internal/layer"
	"troy/image/internal/pages"
)

// Plan is the way from the version that a disk holds to another one: every page once, the last
// writer of it wins.
type Plan struct {
	// Image, Have and Want say from where to where; Have 0 is from nothing.
	Image      string
	Have, Want int
	// VirtualSize and SectorSize describe the virtual disk, in bytes.
	VirtualSize int64
	SectorSize  uint32
	// FetchBytes is what Fetch will ask the source for when nothing has to be repeated.
	FetchBytes int64
	// WriteBytes is what the sink gets, zeros included; ZeroBytes is the part of it that is zeros.
	WriteBytes, ZeroBytes int64
	// CopyBytes is the part of WriteBytes that Fetch reads from FetchOptions.Local; 0 unless
	// LoadLocalPlan made the plan.
	CopyBytes int64

	runs  []Run
	packs []Object
	jobs  []chunkJob // sorted by pack and offset
	local []localCopy
}

// localCopy is a run of pages that the disk holds elsewhere.
type localCopy struct {
	src, dst int64
	keys     layer.Keys // of each page
}

// from returns what is left without the first n pages.
func (c localCopy) from(n int64) localCopy {
	return localCopy{c.src + n, c.dst + n, c.keys.Part(n, c.keys.Count())}
}

// chunkJob is one chunk and which of its pages go where.
type chunkJob struct {
	pack   int
	chunk  layer.Chunk
	pieces []piece
}

type piece struct {
	dst   int64 // page of the virtual disk
	off   uint32
	count uint32
}

// Runs returns what will be written: sorted, disjoint, adjacent runs of a kind joined. The caller
// must not change it.
func (p *Plan) Runs() []Run { return p.runs }

// Empty says that nothing is to be done.
func (p *Plan) Empty() bool { return len(p.runs) == 0 }

// LoadPlan reads the documents and layer tables that it needs from src, checks them, and plans the
// way of a disk that holds version have (0: nothing) to version want, newer or older. Nothing of
// the packs is read. The source must also be Documents. It returns ErrNotFound for a version the
// image does not have, ErrOtherSize where the disk has grown between the two, and an ObjectError
// that names the file at fault.
func LoadPlan(ctx context.Context, src Source, image string, have, want int) (*Plan, error) {
	return loadPlan(ctx, src, image, have, want, false)
}

// LoadLocalPlan plans as LoadPlan does, but takes from the disk itself what stands there in another
// place: Fetch then needs FetchOptions.Local, which reads the version have and must not change
// meanwhile.
func LoadLocalPlan(ctx context.Context, src Source, image string, have, want int) (*Plan, error) {
	return loadPlan(ctx, src, image, have, want, true)
}

func loadPlan(ctx context.Context, src Source, image string, have, want int, local bool) (*Plan, error) {
	l := loader{src, image}
	x, err := l.index(ctx)
	if err != nil {
		return nil, err
	}
	r := resolver{l: &l, x: x, tables: map[int]*layer.Table{}}
	top, err := r.manifest(ctx, want)
	if err != nil || have == want {
		return newPlan(top, have), err
	}
	if have != 0 {
		if err := r.sameSize(ctx, top, have); err != nil {
			return nil, err
		}
	}
	up, down, err := r.path(ctx, have, want)
	if err != nil {
		return nil, err
	}
	todo := pages.Set{{Lo: 0, Hi: top.VirtualSize / PageSize}}
	if have != 0 {
		added, err := r.touched(ctx, up)
		if err != nil {
			return nil, err
		}
		if r.moved, err = r.touched(ctx, down); err != nil {
			return nil, err
		}
		todo = pages.Union(added, r.moved)
	}
	if local {
		r.fork = x.fork(have, want)
	}
	return r.plan(ctx, top, have, todo)
}

// sameSize returns ErrOtherSize if the disk of a version has another size than that of top.
func (r *resolver) sameSize(ctx context.Context, top *Manifest, version int) error {
	m, err := r.manifest(ctx, version)
	if err == nil && m.VirtualSize != top.VirtualSize {
		err = fmt.Errorf("%w: %s version %d has %d bytes, version %d %d", ErrOtherSize, top.Image, version, m.VirtualSize, top.Version, top.VirtualSize)
	}
	return err
}

// LoadHeal plans the repair of some regions of a disk that should hold a version, as Map.Verify
// names them. It returns what LoadPlan returns, and ErrInvalid for a region that the disk does not
// have.
func LoadHeal(ctx context.Context, src Source, image string, version int, damaged []int64) (*Plan, error) {
	l := loader{src, image}
	x, err := l.index(ctx)
	if err != nil {
		return nil, err
	}
	r := resolver{l: &l, x: x, tables: map[int]*layer.Table{}}
	m, err := r.manifest(ctx, version)
	if err != nil {
		return nil, err
	}
	var list []pages.Span
	for _, d := range damaged {
		if d < 0 || d >= pages.Regions(m.VirtualSize) {
			return nil, fault.Invalidf("region %d of a disk with %d", d, pages.Regions(m.VirtualSize))
		}
		list = append(list, pages.Span{Lo: d * pages.PerRegion, Hi: min((d+1)*pages.PerRegion, m.VirtualSize/PageSize)})
	}
	return r.plan(ctx, m, version, pages.NewSet(list))
}

func newPlan(m *Manifest, have int) *Plan {
	if m == nil {
		return nil
	}
	return &Plan{Image: m.Image, Have: have, Want: m.Version, VirtualSize: m.VirtualSize, SectorSize: m.SectorSize}
}

// finish sorts what the resolver found and counts it.
func (p *Plan) finish(zero []pages.Span) error {
	n := len(p.local) + len(zero)
	for i := range p.jobs {
		n += len(p.jobs[i].pieces)
	}
	list := make([]Run, 0, n)
	for i := range p.jobs {
		j := &p.jobs[i]
		slices.SortFunc(j.pieces, func(a, b piece) int { return cmp.Compare(a.dst, b.dst) })
		p.FetchBytes += int64(j.chunk.Packed)
		for _, c := range j.pieces {
			list = append(list, Run{Offset: c.dst * PageSize, Length: int64(c.count) * PageSize})
		}
	}
	slices.SortFunc(p.jobs, func(a, b chunkJob) int {
		return cmp.Or(cmp.Compare(a.pack, b.pack), cmp.Compare(a.chunk.Offset, b.chunk.Offset))
	})
	for _, c := range p.local {
		n := c.keys.Count() * PageSize
		list = append(list, Run{Offset: c.dst * PageSize, Length: n})
		p.CopyBytes += n
	}
	for _, z := range zero {
		list = append(list, Run{Offset: z.Lo * PageSize, Length: (z.Hi - z.Lo) * PageSize, Zero: true})
		p.ZeroBytes += (z.Hi - z.Lo) * PageSize
	}
	return p.join(list)
}

// join sorts the runs and joins neighbours, in the place of list.
func (p *Plan) join(list []Run) error {
	slices.SortFunc(list, func(a, b Run) int { return cmp.Compare(a.Offset, b.Offset) })
	p.runs = list[:0]
	for _, r := range list {
		p.WriteBytes += r.Length
		if n := len(p.runs); n > 0 {
			last := &p.runs[n-1]
			end := last.Offset + last.Length
			if r.Offset < end {
				return fault.Corruptf("two layers claim to hold byte %d last", r.Offset)
			}
			if r.Offset == end && r.Zero == last.Zero {
				last.Length += r.Length
				continue
			}
		}
		p.runs = append(p.runs, r)
	}
	return nil
}
