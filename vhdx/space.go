package vhdx

import "math/bits"

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
	off = roundUp(p.size, mib)
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
	for i := range f.geo.Blocks() {
		e, err := f.payloadEntry(i)
		if err != nil {
			return nil, err
		}
		if !f.anchored(e) {
			continue
		}
		if e.FileOffset() >= f.size {
			return nil, f.batError(i, "block lies past the end of the file")
		}
		if p.mark(e.FileOffset(), int64(f.geo.BlockSize)) {
			return nil, f.batError(i, "it shares its place in the file with another structure; the file is not written to")
		}
	}
	return p, f.markBitmaps(p)
}

// markBitmaps is buildSpace for sector bitmap blocks.
func (f *File) markBitmaps(p *space) error {
	if !f.geo.Differencing {
		return nil
	}
	for c := range f.geo.Chunks() {
		i := f.geo.BitmapIndex(c)
		e, err := f.batEntry(i)
		if err != nil {
			return err
		}
		at := f.bat.Offset + 8*i
		if r := f.bitmapFault(e); r != "" {
			return corrupt("BAT", at, "sector bitmap of chunk %d: %s", c, r)
		}
		if e.State() == BitmapPresent && p.mark(e.FileOffset(), mib) {
			return corrupt("BAT", at, "sector bitmap of chunk %d shares its place in the file; the file is not written to", c)
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
