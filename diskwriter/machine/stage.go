package machine

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"io"
	"sync/atomic"

	"troy/internal/block"
	"troy/internal/guid"
	"troy/vhdx"
)

// StageRequest names a version and says which bytes of the virtual disk it changes, compared with
// what the boot child sits on (State.Version).
type StageRequest struct {
	Image   string
	Version int
	Runs    []Run // ascending, not overlapping

	// Manifest is that of the version's label. It identifies the content: with it, a Stage that was
	// cut off goes on when the same is asked for again. "" starts each Stage from nothing.
	Manifest string
}

// Stager fills a slot. WriteAt may be called concurrently; then Finish once. A Stager that is
// dropped leaves a poisoned slot and an untouched machine.
type Stager struct {
	m      *Machine
	req    *StageRequest
	slot   *slotWriter
	plan   *stagePlan
	parent *diskFile
	guid   guid.GUID
	sums   []atomic.Uint64 // of each data page, 0: not written yet
	seed   maphash.Seed
	log    *stageLog // nil without a Manifest
	held   int64     // bytes that an earlier Stager wrote
}

// Stage picks the inactive slot, lays the version out in it and poisons it. A staged version that
// was not committed is lost. Nothing is written before everything is known to fit. If the same
// request was cut off before, the slot keeps what was written: all of it is read and compared by
// hash first, and Have tells what need not be written again.
//
// Errors: ErrNoSlot, ErrRuns, ErrTooBig (as *SpaceError), *StepError.
func (m *Machine) Stage(ctx context.Context, r *StageRequest) (*Stager, error) {
	return m.stage(ctx, r, sameSum)
}

func (m *Machine) stage(ctx context.Context, r *StageRequest, check checkNote) (*Stager, error) {
	if err := m.ready(opStage); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	i := m.freeSlot()
	if i < 0 {
		return nil, ErrNoSlot
	}
	plan, err := planBlocks(r.Runs, m.base.meta.VirtualDiskSize)
	if err != nil {
		return nil, err
	}
	s := &Stager{m: m, req: r, plan: plan, parent: m.chain[0], sums: make([]atomic.Uint64, plan.pages), seed: maphash.MakeSeed()}
	if resumed, err := s.resume(ctx, check); err != nil || resumed {
		return s, err
	}
	if s.slot, err = m.slotFor(i, plan); err != nil {
		return nil, err
	}
	if err := m.step(opStage, "poison "+s.slot.name, s.poison); err != nil {
		return nil, err
	}
	m.readSlot(s.slot.index) // a version that was staged there is gone
	return s, nil
}

// slotFor takes the other slot if that one is free too and the version fits only there.
func (m *Machine) slotFor(i int, plan *stagePlan) (*slotWriter, error) {
	var tooBig *SpaceError
	for _, k := range []int{i, 1 - i} {
		w, err := m.newSlotWriter(k)
		if err != nil {
			return nil, err
		}
		if m.inChain(m.slots[k]) {
			continue
		}
		if need := plan.places * SlotBlockSize; need <= w.l.payload.length {
			return w, nil
		} else if tooBig == nil || w.l.payload.length > tooBig.Have {
			tooBig = &SpaceError{Slot: w.name, Need: need, Have: w.l.payload.length}
		}
	}
	return nil, tooBig
}

func (s *Stager) poison() (err error) {
	if s.guid, err = s.slot.poison(); err == nil && s.req.Manifest != "" {
		s.log = newStageLog(s.m.files.Journal, s.key(s.slot, s.guid))
	}
	return err
}

// WriteAt writes whole pages of the virtual disk; all of them must be in runs that are not Zero. A
// page that is written again must get the same bytes. Errors: ErrRuns, and those of the disk.
func (s *Stager) WriteAt(p []byte, off int64) (int, error) {
	place, err := s.locate(off, int64(len(p)))
	if err != nil || len(p) == 0 {
		return 0, err
	}
	if err := writeFull(s.slot.f, p, place); err != nil {
		return 0, &StepError{Op: opStage, Step: "write payload", Err: err}
	}
	for at := 0; at < len(p); at += pageSize {
		s.sum(off + int64(at)).Store(s.hash(p[at : at+pageSize]))
	}
	return len(p), s.note(s.index(off), p)
}

