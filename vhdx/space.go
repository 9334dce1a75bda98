package vhdx

import (
	"math/bits"

	"troy/internal/block"
)

// space knows which MiB of the file are in use. It is built from the whole BAT
// when room is first needed: one bit per MiB of file.
type space struct {
	s     Storage
	size  int64    // bytes of the file
	used  []uint64 // bit per MiB
	free  int64    // MiB below size that are not in use
	hint  int64    // MiB: nothing free below
	noFit int64    // MiB: a run of this length was searched for in vain
}

func newSpace(s Storage, size int64) *space {
	n := (size + mib - 1) / mib
	return &space{s: s, size: size, used: make([]uint64, (n+63)/64), free: size / mib, noFit: 1 << 62}
}

// mark takes a range into use. It reports whether any of it was in use before.
func (p *space) mark(off, n int64) (clash bool) {
	for m := off / mib; m < (min(off+n, p.size)+mib-1)/mib; m++ {
		w, b := &p.used[m/64], uint64(1)<<(m%64)
		if *w&b != 0 {
			clash = true
			continue
		}
		*w |= b
		if m < p.size/mib { // a cut-off MiB at the end was never counted
			p.free--
		}
	}
	return clash
}

// release gives a range back.
func (p *space) release(off, n int64) {
	for m := off / mib; m < min(off+n, p.size)/mib; m++ {
		w, b := &p.used[m/64], uint64(1)<<(m%64)
		if *w&b != 0 {
			*w &^= b
			p.free++
		}
	}
	p.hint, p.noFit = min(p.hint, off/mib), 1<<62
}

// alloc takes n bytes, a multiple of 1 MiB, into use: in a gap or else at the
// end. zeroed tells that the bytes are known to read zero.
func (p *space) alloc(n int64) (off int64, zeroed bool, err error) {
	if off, ok := p.allocGap(n / mib); ok {
		return off, false, nil
	}
	off = block.RoundUp(p.size, mib)
	if off+n > maxFileSize {
		return 0, false, errNoGrowth(p.size, off+n)
	}
	if err := grow(p.s, p.size, off+n); err != nil {
		return 0, false, err
	}
	p.extend(off + n)
	p.mark(off, n)
	return off, true, nil
}

// extend tells that the file has grown to size.
func (p *space) extend(size int64) {
	p.free += size/mib - p.size/mib
	p.size = size
	for int64(len(p.used))*64*mib < size {
		p.used = append(p.used, 0)
	}
}

// allocGap searches the first gap of n MiB.
func (p *space) allocGap(n int64) (int64, bool) {
	if p.free < n || n >= p.noFit {
		return 0, false
	}
	end := p.size / mib
	for m := p.nextFree(p.hint, end); m < end; {
		run := p.freeRun(m, min(end, m+n)-m)
		if run == n {
			p.mark(m*mib, n*mib)
			if m == p.hint {
				p.hint += n
			}
			return m * mib, true
		}
		m = p.nextFree(m+run, end)
	}
	p.noFit = n
	return 0, false
}

// nextFree returns the first free MiB from m on, or end.
func (p *space) nextFree(m, end int64) int64 {
	for m < end {
		if w := ^p.used[m/64] >> (m % 64); w != 0 {
			return min(m+int64(bits.TrailingZeros64(w)), end)
		}
		m = m/64*64 + 64
	}
	return end
}

// freeRun counts free MiB from m on, at most limit.
func (p *space) freeRun(m, limit int64) (n int64) {
	for n < limit && p.used[(m+n)/64]>>((m+n)%64)&1 == 0 {
		n++
	}
	return n
}

// buildSpace marks everything that the file names. Blocks that share their
// place make the file too dangerous to write to.
func (f *File) buildSpace(s Storage) (*space, error) {
	p := newSpace(s, f.size)
	for _, x := range f.fixed {
		p.mark(x.off, x.length)
	}
	err := f.walkBAT(func(slot batSlot, e BATEntry) error {
		if slot.bitmap {
			return f.markBitmap(p, slot, e)
		}
		return f.markBlock(p, slot, e)
	})
	return p, err
}

// markBlock is buildSpace for a payload block.
func (f *File) markBlock(p *space, slot batSlot, e BATEntry) error {
	if r := f.payloadFault(slot.number, e); r != "" {
		return f.batError(slot.number, "%s", r)
	}
	if !f.anchored(e) {
		return nil
	}
	if e.FileOffset() >= f.size {
		return f.batError(slot.number, "block lies past the end of the file")
	}
	if p.mark(e.FileOffset(), int64(f.geo.BlockSize)) {
		return f.batError(slot.number, "it shares its place in the file with another structure; the file is not written to")
	}
	return nil
}

// markBitmap is buildSpace for a sector bitmap block. In a disk without parent
// the entry is never read, whatever it holds.
func (f *File) markBitmap(p *space, slot batSlot, e BATEntry) error {
	if !f.geo.Differencing {
		return nil
	}
	at := f.bat.Offset + 8*slot.index
	if r := f.bitmapFault(e); r != "" {
		return corrupt("BAT", at, "sector bitmap of chunk %d: %s", slot.number, r)
	}
	if e.State() == BitmapPresent && p.mark(e.FileOffset(), mib) {
		return corrupt("BAT", at, "sector bitmap of chunk %d shares its place in the file; the file is not written to", slot.number)
	}
	return nil
}

// batSlot says what an entry of the BAT is for.
type batSlot struct {
	index  int64
	bitmap bool  // of a sector bitmap block
	number int64 // of the chunk if bitmap, else of the payload block
}

// walkBAT calls fn for every entry of the disk's BAT that is not all zero,
// ascending, a page at a time: a table of 64 million entries is mostly empty.
// Entries behind the last block, but for the last bitmap's, are left out.
func (f *File) walkBAT(fn func(batSlot, BATEntry) error) error {
	per := f.geo.ChunkRatio() + 1
	blocks := f.geo.Blocks()
	buf := make([]byte, pageSize)
	for i, n := int64(0), f.geo.BATEntries(); i < n; {
		if err := f.cache.peek(f.bat.Offset+8*i, buf); err != nil {
			return err
		}
		b := buf[:min(pageSize, 8*(n-i))]
		for ; len(b) > 0; b, i = b[8:], i+1 {
			e := BATEntry(le.Uint64(b))
			if e == 0 {
				continue
			}
			slot := batSlot{i, i%per == per-1, i / per}
			if !slot.bitmap {
				slot.number = i - i/per
			}
			if !slot.bitmap && slot.number >= blocks {
				continue
			}
			if err := fn(slot, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// anchored reports whether a payload entry holds space in the file: a block
// that is UNMAPPED or UNDEFINED may keep its place (MS-VHDX 2.5.1.1). An
// anchor in a place where no block can be is none.
func (f *File) anchored(e BATEntry) bool {
	switch e.State() {
	case PayloadFullyPresent, PayloadPartiallyPresent:
		return true
	case PayloadUnmapped, PayloadUndefined:
		n := int64(f.geo.BlockSize)
		return f.placeFault(e.FileOffset(), n) == "" && e.FileOffset()+n <= f.size
	}
	return false
}
