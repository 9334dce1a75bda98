package vhdx

import (
	"cmp"
	"slices"

	"troy/internal/guid"
)

// writer is the write side of a File: the session with its GUIDs, the log and
// the space. Its methods need File.mu held alone.
//
// The order that keeps every crash harmless:
//
//	before the first change: header with a new FileWriteGuid (and DataWriteGuid), both copies, synced
//	commit:                  sync (payload, and pages applied before)
//	                         one log entry, sync
//	                         the first time: header with the LogGuid, both copies, synced
//	                         apply the pages
//	close:                   sync; header with LogGuid zero, both copies, synced
//
// Every entry is its own tail: the sync before it made all earlier pages
// durable. An entry takes at most half the log, so that it never overwrites
// the one before it, which must stay valid while the new one is being written.
type writer struct {
	f       *File
	s       Storage
	space   *space
	began   bool // FileWriteGuid is ours
	data    bool // DataWriteGuid is ours
	logOpen bool // the header names logGUID
	logGUID GUID
	seq     uint64
	ring    int64 // where the next entry goes
	limit   int   // pages that fit into one entry
	dirty   []*page
	freed   []span // space that becomes free with the next commit
	failed  error  // an error after which the file is left alone: the log heals it
	// barrier, when set, waits for payload that others are writing; it is
	// called before every commit.
	barrier func() error
}

func newWriter(f *File, s Storage) *writer {
	w := &writer{f: f, s: s, logGUID: guid.New(), seq: 1}
	half := int64(f.hdr.LogLength) / 2
	n := half / (pageSize + logDescriptorSize)
	for logHeaderLength(n)+n*pageSize > half {
		n--
	}
	w.limit = int(min(n, cachePages/2))
	return w
}

// maxOpPages bounds the pages that one change of one block can touch: the
// bitmap slice of 256 MiB in sectors of 512 bytes, and its BAT entries.
const maxOpPages = 16 + 1 + 2

// writeHeader stores h, with the next sequence number, in the copy that is not
// current, and syncs. Twice makes both copies fresh.
func (w *writer) writeHeader(change func(h *Header)) error {
	h := w.f.hdr
	change(&h)
	for range 2 {
		h.SequenceNumber++
		slot := 1 - w.f.slot
		if _, err := w.s.WriteAt(h.Marshal(), headerOffsets[slot]); err != nil {
			return err
		}
		if err := w.s.Sync(); err != nil {
			return err
		}
		w.f.hdr, w.f.slot = h, slot
	}
	return nil
}

// replay carries out the log that was found at open and closes it.
func (w *writer) replay(v *replayView) error {
	if err := w.begin(); err != nil {
		return err
	}
	if err := v.apply(w.s); err != nil {
		return err
	}
	if err := w.writeHeader(func(h *Header) { h.LogGUID = GUID{} }); err != nil {
		return err
	}
	w.f.r = w.s
	w.f.cache.r = w.s
	return nil
}

// begin changes FileWriteGuid, once per session, before anything is written.
func (w *writer) begin() error {
	if w.began {
		return nil
	}
	err := w.writeHeader(func(h *Header) {
		h.Version, h.LogVersion = 1, 0
		h.FileWriteGUID = guid.New()
	})
	w.began = err == nil
	return err
}

// beginData changes DataWriteGuid as well: children know the disk by it.
func (w *writer) beginData() error {
	if w.data {
		return nil
	}
	return w.setDataWriteGUID(guid.New())
}

// setDataWriteGUID gives the disk a chosen identity of content.
func (w *writer) setDataWriteGUID(g GUID) error {
	err := w.writeHeader(func(h *Header) {
		h.Version, h.LogVersion = 1, 0
		if !w.began {
			h.FileWriteGUID = guid.New()
		}
		h.DataWriteGUID = g
	})
	if err == nil {
		w.began, w.data = true, true
	}
	return err
}

// touch marks a cached page as changed.
func (w *writer) touch(p *page) {
	if !p.dirty {
		p.dirty = true
		w.dirty = append(w.dirty, p)
	}
}

// edit changes bytes of structures that are written through the log.
func (w *writer) edit(off int64, b []byte) error {
	for len(b) > 0 {
		p, err := w.f.cache.get(off)
		if err != nil {
			return err
		}
		n := copy(p.data[off%pageSize:], b)
		w.touch(p)
		b, off = b[n:], off+int64(n)
	}
	return nil
}

