package machine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"troy/internal/block"
	"troy/internal/guid"
)

// key is the identity of what is staged where.
func (s *Stager) key(w *slotWriter, id guid.GUID) (key logKey) {
	h := sha256.New()
	for _, part := range [][]byte{id[:], []byte(s.req.Image), []byte(s.req.Manifest)} {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	var b []byte
	for _, n := range []int64{int64(s.req.Version), w.l.geo.VirtualDiskSize, w.l.payload.off, w.l.payload.length} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	for _, r := range s.req.Runs {
		zero := uint64(0)
		if r.Zero {
			zero = 1
		}
		b = binary.LittleEndian.AppendUint64(b, uint64(r.Offset))
		b = binary.LittleEndian.AppendUint64(b, uint64(r.Length)|zero)
	}
	h.Write(b)
	copy(key[:], h.Sum(nil))
	return key
}

// checkNote decides whether the pages that a note names are what was written: sum is made of what
// the disk holds.
type checkNote func(n stageNote, sum [16]byte) bool

func sameSum(n stageNote, sum [16]byte) bool { return n.sum == sum }

// resume looks for a slot in which the same was staged before, and takes over what is there.
func (s *Stager) resume(ctx context.Context, check checkNote) (bool, error) {
	if s.req.Manifest == "" {
		return false, nil
	}
	for k, d := range s.m.slots {
		if s.m.inChain(d) || s.m.staged() == d {
			continue
		}
		if notes := s.findLog(k); len(notes) > 0 {
			return true, s.takeOver(ctx, notes, check)
		}
	}
	return false, nil
}

// findLog returns the notes of a slot.
func (s *Stager) findLog(k int) []stageNote {
	w, err := s.m.newSlotWriter(k)
	if err != nil || s.plan.places*SlotBlockSize > w.l.payload.length {
		return nil // slotFor says so if no slot fits
	}
	h, _ := w.readHeader()
	if h == nil {
		return nil
	}
	s.slot, s.guid = w, h.DataWriteGUID
	s.log = newStageLog(s.m.files.Journal, s.key(w, s.guid))
	return s.log.load()
}

// takeOver reads the pages that the notes name. A slot that was finished but never labelled is
// unfinished from here on.
func (s *Stager) takeOver(ctx context.Context, notes []stageNote, check checkNote) error {
	unname := func() error { return s.slot.writeLocator(guid.GUID{}, BaseName) }
	if err := s.m.step(opStage, "poison "+s.slot.name, unname); err != nil {
		return err
	}
	s.m.readSlot(s.slot.index)
	slices.SortFunc(notes, func(a, b stageNote) int { return cmp.Compare(a.first, b.first) })
	var r noteReader
	for _, n := range notes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if n.count <= maxNotePages && uint64(n.first)+uint64(n.count) <= uint64(len(s.sums)) && !s.written(n) {
			r.take(s, n, check)
		}
	}
	s.held = r.held
	return nil
}

// written tells whether all pages of a note are there already.
func (s *Stager) written(n stageNote) bool {
	for i := range int(n.count) {
		if s.sums[int(n.first)+i].Load() == 0 {
			return false
		}
	}
	return true
}

// noteReader compares notes with the slot.
type noteReader struct {
	buf  []byte
	sums []pageSum
	held int64 // bytes that were taken over
}

// take takes the pages of a note over if they hold what was written. What cannot be read is fetched
// and written again.
func (r *noteReader) take(s *Stager, n stageNote, check checkNote) {
	if r.buf == nil {
		r.buf = block.Aligned(maxNotePages * pageSize)
	}
	p := r.buf[:int(n.count)*pageSize]
	at := 0
	err := s.plan.dataPages(s.slot.l, int(n.first), int(n.count), func(off int64, pages int) error {
		err := block.ReadFull(s.slot.f, p[at:at+pages*pageSize], off)
		at += pages * pageSize
		return err
	})
	if err != nil {
		return
	}
	if r.sums = hashPages(r.sums[:0], p); !check(n, sumPages(r.sums)) {
		return
	}
	for i := range int(n.count) {
		sum := &s.sums[int(n.first)+i]
		if sum.Swap(s.hash(p[i*pageSize:(i+1)*pageSize])) == 0 {
			r.held += pageSize
		}
	}
}

// hashPages appends the SHA-256 of each page.
func hashPages(sums []pageSum, p []byte) []pageSum {
	for ; len(p) > 0; p = p[pageSize:] {
		sums = append(sums, sha256.Sum256(p[:pageSize]))
	}
	return sums
}

// Have tells whether bytes off to off+length of the new version are in the slot already, or will be
// without WriteAt because they are zeros: written by this Stager, or before by one that was cut
// off, and read and hashed since. It may be called concurrently.
func (s *Stager) Have(off, length int64) bool {
	if off < 0 || length < 0 || off%pageSize != 0 || length%pageSize != 0 {
		return false
	}
	for page := off / pageSize; page < (off+length)/pageSize; page++ {
		i := s.plan.find(page / pagesPerBlock)
		if i < 0 {
			return false
		}
		b, at := &s.plan.blocks[i], int(page%pagesPerBlock)
		if !b.zero.has(at) && (!b.data.has(at) || s.sum(page*pageSize).Load() == 0) {
			return false
		}
	}
	return true
}

// Held is how many bytes of data Stage found in the slot: 0 unless an earlier one was cut off.
func (s *Stager) Held() int64 { return s.held }

// Note notes what was written since the last note, without a flush: a process that is killed
// afterwards finds all of it again. WriteAt does so by itself after each MiB, so Note is for the
// end of a unit that is not to be fetched twice, and for giving up. It may be called concurrently.
// Without a Manifest it does nothing. Errors: those of the disk, as *StepError.
func (s *Stager) Note() error { return s.m.step(opStage, "note what is written", s.noteRest) }

// note is the part of WriteAt that makes it possible to go on after a cut.
func (s *Stager) note(first int, p []byte) error {
	if s.log == nil {
		return nil
	}
	sums := hashPages(nil, p)
	if err := s.m.step(opStage, "note what is written", func() error { return s.log.add(uint32(first), sums) }); err != nil {
		return err
	}
	if s.log.unflushed.Add(int64(len(p))) < s.log.flushBytes {
		return nil
	}
	s.log.unflushed.Store(0)
	return s.checkpoint()
}

// checkpoint bounds what a power cut costs: payload first, then the notes of it.
func (s *Stager) checkpoint() error {
	for _, step := range []struct {
		name string
		run  func() error
	}{
		{"flush payload", s.slot.f.Sync},
		{"note what is written", s.log.flush},
		{"flush the notes", s.m.files.Journal.Sync},
	} {
		if err := s.m.step(opStage, step.name, step.run); err != nil {
			return err
		}
	}
	return nil
}
