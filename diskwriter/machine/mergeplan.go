package machine

import (
	"fmt"
	"sync"

	"troy/internal/block"
	"troy/vhdx"
)

// maxCopy is the largest copy, in bytes.
const maxCopy = mib

// copyJob is one copy into base. from nil: zeros.
type copyJob struct {
	from     *diskFile
	src, dst int64 // offsets in the files
	virtual  int64 // offset on the disk
	length   int64 // at most maxCopy
}

// mergePlan knows where the slots' sectors are and where they belong.
type mergePlan struct {
	chain   []*diskFile // slots from the top down, then base
	view    *vhdx.Chain // of the chain
	base    *baseMap
	virtual int64
}

// mergeSlice is a part of the merge that ends with a flush and the journal's cursor.
type mergeSlice struct {
	jobs  []copyJob
	bytes int64
	next  int64 // where to go on, on the disk
	err   error
}

// planMerge looks at every place that will be written before any is.
func (m *Machine) planMerge() (*mergePlan, error) {
	p := &mergePlan{chain: m.chain, virtual: m.base.meta.VirtualDiskSize}
	files, err := tables(m.chain)
	if err != nil {
		return nil, err
	}
	if p.view, err = vhdx.NewChain(files...); err != nil {
		return nil, err
	}
	if p.base, err = newBaseMap(files[len(files)-1]); err != nil {
		return nil, err
	}
	for at := int64(0); at < p.virtual; {
		s := p.slice(at, defaultSlice)
		if s.err != nil {
			return nil, s.err
		}
		at = s.next
	}
	return p, nil
}

// tables opens the files for walking their tables from end to end, which nothing changes during a
// merge.
func tables(chain []*diskFile) ([]*vhdx.File, error) {
	files := make([]*vhdx.File, len(chain))
	for i, d := range chain {
		var err error
		if files[i], err = vhdx.NewFile(&readAhead{f: d.File}, d.Size); err != nil {
			return nil, fmt.Errorf("%s: %w", d.name, err)
		}
	}
	return files, nil
}

// readAhead reads tables in pieces bigger than a page, and keeps a piece for each of the tables
// that are walked together (BAT and sector bitmaps).
type readAhead struct {
	f      File
	mu     sync.Mutex
	pieces [2]struct {
		off int64
		b   []byte
	}
	older int
}

const aheadBytes = 128 << 10

// ReadAt implements io.ReaderAt.
func (r *readAhead) ReadAt(p []byte, off int64) (int, error) {
	start := off - off%aheadBytes
	end := min(start+aheadBytes, r.f.Size)
	if off < 0 || off+int64(len(p)) > end {
		return r.f.ReadAt(p, off)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, have := range r.pieces {
		if have.off == start && have.b != nil {
			r.older = 1 - i
			return copy(p, have.b[off-start:]), nil
		}
	}
	w := &r.pieces[r.older]
	b := w.b[:0]
	w.b = nil
	if cap(b) == 0 {
		b = block.Aligned(aheadBytes)
	}
	b = b[:end-start]
	if err := block.ReadFull(r.f, b, start); err != nil {
		return 0, err
	}
	w.off, w.b = start, b
	r.older = 1 - r.older
	return copy(p, b[off-start:]), nil
}

// slice collects the copies from virtual offset at on, until they come to size bytes.
func (p *mergePlan) slice(at, size int64) *mergeSlice {
	s := &mergeSlice{next: p.virtual}
	for e, err := range p.view.Extents(at, p.virtual-at) {
		if err != nil {
			return &mergeSlice{err: err}
		}
		if e.Kind == vhdx.Absent || e.Layer >= len(p.chain)-1 {
			continue
		}
		e.Length = min(e.Length, max(block.RoundUp(size-s.bytes, pageSize), pageSize))
		if s.jobs, err = p.add(s.jobs, e); err != nil {
			return &mergeSlice{err: err}
		}
		s.bytes += e.Length
		if s.bytes >= size {
			s.next = e.Offset + e.Length
			break
		}
	}
	return s
}

// add splits an extent where base is not in one piece and at maxCopy, and joins neighbours.
func (p *mergePlan) add(jobs []copyJob, e vhdx.Extent) ([]copyJob, error) {
	for e.Length > 0 {
		dst, length, err := p.base.place(e.Offset, min(e.Length, maxCopy))
		if err != nil {
			return nil, err
		}
		j := copyJob{dst: dst, virtual: e.Offset, length: length}
		if e.Kind == vhdx.Data {
			j.from, j.src = p.chain[e.Layer], e.FileOffset
		}
		if j.src%pageSize != 0 || j.dst%pageSize != 0 || j.length%pageSize != 0 {
			return nil, fmt.Errorf("%w: a slot holds %d bytes at %d of the disk, not whole pages", ErrChain, j.length, j.virtual)
		}
		e.Offset, e.FileOffset, e.Length = e.Offset+j.length, e.FileOffset+j.length, e.Length-j.length
		if n := len(jobs) - 1; n >= 0 && jobs[n].joins(j) {
			jobs[n].length += j.length
			continue
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

func (j *copyJob) joins(k copyJob) bool {
	return j.from == k.from && j.dst+j.length == k.dst && j.virtual+j.length == k.virtual && j.length+k.length <= maxCopy &&
		(j.from == nil || j.src+j.length == k.src)
}
