package machine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"slices"

	"troy/internal/block"
	"troy/internal/digest"
	"troy/internal/guid"
)

// Personalise puts the identity that Want noted over the version that the machine boots, into the
// boot child: all of it or nothing, whatever moment the power goes. edits are those that were given
// to Want, or, where the secrets are not to be had, those that Wanted returns. The boot child must be
// as Commit, Reset, Rollback or a reinstall left it. Every page is compared with the version before
// anything is written; what Windows will then find is page by page the version, or the version with
// all of the edits. Where the boot child has the identity already, or there are no edits, nothing is done.
//
// Errors: ErrIdentity for edits that are not the wanted ones, ErrSession for a boot child that is not
// empty, ErrPage (as *PageError), ErrChain: nothing was written; *StepError.
func (m *Machine) Personalise(ctx context.Context, edits []Edit) error {
	if err := m.ready(opPersonalise); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c := &change{m: m, op: opPersonalise}
	if err := m.mayPersonalise(c, edits); err != nil || len(edits) == 0 {
		return err
	}
	// The log of an untouched boot child is that of a change made here, which is decided.
	if err := m.step(c.op, "replay the log", m.replayBootLog); err != nil {
		return err
	}
	switch a, _ := m.applied(); {
	case a != nil && a.Sum == c.own.sum:
		return m.settleSession(c.op)
	case a != nil:
		return fmt.Errorf("%w: %s has another identity; nothing was written", ErrSession, BootName)
	}
	if err := c.inspect(); err != nil {
		return err
	}
	if err := m.runChange(ctx, c, personaliseSteps()); err != nil {
		return err
	}
	return m.changed(c.op)
}

// personaliseSteps is the order of Commit, after the pages were written where no bit shows them.
func personaliseSteps() []changeStep {
	return append([]changeStep{
		{"compose the change", (*change).composeOwn},
		{"write the hidden pages", (*change).writeHidden},
	}, switchSteps()...)
}

// mayPersonalise asks journal and headers alone.
func (m *Machine) mayPersonalise(c *change, edits []Edit) (err error) {
	if err := m.checkLayout(c); err != nil {
		return err
	}
	if c.own, err = newOwnPages(edits, c.layout); err != nil {
		return err
	}
	switch w := m.wanted(m.chain[0]); {
	case w == nil:
		return fmt.Errorf("%w: none is wanted for the version that the machine boots; nothing was written", ErrIdentity)
	case c.own.sum != w.Sum && c.own.sum != SumEdits(w.Edits):
		return fmt.Errorf("%w: it is not the one that is wanted; nothing was written", ErrIdentity)
	case len(m.rec.Sessions) == 0:
		return fmt.Errorf("%w: it is not known whether Windows has written to %s; nothing was written", ErrSession, BootName)
	case !m.untouched():
		return fmt.Errorf("%w: Windows has written to %s; nothing was written", ErrSession, BootName)
	}
	return nil
}

// inspect reads all that the change relies on: the boot child is empty, every block at its anchor,
// and the pages are as published.
func (c *change) inspect() error {
	empty := false
	err := c.m.step(c.op, "look at the boot child", func() (err error) { empty, err = c.isEmpty(); return err })
	if err != nil {
		return err
	}
	if !empty {
		return fmt.Errorf("%w: %s holds something; nothing was written", ErrSession, BootName)
	}
	view, err := chainOf(append([]*diskFile{c.m.boot}, c.m.chain...))
	if err != nil {
		return err
	}
	return c.m.asPublished(c.op, c.own, view)
}

// asPublished reads the pages, and wants every one as published.
func (m *Machine) asPublished(op Op, own *ownPages, view io.ReaderAt) error {
	if err := m.step(op, "read the pages", func() error { return own.read(view) }); err != nil {
		return err
	}
	for _, p := range own.pages {
		if p.found != p.published {
			return &PageError{Offset: p.off, Want: p.published, Have: p.found}
		}
	}
	return nil
}

// isEmpty tells whether the boot child shows nothing of its own.
func (c *change) isEmpty() (bool, error) {
	want := c.layout.anchoredBAT()
	have := make([]byte, len(want))
	if err := block.ReadFull(c.m.boot.File, have, c.layout.bat.off); err != nil || !bytes.Equal(have, want) {
		return false, err
	}
	buf := block.Aligned(mib)
	for chunk := range c.layout.geo.Chunks() {
		bits := buf[:c.layout.bitmapBytes(chunk)]
		if err := block.ReadFull(c.m.boot.File, bits, c.layout.bitmapOffset(chunk)); err != nil || !block.IsZero(bits) {
			return false, err
		}
	}
	return true, nil
}

// composeOwn sets the bits of the pages, which are all zero.
func (c *change) composeOwn() error {
	if err := c.readHeader(); err != nil {
		return err
	}
	bitmaps := c.own.bitmaps(c.layout)
	for _, off := range slices.Sorted(maps.Keys(bitmaps)) {
		c.patches = append(c.patches, patch{off: off, data: bitmaps[off]})
	}
	return nil
}

// writeHidden writes the pages to their anchors and reads them back. No bit of a sector bitmap is
// set there, so no reader sees them.
func (c *change) writeHidden() error {
	for _, p := range c.own.pages {
		if p.data == nil {
			continue
		}
		if err := writeFull(c.m.boot.File, p.data, c.layout.anchor(p.off)); err != nil {
			return err
		}
	}
	if err := c.m.boot.Sync(); err != nil {
		return err
	}
	have := block.Aligned(pageSize)
	for _, p := range c.own.pages {
		if p.data == nil {
			continue
		}
		if err := block.ReadFull(c.m.boot.File, have, c.layout.anchor(p.off)); err != nil {
			return err
		}
		if !bytes.Equal(have, p.data) {
			return fmt.Errorf("%w: %s at %d of the disk", ErrVerify, BootName, p.off)
		}
	}
	return nil
}

