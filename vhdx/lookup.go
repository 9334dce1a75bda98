package vhdx

import "math/bits"

// mapping says where a range of the virtual disk is found, in one file.
type mapping struct {
	state  BlockState // NOT_PRESENT also means sectors that a bitmap gives to the parent
	off    int64      // place in the file, when inFile
	length int64      // bytes of disk
	inFile bool
}

// joins reports whether n continues m.
func (m *mapping) joins(n mapping) bool {
	if m.inFile != n.inFile {
		return false
	}
	if m.inFile {
		return m.off+m.length == n.off
	}
	return m.state == n.state
}

// lookup returns the mapping of the longest uniform range that starts at off
// and has at most n bytes. The range must lie inside the disk; f.mu is held.
func (f *File) lookup(off, n int64) (mapping, error) {
	m, err := f.lookupBlock(off, n)
	for err == nil && m.length < n {
		if !m.inFile {
			k, e := f.sameEntries(off + m.length)
			if e != nil {
				break
			}
			if k > 0 {
				m.length = min(m.length+k, n)
				continue
			}
		}
		next, e := f.lookupBlock(off+m.length, n-m.length)
		// An error further on is met by the next read.
		if e != nil || !m.joins(next) {
			break
		}
		m.length += next.length
	}
	return m, err
}

// sameEntries returns how many bytes from off on, a block's start, belong to
// blocks whose entries equal that of the block before and stand in the same
// page: a large empty disk is walked page by page instead of block by block.
func (f *File) sameEntries(off int64) (int64, error) {
	bs, cr := int64(f.geo.BlockSize), f.geo.ChunkRatio()
	block := off / bs
	if off%bs != 0 || block%cr == 0 {
		return 0, nil
	}
	at := f.bat.Offset + 8*f.geo.PayloadIndex(block)
	if at%pageSize == 0 {
		return 0, nil
	}
	limit := min((pageSize-at%pageSize)/8, cr-block%cr, f.geo.Blocks()-block)
	k := int64(0)
	err := f.cache.view(at, func(b *[pageSize]byte) {
		want := le.Uint64(b[at%pageSize-8:])
		if BATEntry(want).State().inFile() {
			return // partially present: its bitmap decides
		}
		for k < limit && le.Uint64(b[at%pageSize+8*k:]) == want {
			k++
		}
	})
	return k * bs, err
}

// lookupBlock is lookup inside the block that holds off.
func (f *File) lookupBlock(off, n int64) (mapping, error) {
	bs := int64(f.geo.BlockSize)
	block, within := off/bs, off%bs
	n = min(n, bs-within)
	e, err := f.payloadEntry(block)
	if err != nil {
		return mapping{}, err
	}
	switch s := e.State(); s {
	case PayloadFullyPresent:
		return f.inFile(block, e.FileOffset()+within, n)
	case PayloadPartiallyPresent:
		set, k, err := f.bitmapRun(block, within, n)
		if err != nil {
			return mapping{}, err
		}
		if set {
			return f.inFile(block, e.FileOffset()+within, k)
		}
		return mapping{state: PayloadNotPresent, length: k}, nil
	default:
		return mapping{state: s, length: n}, nil
	}
}

// inFile checks that the bytes are there: a truncated file still gives what
// it has.
func (f *File) inFile(block, off, n int64) (mapping, error) {
	if off+n > f.size {
		if off >= f.size {
			return mapping{}, f.batError(block, "block lies past the end of the file (%#x of %#x): it was truncated", off, f.size)
		}
		n = f.size - off
	}
	return mapping{PayloadFullyPresent, off, n, true}, nil
}

// batError is a FormatError at the BAT entry of a payload block.
func (f *File) batError(block int64, format string, args ...any) error {
	i := f.geo.PayloadIndex(block)
	args = append([]any{block}, args...)
	return corrupt("BAT", f.bat.Offset+8*i, "block %d: "+format, args...)
}

// payloadEntry returns the checked entry of a block.
func (f *File) payloadEntry(block int64) (BATEntry, error) {
	e, err := f.batEntry(f.geo.PayloadIndex(block))
	if err != nil {
		return 0, err
	}
	if r := f.payloadFault(block, e); r != "" {
		return 0, f.batError(block, "%s", r)
	}
	return e, nil
}

