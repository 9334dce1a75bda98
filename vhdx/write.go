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
	at, err := f.w.place(off, n)
	if err != nil {
		return 0, err
	}
	return f.w.s.WriteAt(p[:n], at)
}

// place makes room in the file for a write of n bytes at off, inside one
// block, and returns where they go. State and bitmap say at once that they
// are there; they become durable with the next commit, payload first.
func (w *writer) place(off, n int64) (int64, error) {
	if err := w.room(); err != nil {
		return 0, err
	}
	f := w.f
	block := off / int64(f.geo.BlockSize)
	within := off % int64(f.geo.BlockSize)
	e, err := f.payloadEntry(block)
	if err != nil {
		return 0, err
	}
	whole := within == 0 && n >= f.geo.blockLen(block)
	switch s := e.State(); {
	case s == PayloadFullyPresent:
		err = f.needsBlock(block, e)
	case s == PayloadPartiallyPresent:
		if err = f.needsBlock(block, e); err == nil {
			err = w.addSectors(block, e, within, n, whole)
		}
	case s == PayloadNotPresent && f.geo.Differencing && !whole:
		e, err = w.newPartial(block, within, n)
	default:
		e, err = w.newFull(block, e, within, n)
	}
	return e.FileOffset() + within, err
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
func (w *writer) setBlock(block int64, s BlockState, off int64) (BATEntry, error) {
	e := NewBATEntry(s, off)
	return e, w.setEntry(w.f.geo.PayloadIndex(block), e)
}

// alloc takes n bytes of file, building the map of the file first.
func (w *writer) alloc(n int64) (off int64, zeroed bool, err error) {
	if w.space == nil {
		if w.space, err = w.f.buildSpace(w.s); err != nil {
			return 0, false, err
		}
	}
	off, zeroed, err = w.space.alloc(n)
	w.f.size = max(w.f.size, w.space.size)
	return off, zeroed, err
}

// newFull gives a block that has no content yet its place, full of zeros but
// for the n bytes at within, which the caller writes. An UNMAPPED or
// UNDEFINED block that kept its space gets that space.
func (w *writer) newFull(block int64, e BATEntry, within, n int64) (BATEntry, error) {
	f, bs := w.f, int64(w.f.geo.BlockSize)
	at, zeroed, err := e.FileOffset(), false, error(nil)
	if !f.anchored(e) {
		if at, zeroed, err = w.alloc(bs); err != nil {
			return 0, err
		}
	} else if w.space == nil { // make sure that nothing else stands there
		if w.space, err = f.buildSpace(w.s); err != nil {
			return 0, err
		}
	}
	if !zeroed {
		if err := writeZeros(w.s, at, within); err != nil {
			return 0, err
		}
		if err := writeZeros(w.s, at+within+n, bs-within-n); err != nil {
			return 0, err
		}
	}
	return w.setBlock(block, PayloadFullyPresent, at)
}

// newPartial gives a block of a differencing disk its place for some sectors.
// Whatever the sector bitmap held for the block is stale and cleared first.
func (w *writer) newPartial(block, within, n int64) (BATEntry, error) {
	if err := w.needBitmap(block / w.f.geo.ChunkRatio()); err != nil {
		return 0, err
	}
	slice, length, err := w.f.bitmapSlice(block)
	if err != nil {
		return 0, err
	}
	at, _, err := w.alloc(int64(w.f.geo.BlockSize))
	if err != nil {
		return 0, err
	}
	if err := w.edit(slice, make([]byte, length)); err != nil {
		return 0, err
	}
	if err := w.setBits(slice, within, n, true); err != nil {
		return 0, err
	}
	return w.setBlock(block, PayloadPartiallyPresent, at)
}

// addSectors notes sectors of a PARTIALLY_PRESENT block as present; a block
// that has all of them is promoted.
func (w *writer) addSectors(block int64, e BATEntry, within, n int64, whole bool) error {
	if !whole {
		slice, _, err := w.f.bitmapSlice(block)
		if err != nil {
			return err
		}
		if err := w.setBits(slice, within, n, true); err != nil {
			return err
		}
		set, run, err := w.f.bitmapRun(block, 0, w.f.geo.blockLen(block))
		if err != nil || !set || run < w.f.geo.blockLen(block) {
			return err
		}
	}
	// The rest of the last block is not part of the disk, but zero it while
	// nothing names it: the disk may grow one day.
	end := w.f.geo.blockLen(block)
	rest := min(int64(w.f.geo.BlockSize), w.f.size-e.FileOffset()) - end
	if err := writeZeros(w.s, e.FileOffset()+end, rest); err != nil {
		return err
	}
	_, err := w.setBlock(block, PayloadFullyPresent, e.FileOffset())
	return err
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

// setBits sets or clears the bitmap bits of the sectors in a range of a block.
func (w *writer) setBits(slice, within, n int64, set bool) error {
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
			if set {
				p.data[at] |= mask
			} else {
				p.data[at] &^= mask
			}
			bit = stop
		}
	}
	return nil
}
