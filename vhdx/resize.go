package vhdx

import "troy/internal/block"

// resize gives the disk another size, as merging with a child of another size
// asks for. What is gained reads zero, whatever a grandparent holds there.
// The old or the new size is found after a crash, with its own content.
func (w *writer) resize(size int64) error {
	if err := w.commit(); err != nil {
		return err
	}
	geo := w.f.geo
	geo.VirtualDiskSize = size
	if err := geo.validate(); err != nil {
		return err
	}
	switch {
	case size > w.f.geo.VirtualDiskSize:
		return w.growDisk(geo)
	case size < w.f.geo.VirtualDiskSize:
		return w.shrinkDisk(geo)
	}
	return nil
}

// setSize puts the new size into the next log entry.
func (w *writer) setSize(geo Geometry) error {
	f := w.f
	_, it, err := f.metadataEntry(itemVirtualDiskSize, false)
	if err != nil {
		return err
	}
	r, _ := f.regions.Find(RegionMetadata)
	if err := w.edit(r.Offset+it.Offset, le.AppendUint64(nil, uint64(geo.VirtualDiskSize))); err != nil {
		return err
	}
	m := *f.meta
	m.VirtualDiskSize = geo.VirtualDiskSize
	f.meta, f.geo = &m, geo
	return nil
}

// growDisk prepares the new entries, which are not read yet, then changes the
// size, the place of the BAT and the tail of the last block in one log entry.
func (w *writer) growDisk(geo Geometry) error {
	f := w.f
	old := f.geo
	if err := w.needSpace(); err != nil {
		return err
	}
	var bat Region
	var err error
	if geo.BATEntries()*8 > f.bat.Length {
		bat, err = w.moveBAT(geo)
	} else {
		err = w.newEntries(geo, w.logEntry)
		bat = f.bat
	}
	if err != nil {
		return err
	}
	if err := w.commit(); err != nil {
		return err
	}
	if err := w.setSize(geo); err != nil {
		return err
	}
	if bat != f.bat {
		if err := w.useBAT(bat); err != nil {
			return err
		}
	}
	if err := w.zeroTail(old); err != nil {
		return err
	}
	return w.commit()
}

// zeroTail makes the part of the old last block that comes to light read zero:
// it may hold anything, and bits of its bitmap may be set.
func (w *writer) zeroTail(old Geometry) error {
	bs := int64(old.BlockSize)
	from := old.VirtualDiskSize
	to := min(block.RoundUp(from, bs), w.f.geo.VirtualDiskSize)
	if from == to {
		return nil
	}
	e, err := w.f.payloadEntry(from / bs)
	if err != nil {
		return err
	}
	if end := e.FileOffset() + bs; e.State().inFile() && end > w.f.size {
		if err := w.growFile(end); err != nil {
			return err
		}
	}
	return w.zeroInBlock(from, to-from, zeroStrict)
}

// growFile makes the file longer for a block that was cut off at its end.
func (w *writer) growFile(size int64) error {
	if err := grow(w.s, w.f.size, size); err != nil {
		return err
	}
	if w.space != nil {
		at := w.f.size
		w.space.extend(size)
		w.space.mark(at, size-at)
	}
	w.f.size = size
	return nil
}

// logEntry puts an entry past the end of the disk into the log.
func (w *writer) logEntry(index int64, e BATEntry) error {
	if err := w.room(); err != nil {
		return err
	}
	return w.setEntry(index, e)
}

// newEntries writes every entry that the new size adds, in ascending order.
// What stood there before means nothing: QEMU left garbage in such places.
func (w *writer) newEntries(geo Geometry, put func(int64, BATEntry) error) error {
	old := w.f.geo
	cr := geo.ChunkRatio()
	for b := old.Blocks(); b < geo.Blocks(); b++ {
		if b%cr == 0 && b > 0 {
			if err := put(geo.BitmapIndex(b/cr-1), w.keptBitmap(b/cr-1)); err != nil {
				return err
			}
		}
		e, err := w.newBlockEntry()
		if err != nil {
			return err
		}
		if err := put(geo.PayloadIndex(b), e); err != nil {
			return err
		}
	}
	if !geo.Differencing {
		return nil
	}
	last := geo.Chunks() - 1 // what stands between is behind the end still
	return put(geo.BitmapIndex(last), w.keptBitmap(last))
}

