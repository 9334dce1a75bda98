package vhdx

// blocks checks every entry of the BAT.
func (c *checker) blocks() error {
	f := c.f
	c.used = newSpace(nil, f.size)
	for _, x := range f.fixed {
		c.used.mark(x.off, x.length)
	}
	c.rep.Blocks = f.geo.Blocks()
	odd := int64(-1)
	err := f.walkBAT(func(slot batSlot, e BATEntry) error {
		switch {
		case !slot.bitmap:
			return c.payload(slot.number, slot.index, e)
		case f.geo.Differencing:
			return c.bitmap(slot.number, slot.index, e)
		case odd < 0:
			odd = slot.index
		}
		return nil
	})
	if err != nil {
		return err
	}
	if odd >= 0 { // QEMU left garbage there
		c.add("BAT", c.at(odd), Note, "sector bitmap entries are used in a disk without parent; no program reads them")
	}
	return c.unused()
}

// at returns the place in the file of a BAT entry.
func (c *checker) at(index int64) int64 { return c.f.bat.Offset + 8*index }

// payload checks the entry of one payload block.
func (c *checker) payload(b, i int64, e BATEntry) error {
	f := c.f
	if r := f.payloadFault(b, e); r != "" {
		c.add("BAT", c.at(i), Error, "block %d: %s", b, r)
		return nil
	}
	if BlockState(e&7) == draftUnmapped {
		c.add("BAT", c.at(i), Note, "block %d has state 5, which is UNMAPPED in old drafts of the format", b)
	}
	if !e.State().inFile() {
		c.anchor(b, i, e)
		return nil
	}
	c.rep.InFile++
	off, bs := e.FileOffset(), int64(f.geo.BlockSize)
	switch {
	case off >= f.size || off+f.geo.blockLen(b) > f.size:
		c.add("BAT", c.at(i), Error, "block %d at %#x reaches past the end of the file (%#x): it was truncated", b, off, f.size)
	case off+bs > f.size:
		c.add("BAT", c.at(i), Note, "block %d at %#x: the part behind the end of the disk is not in the file", b, off)
	}
	if s := f.fixedAt(off, bs); s != nil {
		c.add("BAT", c.at(i), Error, "block %d at %#x lies on the %s", b, off, s.what)
	} else if off < f.size && c.used.mark(off, bs) {
		return c.overlap(i, off, bs)
	}
	if e.State() == PayloadPartiallyPresent {
		return c.needsBitmap(b, i)
	}
	return nil
}

// anchor checks the space that a trimmed block keeps.
func (c *checker) anchor(b, i int64, e BATEntry) {
	f := c.f
	off := e.FileOffset()
	if s := e.State(); s != PayloadUnmapped && s != PayloadUndefined || off == 0 {
		return
	}
	if !f.anchored(e) {
		c.add("BAT", c.at(i), Warning, "block %d (%v) keeps space at %#x, where none can be", b, e.State(), off)
	} else if c.used.mark(off, int64(f.geo.BlockSize)) {
		c.add("BAT", c.at(i), Error, "block %d (%v) keeps space at %#x that is also used elsewhere", b, e.State(), off)
	}
}

// needsBitmap checks that a partially present block has its sector bitmap.
func (c *checker) needsBitmap(b, i int64) error {
	e, err := c.f.batEntry(c.f.geo.BitmapIndex(b / c.f.geo.ChunkRatio()))
	if err == nil && e.State() == BitmapNotPresent {
		c.add("BAT", c.at(i), Error, "block %d is partially present, but its chunk has no sector bitmap", b)
	}
	return err
}

// bitmap checks the entry of a sector bitmap block of a differencing disk.
func (c *checker) bitmap(k, i int64, e BATEntry) error {
	f := c.f
	if r := f.bitmapFault(e); r != "" {
		c.add("BAT", c.at(i), Error, "sector bitmap of chunk %d: %s", k, r)
		return nil
	}
	if e.State() != BitmapPresent {
		return nil
	}
	off := e.FileOffset()
	if off+mib > f.size {
		c.add("BAT", c.at(i), Error, "sector bitmap of chunk %d at %#x reaches past the end of the file (%#x)", k, off, f.size)
		return nil
	}
	if c.used.mark(off, mib) {
		return c.overlap(i, off, mib)
	}
	return nil
}

// maxExplained bounds how often the whole BAT is searched for the other side
// of an overlap.
const maxExplained = 16

// overlap reports a structure whose place was taken already, by which other.
func (c *checker) overlap(i, off, n int64) error {
	if c.hits++; c.hits > maxExplained {
		c.add("BAT", c.at(i), Error, "entry %d: its place at %#x is also used elsewhere", i, off)
		return nil
	}
	f := c.f
	for j := range i {
		e, err := f.batEntry(j)
		if err != nil {
			return err
		}
		length := int64(f.geo.BlockSize)
		if f.geo.Differencing && (j+1)%(f.geo.ChunkRatio()+1) == 0 {
			length = mib
		}
		if f.anchored(e) && e.FileOffset() < off+n && off < e.FileOffset()+length {
			c.add("BAT", c.at(i), Error, "entry %d: its place at %#x overlaps that of entry %d at %#x", i, off, j, e.FileOffset())
			return nil
		}
	}
	c.add("BAT", c.at(i), Error, "entry %d: its place at %#x is also used by a later entry", i, off)
	return nil
}

// unused looks at the entries behind the end of the disk, which old QEMU
// filled with garbage.
func (c *checker) unused() error {
	f := c.f
	from, last := f.geo.PayloadIndex(f.geo.Blocks()-1)+1, f.geo.BitmapIndex(f.geo.Chunks()-1)
	for i := from; i < f.bat.Length/8; i++ {
		if f.geo.Differencing && i == last {
			continue
		}
		e, err := f.batEntry(i)
		if err != nil {
			return err
		}
		if e != 0 {
			c.add("BAT", c.at(i), Note, "entries behind the end of the disk are not empty; no program reads them")
			return nil
		}
	}
	return nil
}