// payloadFault tells what is wrong with an entry, "" if nothing is. A block
// that ends past the end of the file is left to the code that reads there.
func (f *File) payloadFault(block int64, e BATEntry) string {
	switch s := e.State(); {
	case s == 4:
		return s.String()
	case e.reserved() != 0:
		return "reserved bits are set"
	case s == PayloadPartiallyPresent && !f.geo.Differencing:
		return "PARTIALLY_PRESENT in a disk without parent"
	case s.inFile():
		return f.placeFault(e.FileOffset(), f.geo.blockLen(block))
	}
	return ""
}

// placeFault tells why no block can stand at off.
func (f *File) placeFault(off, n int64) string {
	if off < headerSection || off > maxFileSize {
		return "its place in the file is impossible"
	}
	if s := f.fixedAt(off, n); s != nil {
		return "it lies on the " + s.what
	}
	return ""
}

// bitmapOffset returns the place in the file of the bitmap byte for a sector
// of a chunk, after checking the entry of the bitmap block.
func (f *File) bitmapOffset(chunk int64) (int64, error) {
	i := f.geo.BitmapIndex(chunk)
	e, err := f.batEntry(i)
	if err != nil {
		return 0, err
	}
	if r := f.bitmapFault(e); r != "" {
		return 0, corrupt("BAT", f.bat.Offset+8*i, "sector bitmap of chunk %d: %s", chunk, r)
	}
	if e.State() != BitmapPresent {
		return 0, corrupt("BAT", f.bat.Offset+8*i, "sector bitmap of chunk %d is missing, a partially present block needs it", chunk)
	}
	if e.FileOffset()+mib > f.size {
		return 0, corrupt("BAT", f.bat.Offset+8*i, "sector bitmap of chunk %d lies past the end of the file", chunk)
	}
	return e.FileOffset(), nil
}

// bitmapFault tells what is wrong with the entry of a sector bitmap block.
func (f *File) bitmapFault(e BATEntry) string {
	switch e.State() {
	case BitmapNotPresent:
		if e.reserved() != 0 {
			return "reserved bits are set"
		}
		return ""
	case BitmapPresent:
		if e.reserved() != 0 {
			return "reserved bits are set"
		}
		return f.placeFault(e.FileOffset(), mib)
	}
	return "its state is neither 0 nor 6"
}

// bitmapSlice returns the place in the file of a block's part of the sector
// bitmap, and its length in bytes.
func (f *File) bitmapSlice(block int64) (off, n int64, err error) {
	cr := f.geo.ChunkRatio()
	sb, err := f.bitmapOffset(block / cr)
	if err != nil {
		return 0, 0, err
	}
	n = int64(f.geo.BlockSize) / int64(f.geo.LogicalSectorSize) / 8
	return sb + block%cr*n, n, nil
}

// bitmapRun returns whether the sector at within is in this file, and for how
// many of the next n bytes the answer stays the same.
func (f *File) bitmapRun(block, within, n int64) (set bool, length int64, err error) {
	slice, _, err := f.bitmapSlice(block)
	if err != nil {
		return false, 0, err
	}
	lss := int64(f.geo.LogicalSectorSize)
	first := within / lss
	end := (within + n + lss - 1) / lss
	bit := first
	for bit < end {
		at := slice + bit/8
		// Whole pages of bitmap at a time; bit numbers count from the slice.
		pageEnd := min(end, bit-bit%8+(pageSize-at%pageSize)*8)
		err := f.cache.view(at, func(b *[pageSize]byte) {
			if bit == first {
				set = b[at%pageSize]>>(bit%8)&1 != 0
			}
			bit = scanBits(b[at%pageSize:], bit%8, bit%8+pageEnd-bit, set) + bit - bit%8
		})
		if err != nil {
			return false, 0, err
		}
		if bit < pageEnd {
			break
		}
	}
	return set, min(bit*lss, within+n) - within, nil
}

// scanBits returns the first bit in [from, to) that is not as set says, or to.
func scanBits(b []byte, from, to int64, set bool) int64 {
	var flip uint64
	if set {
		flip = ^uint64(0)
	}
	for from < to {
		i := from / 8
		if from%8 == 0 && to-from >= 64 {
			if v := le.Uint64(b[i:]) ^ flip; v != 0 {
				return from + int64(bits.TrailingZeros64(v))
			}
			from += 64
			continue
		}
		if (b[i]>>(from%8)&1 != 0) != set {
			return from
		}
		from++
	}
	return to
}
