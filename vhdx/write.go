package vhdx

// writable reports why f cannot be changed; f.mu is held.
func (f *File) writable() error {
	switch {
	case f.closed:
		return ErrClosed
	case f.w == nil:
		return ErrReadOnly
	}
	return f.w.failed
}

// writeAt writes p to the virtual disk. In a differencing disk off and length
// are multiples of the sector size.
func (f *File) writeAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		k, err := f.overwrite(p[n:], off+int64(n))
		if err == nil && k == 0 {
			k, err = f.writeBlock(p[n:], off+int64(n))
		}
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// overwrite writes the part of p whose place in the file is known already. It
// changes no metadata, so writers of different places run side by side.
func (f *File) overwrite(p []byte, off int64) (int, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if err := f.writable(); err != nil {
		return 0, err
	}
	if !f.w.data {
		return 0, nil
	}
	m, err := f.lookup(off, int64(len(p)))
	if err != nil || !m.inFile {
		return 0, err
	}
	return f.w.s.WriteAt(p[:m.length], m.off)
}

// writeBlock writes the part of p that falls into the block at off.
func (f *File) writeBlock(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.writable(); err != nil {
		return 0, err
	}
	if err := f.w.beginData(); err != nil {
		return 0, f.w.fail(err)
	}
	n := min(int64(len(p)), int64(f.geo.BlockSize)-off%int64(f.geo.BlockSize))
	pl, err := f.w.place(off, n)
	if err != nil {
		return 0, err
	}
	if k, err := f.w.s.WriteAt(p[:n], pl.at+pl.within); err != nil {
		f.w.drop(pl)
		return k, err
	}
	return int(n), f.w.note(pl)
}

// placement is room in the file for a write inside one block. Until it is
// noted it is invisible.
type placement struct {
	block, within, n int64
	entry            BATEntry   // as it is
	state            BlockState // as it will be
	at               int64      // place of the block in the file
	fresh            bool       // the place was allocated for it
}

// place makes room in the file for a write of n bytes at off, inside one
// block. The write goes to at+within; then note tells of it, or drop gives the
// room back.
func (w *writer) place(off, n int64) (pl placement, err error) {
	if err := w.room(); err != nil {
		return pl, err
	}
	f := w.f
	pl = placement{block: off / int64(f.geo.BlockSize), within: off % int64(f.geo.BlockSize), n: n}
	if pl.entry, err = f.payloadEntry(pl.block); err != nil {
		return pl, err
	}
	pl.at, pl.state = pl.entry.FileOffset(), PayloadFullyPresent
	whole := pl.within == 0 && n >= f.geo.blockLen(pl.block)
	switch s := pl.entry.State(); {
	case s.inFile():
		if !whole {
			pl.state = s
		}
		return pl, f.needsBlock(pl.block, pl.entry)
	case s == PayloadNotPresent && f.geo.Differencing && !whole:
		pl.state = PayloadPartiallyPresent
		if err := w.needBitmap(pl.block / f.geo.ChunkRatio()); err != nil {
			return pl, err
		}
		pl.at, _, err = w.alloc(int64(f.geo.BlockSize))
		pl.fresh = err == nil
		return pl, err
	}
	err = w.placeFull(&pl)
	return pl, err
}

// placeFull gives a block that has no content yet its place, full of zeros but
// for what the caller writes. An UNMAPPED or UNDEFINED block that kept its
// space gets that space.
func (w *writer) placeFull(pl *placement) (err error) {
	f, bs, zeroed := w.f, int64(w.f.geo.BlockSize), false
	if !f.anchored(pl.entry) {
		if pl.at, zeroed, err = w.alloc(bs); err != nil {
			return err
		}
		pl.fresh = true
	} else if err = w.needSpace(); err != nil { // nothing else may stand there
		return err
	}
	if zeroed {
		return nil
	}
	if err = writeZeros(w.s, pl.at, pl.within); err == nil {
		end := pl.within + pl.n
		err = writeZeros(w.s, pl.at+end, bs-end)
	}
	if err != nil {
		w.drop(*pl)
	}
	return err
}

// drop gives the room of a write that failed back.
func (w *writer) drop(pl placement) {
	if pl.fresh {
		w.space.release(pl.at, int64(w.f.geo.BlockSize))
	}
}