// room commits when the next change might not fit into the entry any more.
func (w *writer) room() error {
	if len(w.dirty)+maxOpPages <= w.limit {
		return nil
	}
	return w.commit()
}

// commit makes everything done so far durable, in one log entry. After an
// error the session is over: what the last entry says will be replayed.
func (w *writer) commit() error {
	if w.failed != nil {
		return w.failed
	}
	if w.barrier != nil {
		if err := w.barrier(); err != nil {
			return w.fail(err)
		}
	}
	if err := w.s.Sync(); err != nil {
		return w.fail(err)
	}
	if len(w.dirty) == 0 {
		return nil
	}
	if err := w.begin(); err != nil {
		return w.fail(err)
	}
	if err := w.log(); err != nil {
		return w.fail(err)
	}
	return w.fail(w.apply())
}

func (w *writer) fail(err error) error {
	if err != nil {
		w.failed = err
	}
	return err
}

// log writes the entry of all dirty pages.
func (w *writer) log() error {
	slices.SortFunc(w.dirty, func(a, b *page) int { return cmp.Compare(a.off, b.off) })
	whole := w.f.size / mib * mib // a file that ends off a MiB (Disk2vhd) holds nothing in the rest
	e := &LogEntry{
		SequenceNumber:    w.seq,
		Tail:              uint32(w.ring),
		LogGUID:           w.logGUID,
		FlushedFileOffset: whole,
		LastFileOffset:    whole,
	}
	for _, p := range w.dirty {
		e.Descriptors = append(e.Descriptors, LogDescriptor{FileOffset: p.off, Data: p.data[:]})
	}
	b, err := e.Marshal()
	if err != nil {
		return err
	}
	if int64(len(b)) > int64(w.f.hdr.LogLength) {
		return unsupported("log", int64(w.f.hdr.LogOffset), "one change of %d bytes does not fit into it", len(b))
	}
	if err := w.writeRing(b); err != nil {
		return err
	}
	if err := w.s.Sync(); err != nil {
		return err
	}
	w.seq++
	if w.logOpen {
		return nil
	}
	// The entry is there before the header names it: never a LogGuid
	// without a valid sequence.
	w.logOpen = true
	return w.writeHeader(func(h *Header) { h.LogGUID = w.logGUID })
}

// writeRing writes b at the place of the next entry, around the end if need be.
func (w *writer) writeRing(b []byte) error {
	off, length := int64(w.f.hdr.LogOffset), int64(w.f.hdr.LogLength)
	first := min(int64(len(b)), length-w.ring)
	if _, err := w.s.WriteAt(b[:first], off+w.ring); err != nil {
		return err
	}
	if first < int64(len(b)) {
		if _, err := w.s.WriteAt(b[first:], off); err != nil {
			return err
		}
	}
	w.ring = (w.ring + int64(len(b))) % length
	return nil
}

// apply writes the logged pages to their places. They need no sync now: the
// log holds them until the next commit has synced.
func (w *writer) apply() error {
	for i := 0; i < len(w.dirty); {
		j := i + 1
		for j < len(w.dirty) && w.dirty[j].off == w.dirty[j-1].off+pageSize {
			j++
		}
		if err := w.applyRun(w.dirty[i:j]); err != nil {
			return err
		}
		i = j
	}
	for _, p := range w.dirty {
		p.dirty = false
	}
	clear(w.dirty)
	w.dirty = w.dirty[:0]
	for _, s := range w.freed {
		w.space.release(s.off, s.length)
	}
	w.freed = w.freed[:0]
	return nil
}

// applyRun writes neighbouring pages in one go.
func (w *writer) applyRun(run []*page) error {
	b := make([]byte, 0, len(run)*pageSize)
	for _, p := range run {
		b = append(b, p.data[:]...)
	}
	_, err := w.s.WriteAt(b, run[0].off)
	return err
}

// finish ends the session: everything durable, log closed.
func (w *writer) finish() error {
	if w.failed != nil {
		return w.failed
	}
	if !w.began && len(w.dirty) == 0 {
		return nil
	}
	if err := w.commit(); err != nil {
		return err
	}
	if !w.logOpen {
		return nil
	}
	if err := w.s.Sync(); err != nil {
		return w.fail(err)
	}
	w.logOpen = false
	w.logGUID = guid.New() // old entries belong to no session when more is written
	return w.fail(w.writeHeader(func(h *Header) { h.LogGUID = GUID{} }))
}