// hash is never 0, which means unwritten.
func (s *Stager) hash(page []byte) uint64 { return maphash.Bytes(s.seed, page) | 1 }

// sum is the place of the hash of a data page.
func (s *Stager) sum(off int64) *atomic.Uint64 { return &s.sums[s.index(off)] }

// index counts the data pages below one.
func (s *Stager) index(off int64) int {
	b := &s.plan.blocks[s.plan.find(off/SlotBlockSize)]
	return b.first + b.data.rank(int(off%SlotBlockSize/pageSize))
}

// locate returns the file offset of a stretch of data pages. Payload is in virtual order, so a
// stretch is in one piece.
func (s *Stager) locate(off, n int64) (int64, error) {
	if off < 0 || off%pageSize != 0 || n%pageSize != 0 {
		return 0, fmt.Errorf("%w: write of %d bytes at %d is not whole pages", ErrRuns, n, off)
	}
	for page := off / pageSize; page < (off+n)/pageSize; page++ {
		i := s.plan.find(page / pagesPerBlock)
		if i < 0 || !s.plan.blocks[i].data.has(int(page%pagesPerBlock)) {
			return 0, fmt.Errorf("%w: write at %d is in no run", ErrRuns, page*pageSize)
		}
	}
	i := s.plan.find(off / SlotBlockSize)
	if i < 0 {
		return 0, fmt.Errorf("%w: write at %d is in no run", ErrRuns, off)
	}
	return s.slot.l.payloadOffset(s.plan.blocks[i].place) + off%SlotBlockSize, nil
}

// Finish makes the slot a parent that Commit can name. Each step is durable before the next begins:
// payload, read back and compared by hash; sector bitmaps; BAT; locator, which is what makes the
// slot count; all read back; the journal's label.
//
// Errors: ErrIncomplete, ErrVerify and those of the disk, as *StepError.
func (s *Stager) Finish(ctx context.Context) error {
	if err := s.m.ready(opStage); err != nil {
		return err
	}
	if err := s.missing(); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		run  func() error
	}{
		{"note what is written", s.noteRest},
		{"write partial zeros", s.writeZeros},
		{"flush payload", s.slot.f.Sync},
		{"read payload back", func() error { return s.verifyPayload(ctx) }},
		{"write sector bitmaps", s.writeBitmaps},
		{"write BAT", s.writeBAT},
		{"write locator", func() error { return s.slot.writeLocator(s.parent.guid(), s.parent.name) }},
		{"read structures back", s.verifyStructures},
		{"record the version", s.record},
		{"reload the machine", s.m.load},
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.m.step(opStage, step.name, step.run); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stager) noteRest() error {
	if s.log == nil {
		return nil
	}
	return s.log.flush()
}

func (s *Stager) missing() error {
	n := 0
	for i := range s.sums {
		if s.sums[i].Load() == 0 {
			n++
		}
	}
	if n > 0 {
		return fmt.Errorf("%w: %d of %d were not written", ErrIncomplete, n, len(s.sums))
	}
	return nil
}

// pieces calls f for every run of set pages of the blocks that have payload: file offset and
// length.
func (p *stagePlan) pieces(l *layout, set func(*stageBlock) *pageSet, f func(b *stageBlock, page, pages int, off int64) error) error {
	for i := range p.blocks {
		b := &p.blocks[i]
		for page := 0; page < pagesPerBlock && b.place >= 0; page++ {
			n := 0
			for page+n < pagesPerBlock && set(b).has(page+n) {
				n++
			}
			if n == 0 {
				continue
			}
			if err := f(b, page, n, l.payloadOffset(b.place)+int64(page)*pageSize); err != nil {
				return err
			}
			page += n
		}
	}
	return nil
}

