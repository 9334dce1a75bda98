package machine

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"troy/internal/block"
	"troy/internal/guid"
	"troy/internal/testing/crashdisk"
	"troy/vhdx"
)

// session is what Windows may do to the boot child while it runs.
type session struct {
	seed    uint64
	dirty   bool // power cut: the changes are in the log only
	odd     bool // blocks trimmed, promoted to FULLY_PRESENT, and moved
	locator bool // paths completed and parent_linkage2 added
}

// sessionWriter builds the changed structures before they are written or logged.
type sessionWriter struct {
	t    testing.TB
	f    *crashdisk.File
	l    *layout
	rnd  *rand.Rand
	bat  []byte
	bits []byte // first chunk's bitmap
	view []byte
}

// run changes the boot child of a machine at rest, and r.now.
func (s session) run(t testing.TB, r *rig) {
	t.Helper()
	w := &sessionWriter{t: t, f: r.disk.File(BootName), l: bootLayout(r.virtual, r.sector), rnd: rand.New(rand.NewPCG(s.seed, 5)), view: bytes.Clone(r.now)}
	w.bat, w.bits = w.read(w.l.bat.off, batPages(w.l.geo)), w.read(w.l.bitmaps.off, mib)
	if s.odd {
		w.oddBlocks()
	}
	for range 20 {
		w.writeSome()
	}
	// As Windows has it: ones past the end of the disk, up to the end of the page.
	used := r.virtual / int64(r.sector) / 8
	for i := used; i < block.RoundUp(used, pageSize); i++ {
		w.bits[i] = 0xff
	}
	must(t, w.f.Sync())
	w.finish(s)
	r.now = w.view
}

func (w *sessionWriter) read(off, n int64) []byte {
	b := make([]byte, n)
	_, err := w.f.ReadAt(b, off)
	must(w.t, err)
	return b
}

func (w *sessionWriter) entry(block int64) vhdx.BATEntry {
	return vhdx.BATEntry(binary.LittleEndian.Uint64(w.bat[w.l.geo.PayloadIndex(block)*8:]))
}

func (w *sessionWriter) setEntry(block int64, e vhdx.BATEntry) {
	binary.LittleEndian.PutUint64(w.bat[w.l.geo.PayloadIndex(block)*8:], uint64(e))
}

// oddBlocks: block 0 is trimmed and keeps its place; block 1 is trimmed, loses its place, and block
// 2 moves there, FULLY_PRESENT.
func (w *sessionWriter) oddBlocks() {
	w.setEntry(0, vhdx.NewBATEntry(vhdx.PayloadUnmapped, w.l.payloadOffset(0)))
	w.setEntry(1, vhdx.NewBATEntry(vhdx.PayloadUnmapped, 0))
	clear(w.view[:2*bootBlockSize])
	w.setEntry(2, vhdx.NewBATEntry(vhdx.PayloadFullyPresent, w.l.payloadOffset(1)))
	p := w.view[2*bootBlockSize : 3*bootBlockSize]
	crashdisk.Garbage(w.rnd.Uint64())(p, 0)
	_, err := w.f.WriteAt(p, w.l.payloadOffset(1))
	must(w.t, err)
	perBlock := bootBlockSize / int64(w.l.geo.LogicalSectorSize) / 8
	for i := range perBlock {
		w.bits[2*perBlock+i] = 0xff
	}
}

// writeSome writes a few sectors of a block that has a place. Windows writes sectors, not pages.
func (w *sessionWriter) writeSome() {
	size := int64(w.l.geo.LogicalSectorSize)
	first := w.rnd.Int64N(int64(len(w.view)) / size)
	in := first * size / bootBlockSize
	e := w.entry(in)
	if e.State() != vhdx.PayloadPartiallyPresent && e.State() != vhdx.PayloadFullyPresent {
		return
	}
	perBlock := bootBlockSize / size
	n := min(1+w.rnd.Int64N(20), (in+1)*perBlock-first)
	crashdisk.Garbage(w.rnd.Uint64())(w.view[first*size:(first+n)*size], 0)
	for i := first; i < first+n; i++ {
		w.bits[i/8] |= 1 << (i % 8)
	}
	off := e.FileOffset() + first*size - in*bootBlockSize
	page := off / pageSize * pageSize
	p := w.read(page, block.RoundUp(off+n*size-page, pageSize))
	copy(p[off-page:], w.view[first*size:(first+n)*size])
	_, err := w.f.WriteAt(p, page)
	must(w.t, err)
}