// note makes a write known: state and bitmap say at once that it is there, and
// become durable with the next commit, after the payload.
func (w *writer) note(pl placement) error {
	old := pl.entry.State()
	switch {
	case old == PayloadFullyPresent:
		return nil
	case pl.state == PayloadPartiallyPresent:
		return w.noteSectors(pl)
	case old == PayloadPartiallyPresent:
		return w.promote(pl)
	}
	return w.setBlock(pl.block, PayloadFullyPresent, pl.at)
}

// needsBlock refuses to write into a block that the file does not hold whole.
func (f *File) needsBlock(block int64, e BATEntry) error {
	if e.FileOffset()+f.geo.blockLen(block) > f.size {
		return f.batError(block, "block lies past the end of the file: it was truncated")
	}
	return nil
}

// setEntry changes a BAT entry.
func (w *writer) setEntry(index int64, e BATEntry) error {
	return w.edit(w.f.bat.Offset+8*index, le.AppendUint64(nil, uint64(e)))
}

// setBlock changes the BAT entry of a payload block.
func (w *writer) setBlock(block int64, s BlockState, off int64) error {
	return w.setEntry(w.f.geo.PayloadIndex(block), NewBATEntry(s, off))
}

// alloc takes n bytes of file, building the map of the file first.
func (w *writer) alloc(n int64) (off int64, zeroed bool, err error) {
	if err := w.needSpace(); err != nil {
		return 0, false, err
	}
	off, zeroed, err = w.space.alloc(n)
	w.f.size = max(w.f.size, w.space.size)
	return off, zeroed, err
}

// needSpace builds the map of the file, once.
func (w *writer) needSpace() (err error) {
	if w.space == nil {
		w.space, err = w.f.buildSpace(w.s)
	}
	return err
}

// noteSectors marks sectors of a block of a differencing disk as present.
// Whatever the sector bitmap held for a block without content is stale and
// cleared first; a block that has all sectors is promoted.
func (w *writer) noteSectors(pl placement) error {
	slice, length, err := w.f.bitmapSlice(pl.block)
	if err != nil {
		return err
	}
	if pl.entry.State() == PayloadNotPresent {
		if err := w.edit(slice, make([]byte, length)); err != nil {
			return err
		}
		if err := w.setBlock(pl.block, PayloadPartiallyPresent, pl.at); err != nil {
			return err
		}
	}
	if err := w.setBits(slice, pl.within, pl.n); err != nil {
		return err
	}
	set, run, err := w.f.bitmapRun(pl.block, 0, w.f.geo.blockLen(pl.block))
	if err != nil || !set || run < w.f.geo.blockLen(pl.block) {
		return err
	}
	return w.promote(pl)
}

// promote makes a PARTIALLY_PRESENT block that has all sectors FULLY_PRESENT.
// What is behind the end of the disk is zeroed while nothing names it: the
// disk may grow one day.
func (w *writer) promote(pl placement) error {
	end := w.f.geo.blockLen(pl.block)
	rest := min(int64(w.f.geo.BlockSize), w.f.size-pl.at) - end
	if err := writeZeros(w.s, pl.at+end, rest); err != nil {
		return err
	}
	return w.setBlock(pl.block, PayloadFullyPresent, pl.at)
}

// needBitmap makes sure that the chunk has a sector bitmap block, all zero
// when new.
func (w *writer) needBitmap(chunk int64) error {
	f := w.f
	i := f.geo.BitmapIndex(chunk)
	e, err := f.batEntry(i)
	if err != nil {
		return err
	}
	if e.State() != BitmapNotPresent {
		return nil // bitmapSlice checks it
	}
	at, zeroed, err := w.alloc(mib)
	if err != nil {
		return err
	}
	f.cache.forget(at, mib)
	if !zeroed {
		if err := writeZeros(w.s, at, mib); err != nil {
			return err
		}
	}
	return w.setEntry(i, NewBATEntry(BitmapPresent, at))
}

// setBits sets the bitmap bits of the sectors in a range of a block.
func (w *writer) setBits(slice, within, n int64) error {
	lss := int64(w.f.geo.LogicalSectorSize)
	bit, end := within/lss, (within+n+lss-1)/lss
	for bit < end {
		p, err := w.f.cache.get(slice + bit/8)
		if err != nil {
			return err
		}
		w.touch(p)
		at := (slice + bit/8) % pageSize
		for ; bit < end && (slice+bit/8)&^(pageSize-1) == p.off; at++ {
			stop := min(bit-bit%8+8, end)
			mask := byte(1<<(stop-bit)-1) << (bit % 8)
			p.data[at] |= mask
			bit = stop
		}
	}
	return nil
}