// keptBitmap returns the bitmap entry of a chunk as it is, or none for a chunk
// that the disk did not have.
func (w *writer) keptBitmap(chunk int64) BATEntry {
	f := w.f
	if !f.geo.Differencing || chunk >= f.geo.Chunks() {
		return 0
	}
	e, err := f.batEntry(f.geo.BitmapIndex(chunk))
	if err != nil || f.bitmapFault(e) != "" {
		return 0
	}
	return e
}

// newBlockEntry is what a gained block starts as: zeros. A fixed disk has its
// space at once.
func (w *writer) newBlockEntry() (BATEntry, error) {
	bs := int64(w.f.geo.BlockSize)
	if !w.f.meta.LeaveBlockAllocated {
		return NewBATEntry(PayloadZero, 0), nil
	}
	at, zeroed, err := w.alloc(bs)
	if err == nil && !zeroed {
		err = writeZeros(w.s, at, bs)
	}
	return NewBATEntry(PayloadFullyPresent, at), err
}

// moveBAT writes a larger table to free space. It is not read before the
// region table names it, so it needs no log.
func (w *writer) moveBAT(geo Geometry) (Region, error) {
	f := w.f
	n := block.RoundUp(geo.BATEntries()*8, mib)
	at, zeroed, err := w.alloc(n)
	if err != nil {
		return Region{}, err
	}
	f.cache.forget(at, n)
	if !zeroed {
		if err := writeZeros(w.s, at, n); err != nil {
			return Region{}, err
		}
	}
	bw := &batWriter{w: w.s, off: at}
	// The last chunk's bitmap entry of the old table comes again with the new ones.
	for i := range f.geo.PayloadIndex(f.geo.Blocks()-1) + 1 {
		e, err := f.batEntry(i)
		if err != nil {
			return Region{}, err
		}
		if err := bw.put(i, e); err != nil {
			return Region{}, err
		}
	}
	if err := w.newEntries(geo, bw.put); err != nil {
		return Region{}, err
	}
	return Region{ID: RegionBAT, Offset: at, Length: n, Required: f.bat.Required}, bw.flush()
}

// useBAT puts the new place of the BAT into the next log entry.
func (w *writer) useBAT(bat Region) error {
	f := w.f
	t := append(RegionTable(nil), f.regions...)
	for i := range t {
		if t[i].ID == RegionBAT {
			t[i] = bat
		}
	}
	b, err := t.Marshal()
	if err != nil {
		return err
	}
	for _, off := range []int64{RegionTable1Offset, RegionTable2Offset} {
		if err := w.editChanged(off, b); err != nil {
			return err
		}
	}
	for i := range f.fixed {
		if f.fixed[i].off == f.bat.Offset {
			f.fixed[i].off, f.fixed[i].length = bat.Offset, bat.Length
		}
	}
	w.freed = append(w.freed, span{off: f.bat.Offset, length: f.bat.Length})
	f.regions, f.bat = t, bat
	return nil
}

// editChanged is edit for the pages of b that differ from the file.
func (w *writer) editChanged(off int64, b []byte) error {
	for i := 0; i < len(b); i += pageSize {
		p, err := w.f.cache.get(off + int64(i))
		if err != nil {
			return err
		}
		part := b[i:min(i+pageSize, len(b))]
		if string(p.data[:len(part)]) == string(part) {
			continue
		}
		if err := w.edit(off+int64(i), part); err != nil {
			return err
		}
	}
	return nil
}

// shrinkDisk makes the disk end earlier, then gives back what lies behind.
func (w *writer) shrinkDisk(geo Geometry) error {
	f := w.f
	old := f.geo
	// The entries are read with the old geometry: the old table is checked first.
	if err := w.needSpace(); err != nil {
		return err
	}
	if err := w.setSize(geo); err != nil {
		return err
	}
	if err := w.commit(); err != nil {
		return err
	}
	for b := geo.Blocks(); b < old.Blocks(); b++ {
		if err := w.dropEntry(old.PayloadIndex(b), int64(old.BlockSize)); err != nil {
			return err
		}
	}
	for c := geo.Chunks(); c < old.Chunks() && geo.Differencing; c++ {
		if err := w.dropEntry(old.BitmapIndex(c), mib); err != nil {
			return err
		}
	}
	return w.commit()
}

// dropEntry clears an entry that the disk does not have any more.
func (w *writer) dropEntry(index, n int64) error {
	if err := w.room(); err != nil {
		return err
	}
	e, err := w.f.batEntry(index)
	if err != nil || e == 0 {
		return err
	}
	if w.f.anchored(e) {
		w.freed = append(w.freed, span{off: e.FileOffset(), length: n})
	}
	return w.setEntry(index, 0)
}