// writeZeros writes the zero pages of blocks that also hold something else, or only some zeros.
func (s *Stager) writeZeros() error {
	zero := block.Aligned(SlotBlockSize)
	return s.plan.pieces(s.slot.l, func(b *stageBlock) *pageSet { return &b.zero }, func(_ *stageBlock, _, n int, off int64) error {
		return writeFull(s.slot.f, zero[:n*pageSize], off)
	})
}

// bitmaps yields the sector bitmap of each chunk that needs one.
func (s *Stager) bitmaps(f func(chunk int64, b []byte) error) error {
	virtual, ratio := s.slot.l.geo.VirtualDiskSize, s.slot.l.geo.ChunkRatio()
	var bitmap []byte
	chunk := int64(-1)
	flush := func() error {
		if bitmap == nil {
			return nil
		}
		return f(chunk, bitmap)
	}
	for i := range s.plan.blocks {
		b := &s.plan.blocks[i]
		if b.place < 0 || b.full(virtual) {
			continue
		}
		if c := b.block / ratio; c != chunk {
			if err := flush(); err != nil {
				return err
			}
			chunk, bitmap = c, make([]byte, s.slot.l.bitmapBytes(c))
		}
		b.setBits(bitmap[b.block%ratio*(mib/ratio):], s.slot.l.bitsPerPage())
	}
	return flush()
}

// setBits sets the bits of all held pages, 8 or 1 for a page; bit 0 of byte 0 is the first sector.
func (b *stageBlock) setBits(bitmap []byte, perPage int) {
	for page := range pagesPerBlock {
		switch held := b.data.has(page) || b.zero.has(page); {
		case held && perPage == 8:
			bitmap[page] = 0xff
		case held:
			bitmap[page/8] |= 1 << (page % 8)
		}
	}
}

func (s *Stager) writeBitmaps() error {
	err := s.bitmaps(func(chunk int64, b []byte) error { return writeChanged(s.slot.f, b, s.slot.l.bitmapOffset(chunk)) })
	if err != nil {
		return err
	}
	return s.slot.f.Sync()
}

func (s *Stager) bat() []byte {
	l := s.slot.l
	b := make([]byte, batPages(l.geo))
	put := func(index int64, e vhdx.BATEntry) { binary.LittleEndian.PutUint64(b[index*8:], uint64(e)) }
	for i := range s.plan.blocks {
		blk := &s.plan.blocks[i]
		switch {
		case blk.place < 0:
			put(l.geo.PayloadIndex(blk.block), vhdx.NewBATEntry(vhdx.PayloadZero, 0))
		case blk.full(l.geo.VirtualDiskSize):
			put(l.geo.PayloadIndex(blk.block), vhdx.NewBATEntry(vhdx.PayloadFullyPresent, l.payloadOffset(blk.place)))
		default:
			put(l.geo.PayloadIndex(blk.block), vhdx.NewBATEntry(vhdx.PayloadPartiallyPresent, l.payloadOffset(blk.place)))
			chunk := blk.block / l.geo.ChunkRatio()
			put(l.geo.BitmapIndex(chunk), vhdx.NewBATEntry(vhdx.BitmapPresent, l.bitmapOffset(chunk)))
		}
	}
	return b
}

func (s *Stager) writeBAT() error {
	if err := writeChanged(s.slot.f, s.bat(), s.slot.l.bat.off); err != nil {
		return err
	}
	return s.slot.f.Sync()
}

// record labels the slot, and forgets labels of slots that are in no chain.
func (s *Stager) record() error {
	return s.m.saveRecord(func(r *machineRecord) {
		r.keepLayers(s.m.byGUIDInChain)
		r.Layers = append(r.Layers, Label{GUID: s.guid, Image: s.req.Image, Version: s.req.Version, Manifest: s.req.Manifest})
	})
}

var _ io.WriterAt = (*Stager)(nil)
