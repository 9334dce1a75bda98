package image

// The parsers of documents that only this package reads.
var (
	ParseMap = parseMap
)

// WithAttempts sets how often a chunk is asked for.
func (o FetchOptions) WithAttempts(n int) *FetchOptions {
	o.attempts = n
	return &o
}

// Packs returns the names of the packs that a plan fetches from.
func (p *Plan) Packs() (l []string) {
	for _, o := range p.packs {
		l = append(l, o.Name)
	}
	return l
}

// Partly says that what is brought in one piece with a page is not all told.
func (p *Plan) Partly(off int64, told map[int64]bool) bool {
	all := func(lo, n int64) bool {
		for ; n > 0; lo, n = lo+1, n-1 {
			if !told[lo*PageSize] {
				return false
			}
		}
		return true
	}
	page := off / PageSize
	for i := range p.jobs {
		mine, whole := false, true
		for _, c := range p.jobs[i].pieces {
			mine = mine || c.dst <= page && page < c.dst+int64(c.count)
			whole = whole && all(c.dst, int64(c.count))
		}
		if mine {
			return !whole
		}
	}
	for _, c := range p.local {
		if n := c.keys.Count(); c.dst <= page && page < c.dst+n {
			lo := c.dst + (page-c.dst)/copyPages*copyPages
			return !all(lo, min(copyPages, c.dst+n-lo))
		}
	}
	for _, z := range p.runs {
		if z.Zero && z.Offset <= off && off < z.Offset+z.Length {
			lo := z.Offset + (off-z.Offset)/RegionSize*RegionSize
			return !all(lo/PageSize, min(RegionSize, z.Offset+z.Length-lo)/PageSize)
		}
	}
	return true
}
