package vhdx

// zeroKind says how hard a range has to become zero.
type zeroKind int

const (
	zeroStrict zeroKind = iota // the range must read zero: blocks become ZERO
	zeroUnmap                  // whole blocks become UNMAPPED, the rest must read zero
	zeroHint                   // whole blocks become UNMAPPED, the rest is left alone
)

// zeroRange makes n bytes at off read zero by changing states where whole
// blocks are covered, and otherwise by zeros. In a differencing disk the
// range is made of whole sectors.
func (f *File) zeroRange(off, n int64, kind zeroKind) error {
	for n > 0 {
		k := min(n, int64(f.geo.BlockSize)-off%int64(f.geo.BlockSize))
		if err := f.zeroInBlock(off, k, kind); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

func (f *File) zeroInBlock(off, n int64, kind zeroKind) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.writable(); err != nil {
		return err
	}
	return f.w.zeroInBlock(off, n, kind)
}

// zeroInBlock carries out the table of merge rules for zeros: the block never
// shows older content, its own or its parent's, afterwards.
func (w *writer) zeroInBlock(off, n int64, kind zeroKind) error {
	f := w.f
	if err := w.room(); err != nil {
		return err
	}
	block, within := off/int64(f.geo.BlockSize), off%int64(f.geo.BlockSize)
	e, err := f.payloadEntry(block)
	if err != nil {
		return err
	}
	s := e.State()
	whole := within == 0 && n >= f.geo.blockLen(block)
	switch {
	case kind == zeroHint && (!whole || f.meta.LeaveBlockAllocated && s == PayloadFullyPresent):
		return nil
	case s == PayloadZero:
		return nil
	case (s == PayloadUnmapped || s == PayloadUndefined) && kind != zeroStrict:
		return nil
	case whole && !(f.meta.LeaveBlockAllocated && s.inFile()):
		return w.zeroBlock(block, e, kind)
	case s == PayloadUnmapped || s == PayloadUndefined, s == PayloadNotPresent && !f.geo.Differencing:
		// What it held was undefined and read as zero: ZERO says so.
		return w.zeroBlock(block, e, zeroStrict)
	}
	if err := w.beginData(); err != nil {
		return w.fail(err)
	}
	pl, err := w.place(off, n)
	if err != nil {
		return err
	}
	if err := writeZeros(w.s, pl.at+pl.within, n); err != nil {
		w.drop(pl)
		return err
	}
	return w.note(pl)
}

// zeroBlock makes a block ZERO or UNMAPPED and gives its space back. NOT_PRESENT
// would let a parent shine through.
func (w *writer) zeroBlock(block int64, e BATEntry, kind zeroKind) error {
	if err := w.beginData(); err != nil {
		return w.fail(err)
	}
	s := PayloadZero
	if kind != zeroStrict {
		s = PayloadUnmapped
	}
	if err := w.freeBlock(e); err != nil {
		return err
	}
	return w.setBlock(block, s, 0)
}

// freeBlock notes the space of a block, if it has any, for reuse after the
// commit that takes its name away.
func (w *writer) freeBlock(e BATEntry) error {
	if !w.f.anchored(e) {
		return nil
	}
	if err := w.needSpace(); err != nil { // before the entry is gone, so that the map knows it
		return err
	}
	w.freed = append(w.freed, span{off: e.FileOffset(), length: int64(w.f.geo.BlockSize)})
	return nil
}
