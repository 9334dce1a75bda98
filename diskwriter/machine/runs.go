package machine

import (
	"fmt"
	"math/bits"
	"sort"
)

// Run is a stretch of the virtual disk, in bytes, both numbers multiples of 4 KiB. Zero: it becomes
// zeros, and its content is not sent.
type Run struct {
	Offset, Length int64
	Zero           bool
}

const pagesPerBlock = SlotBlockSize / pageSize

// pageSet is a set of the pages of a block.
type pageSet [pagesPerBlock / 64]uint64

func (s *pageSet) add(page int)      { s[page/64] |= 1 << (page % 64) }
func (s *pageSet) has(page int) bool { return s[page/64]>>(page%64)&1 != 0 }
func (s *pageSet) count() (n int) {
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// rank counts the members below page.
func (s *pageSet) rank(page int) (n int) {
	for p := 0; p < page/64; p++ {
		n += bits.OnesCount64(s[p])
	}
	return n + bits.OnesCount64(s[page/64]&(1<<(page%64)-1))
}

// nth is the n-th member, from 0.
func (s *pageSet) nth(n int) int {
	for page := range pagesPerBlock {
		if s.has(page) {
			if n == 0 {
				return page
			}
			n--
		}
	}
	return pagesPerBlock
}

// stageBlock is one block of the slot to be.
type stageBlock struct {
	block int64   // number on the virtual disk
	place int64   // number of the payload block in the slot; -1: state ZERO, no payload
	first int     // index of its first data page among all data pages
	data  pageSet // pages that are sent
	zero  pageSet // pages that become zeros
}

// stagePlan is what a version looks like in a slot.
type stagePlan struct {
	blocks []stageBlock // ascending
	places int64        // payload blocks used
	pages  int          // data pages
}

// planBlocks checks the runs and lays them out: payload in virtual order, whole blocks of zeros
// without payload.
func planBlocks(runs []Run, virtual int64) (*stagePlan, error) {
	p := &stagePlan{}
	var end int64
	for i, r := range runs {
		if r.Offset < end || r.Length <= 0 || r.Offset%pageSize != 0 || r.Length%pageSize != 0 || r.Length > virtual || r.Offset > virtual-r.Length {
			return nil, fmt.Errorf("%w: run %d, %d bytes at %d, after %d, on a disk of %d bytes", ErrRuns, i, r.Length, r.Offset, end, virtual)
		}
		p.addRun(r)
		end = r.Offset + r.Length
	}
	p.place(virtual)
	return p, nil
}

func (p *stagePlan) addRun(r Run) {
	for page := r.Offset / pageSize; page < (r.Offset+r.Length)/pageSize; page++ {
		block := page / pagesPerBlock
		if n := len(p.blocks); n == 0 || p.blocks[n-1].block != block {
			p.blocks = append(p.blocks, stageBlock{block: block})
		}
		b := &p.blocks[len(p.blocks)-1]
		if r.Zero {
			b.zero.add(int(page % pagesPerBlock))
		} else {
			b.data.add(int(page % pagesPerBlock))
		}
	}
}

func (p *stagePlan) place(virtual int64) {
	for i := range p.blocks {
		b := &p.blocks[i]
		b.first = p.pages
		p.pages += b.data.count()
		if b.zero.count() == blockPages(b.block, virtual) {
			b.place = -1
			continue
		}
		b.place = p.places
		p.places++
	}
}

// blockPages is the number of pages of a block that are on the disk: the last block may be short.
func blockPages(block, virtual int64) int {
	return int(min(SlotBlockSize, virtual-block*SlotBlockSize) / pageSize)
}

// full tells whether the block holds every page, so that its sector bitmap is not needed.
func (b *stageBlock) full(virtual int64) bool {
	return b.data.count()+b.zero.count() == blockPages(b.block, virtual)
}

// find returns the index of a block, -1 if the plan does not have it.
func (p *stagePlan) find(block int64) int {
	i := sort.Search(len(p.blocks), func(i int) bool { return p.blocks[i].block >= block })
	if i == len(p.blocks) || p.blocks[i].block != block {
		return -1
	}
	return i
}

// dataPages calls f for the places in a file, in runs of neighbours, of data pages that are counted
// in the order of the disk.
func (p *stagePlan) dataPages(l *layout, first, count int, f func(off int64, pages int) error) error {
	for count > 0 {
		b := &p.blocks[sort.Search(len(p.blocks), func(i int) bool { return p.blocks[i].first > first })-1]
		page, n := b.data.nth(first-b.first), 1
		for n < count && page+n < pagesPerBlock && b.data.has(page+n) {
			n++
		}
		if err := f(l.payloadOffset(b.place)+int64(page)*pageSize, n); err != nil {
			return err
		}
		first, count = first+n, count-n
	}
	return nil
}