// finish writes the structures: in their places when Windows closed the file, else in two log
// entries of which the first was applied in part.
func (w *sessionWriter) finish(s session) {
	h, slot, err := vhdx.ReadHeaders(w.f)
	must(w.t, err)
	h.FileWriteGUID, h.DataWriteGUID = guid.New(), guid.New()
	one := w.changes(w.bat, w.l.bat.off)
	one = append(one, w.changes(w.bits, w.l.bitmaps.off)...)
	two := w.locatorChanges(s.locator)
	if s.dirty {
		h.LogGUID = guid.New()
		w.writeLog(h.LogGUID, one, two)
		if len(one) > 1 {
			one, two = one[:len(one)/2], nil
		}
	}
	w.writeHeaders(h, slot)
	for _, d := range append(one, two...) {
		_, err := w.f.WriteAt(d.Data, d.FileOffset)
		must(w.t, err)
	}
	must(w.t, w.f.Sync())
}

func (w *sessionWriter) changes(want []byte, off int64) (ds []vhdx.LogDescriptor) {
	runs, err := changedPages(File{w.f, w.f.Size()}, want, off)
	must(w.t, err)
	for _, r := range runs {
		for at := r[0]; at < r[0]+r[1]; at += pageSize {
			ds = append(ds, vhdx.LogDescriptor{FileOffset: off + int64(at), Data: want[at : at+pageSize]})
		}
	}
	return ds
}

func (w *sessionWriter) locatorChanges(change bool) []vhdx.LogDescriptor {
	if !change {
		return nil
	}
	m, err := vhdx.ParseMetadata(w.f, w.l.metadata.off, w.l.metadata.length)
	must(w.t, err)
	m.ParentLocator.Entries = append(m.ParentLocator.Entries,
		vhdx.LocatorEntry{Key: vhdx.KeyAbsoluteWin32Path, Value: `\\?\C:\Troy\elsewhere.vhdx`},
		vhdx.LocatorEntry{Key: vhdx.KeyVolumePath, Value: `\\?\Volume{11111111-2222-3333-4444-555555555555}\Troy\elsewhere.vhdx`},
		vhdx.LocatorEntry{Key: vhdx.KeyParentLinkage2, Value: "{00000000-0000-0000-0000-000000000000}"})
	b, err := m.Marshal()
	must(w.t, err)
	return w.changes(b, w.l.metadata.off)
}

// writeLog puts the entries near the end of the ring, so that they wrap around.
func (w *sessionWriter) writeLog(id guid.GUID, entries ...[]vhdx.LogDescriptor) {
	at := w.l.log.length - 2*pageSize
	tail, seq, size := at, uint64(1)<<40+7, w.f.Size()
	for _, ds := range entries {
		e := &vhdx.LogEntry{SequenceNumber: seq, Tail: uint32(tail), LogGUID: id, FlushedFileOffset: size, LastFileOffset: size, Descriptors: ds}
		b, err := e.Marshal()
		must(w.t, err)
		for ; len(b) > 0; b = b[pageSize:] {
			_, err := w.f.WriteAt(b[:pageSize], w.l.log.off+at)
			must(w.t, err)
			at = (at + pageSize) % w.l.log.length
		}
		seq++
	}
	must(w.t, w.f.Sync())
}

func (w *sessionWriter) writeHeaders(h *vhdx.Header, slot int) {
	for range 2 {
		h.SequenceNumber++
		slot = 1 - slot
		_, err := w.f.WriteAt(h.Marshal(), headerOffset(slot))
		must(w.t, err)
		must(w.t, w.f.Sync())
	}
}
