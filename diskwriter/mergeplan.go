package diskwriter

import (
	"encoding/binary"
	"fmt"

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
	view    *vhdx.Chain
	base    *diskFile
	bat     []byte
	geo     vhdx.Geometry
	virtual int64
}

// planMerge looks at every place that will be written before any is.
func (m *Machine) planMerge() (*mergePlan, error) {
	view, err := m.Content()
	if err != nil {
		return nil, err
	}
	p := &mergePlan{chain: m.chain, view: view, base: m.base, geo: m.base.v.Geometry(), virtual: m.base.meta.VirtualDiskSize}
	if p.bat, err = readBAT(m.base); err != nil {
		return nil, err
	}
	for at := int64(0); at < p.virtual; {
		if _, at, err = p.slice(at, defaultSlice); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// readBAT loads the table of a file without a log.
func readBAT(d *diskFile) ([]byte, error) {
	length := d.v.Geometry().BATEntries() * 8
	for _, r := range d.v.Regions() {
		if r.ID == vhdx.RegionBAT && r.Length >= length {
			b := make([]byte, length)
			return b, readFull(d.File, b, r.Offset)
		}
	}
	return nil, fmt.Errorf("%w: %s has no BAT", ErrChain, d.name)
}

// slice collects the copies from virtual offset at on, until they come to size bytes, and returns where to go on.
func (p *mergePlan) slice(at, size int64) (jobs []copyJob, next int64, err error) {
	var total int64
	for e, err := range p.view.Extents(at, p.virtual-at) {
		if err != nil {
			return nil, 0, err
		}
		if e.Kind == vhdx.Absent || e.Layer >= len(p.chain)-1 {
			continue
		}
		e.Length = min(e.Length, max(roundUp(size-total, pageSize), pageSize))
		if jobs, err = p.add(jobs, e); err != nil {
			return nil, 0, err
		}
		total += e.Length
		if total >= size {
			return jobs, e.Offset + e.Length, nil
		}
	}
	return jobs, p.virtual, nil
}

// add splits an extent at the borders of base blocks and at maxCopy, and joins neighbours.
func (p *mergePlan) add(jobs []copyJob, e vhdx.Extent) ([]copyJob, error) {
	for e.Length > 0 {
		dst, room, err := p.place(e.Offset)
		if err != nil {
			return nil, err
		}
		j := copyJob{dst: dst, virtual: e.Offset, length: min(e.Length, room, maxCopy)}
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

// place returns where base has a byte of the disk, and how many bytes follow in the same block.
func (p *mergePlan) place(virtual int64) (off, room int64, err error) {
	size := int64(p.geo.BlockSize)
	block := virtual / size
	e := vhdx.BATEntry(binary.LittleEndian.Uint64(p.bat[p.geo.PayloadIndex(block)*8:]))
	off = e.FileOffset() + virtual%size
	if e.State() != vhdx.PayloadFullyPresent || e.FileOffset() < mib || off > p.base.Size-pageSize {
		return 0, 0, fmt.Errorf("%w: block %d of %s is %s at %d, not FULLY_PRESENT; nothing was written", ErrChain, block, BaseName, e.State(), e.FileOffset())
	}
	return off, size - virtual%size, nil
}