// anchor is the place of a byte of the disk in the boot child.
func (l *layout) anchor(off int64) int64 {
	return l.payloadOffset(off/bootBlockSize) + off%bootBlockSize
}

// ownPages are the pages of the disk that edits touch.
type ownPages struct {
	sum   string // SumEdits
	pages []*ownPage
}

// ownPage is a page that is compared, and mostly changed.
type ownPage struct {
	off       int64
	published digest.Sum
	edits     []placed
	found     digest.Sum
	data      []byte // what it becomes; nil: it stays
}

// placed is a part of an edit.
type placed struct {
	at   int // in the page
	data []byte
}

// newOwnPages checks all that can be checked without the disk.
func newOwnPages(edits []Edit, l *layout) (*ownPages, error) {
	o, byOffset := &ownPages{sum: SumEdits(edits)}, map[int64]*ownPage{}
	var end int64
	for _, e := range inOrder(edits) {
		n := int64(len(e.Data))
		if e.Offset < end || n == 0 || n > l.geo.VirtualDiskSize || e.Offset > l.geo.VirtualDiskSize-n {
			return nil, fmt.Errorf("%w: %d bytes at %d, after %d, on a disk of %d; nothing was written", ErrIdentity, n, e.Offset, end, l.geo.VirtualDiskSize)
		}
		end = e.Offset + n
		if err := e.addTo(byOffset, l.geo.VirtualDiskSize); err != nil {
			return nil, err
		}
	}
	for _, off := range slices.Sorted(maps.Keys(byOffset)) {
		o.pages = append(o.pages, byOffset[off])
	}
	if n := int64(len(o.bitmaps(l))); n > l.entryPages() {
		return nil, fmt.Errorf("%w: its fields lie in %d stretches of the disk, at most %d can be changed at once; nothing was written", ErrIdentity, n, l.entryPages())
	}
	return o, nil
}

// addTo adds the pages of an edit.
func (e *Edit) addTo(pages map[int64]*ownPage, virtual int64) error {
	first, end := e.Offset/pageSize*pageSize, e.Offset+int64(len(e.Data))
	if have, need := int64(len(e.Pages)), (end-first+pageSize-1)/pageSize; have < need || have > (virtual-first)/pageSize {
		return fmt.Errorf("%w: %d bytes at %d with the hashes of %d pages; nothing was written", ErrIdentity, len(e.Data), e.Offset, have)
	}
	for i, sum := range e.Pages {
		off := first + int64(i)*pageSize
		p := pages[off]
		if p == nil {
			p = &ownPage{off: off, published: sum}
			pages[off] = p
		}
		if p.published != sum {
			return fmt.Errorf("%w: the page at %d has two hashes; nothing was written", ErrIdentity, off)
		}
		if from, to := max(off, e.Offset), min(off+pageSize, end); from < to {
			p.edits = append(p.edits, placed{at: int(from - off), data: e.Data[from-e.Offset : to-e.Offset]})
		}
	}
	return nil
}

// entryPages is how many pages an entry in the log of a boot child holds at most.
func (l *layout) entryPages() int64 {
	n := l.log.length/pageSize - 1
	for block.RoundUp(64+32*n, pageSize)+n*pageSize >= l.log.length {
		n--
	}
	return n
}

// bitmaps are the pages of sector bitmaps, by their places in the boot child, that show the pages
// that change, and no others.
func (o *ownPages) bitmaps(l *layout) map[int64][]byte {
	bitmaps := map[int64][]byte{}
	for _, p := range o.pages {
		if len(p.edits) == 0 {
			continue
		}
		const inChunk = mib * 8 // sectors
		sector := p.off / int64(l.geo.LogicalSectorSize)
		bit := sector % inChunk
		off := l.bitmapOffset(sector/inChunk) + bit/8/pageSize*pageSize
		if bitmaps[off] == nil {
			bitmaps[off] = make([]byte, pageSize)
		}
		for range l.bitsPerPage() {
			bitmaps[off][bit/8%pageSize] |= 1 << (bit % 8)
			bit++
		}
	}
	return bitmaps
}

// read reads the pages and makes of them what they become.
func (o *ownPages) read(view io.ReaderAt) error {
	for _, p := range o.pages {
		have := block.Aligned(pageSize)
		if err := block.ReadFull(view, have, p.off); err != nil {
			return fmt.Errorf("page at %d of the disk: %w", p.off, err)
		}
		p.found = sha256.Sum256(have)
		for _, e := range p.edits {
			copy(have[e.at:], e.data)
			p.data = have
		}
	}
	return nil
}

// nextSession notes the DataWriteGuid that the boot child gets, and what it is called then. The
// session that it has is known by its own as long as it lives.
func (r *machineRecord) nextSession(c *change, next guid.GUID) {
	now := c.header.DataWriteGUID
	if id := r.Identity; id != nil {
		of := *id
		switch a, known := c.m.applied(); {
		case c.own != nil:
			of.Applied = &appliedRecord{Session: next, Sum: c.own.sum, Values: c.m.wanted(c.m.chain[0]).Values}
		case a != nil:
			of.Applied = &appliedRecord{Session: now, Sum: a.Sum, Values: a.Values, Unknown: a.Unknown}
		case known:
			of.Applied = nil
		}
		r.Identity = &of
	}
	r.Sessions = append(slices.DeleteFunc(r.Sessions, func(g guid.GUID) bool { return g != now }), next)
}
