package vhdx

import (
	"hash/crc32"
	"io"

	"troy/internal/block"
)

// logRing is the log of a file: a ring of 4 KiB sectors (MS-VHDX 2.3).
type logRing struct {
	r      io.ReaderAt
	off    int64 // place in the file
	length int64 // bytes
	guid   GUID  // the only one whose entries count
	kinds  []byte
}

// Kinds of sectors, by their first bytes.
const (
	sectorOther byte = iota
	sectorEntry
	sectorDescriptors
	sectorData
)

// ringEntry is a valid entry of the active log.
type ringEntry struct {
	rawLogEntry
	pos int64 // place in the ring
}

// maxReplayOps bounds what one replay may hold in memory: twice the pages of
// the longest log.
const maxReplayOps = 2 * maxLogLength / pageSize

// readAt fills b from ring position pos, around the end if need be.
func (l *logRing) readAt(b []byte, pos int64) error {
	for len(b) > 0 {
		pos %= l.length
		n := min(int64(len(b)), l.length-pos)
		if err := block.ReadFull(l.r, b[:n], l.off+pos); err != nil {
			return err
		}
		b, pos = b[n:], pos+n
	}
	return nil
}

// classify notes what every sector starts with, so that an entry whose inside
// cannot be right costs no checksum: a hostile log must not cost more than
// its length.
func (l *logRing) classify() error {
	l.kinds = make([]byte, l.length/pageSize)
	buf := make([]byte, min(l.length, mib))
	for pos := int64(0); pos < l.length; pos += int64(len(buf)) {
		if err := l.readAt(buf, pos); err != nil {
			return err
		}
		for i := 0; i < len(buf); i += pageSize {
			l.kinds[(pos+int64(i))/pageSize] = sectorKind(buf[i:])
		}
	}
	return nil
}

func sectorKind(b []byte) byte {
	switch string(b[:4]) {
	case logEntrySignature:
		return sectorEntry
	case logDescSignature, logZeroSignature:
		return sectorDescriptors
	case logDataSignature:
		return sectorData
	}
	return sectorOther
}

// activeSequence returns the entries to be replayed, tail first: of all runs
// of valid entries with rising sequence numbers that hold the tail their head
// names, the run with the highest head. It is empty when there is none.
func (l *logRing) activeSequence() ([]*ringEntry, error) {
	if err := l.classify(); err != nil {
		return nil, err
	}
	next := make(map[int64]*ringEntry) // by position
	pred := make(map[int64]*ringEntry) // by position of the entry that follows
	for i, k := range l.kinds {
		if k != sectorEntry {
			continue
		}
		e, err := l.entryAt(int64(i) * pageSize)
		if err != nil {
			return nil, err
		}
		if e != nil {
			next[e.pos] = e
			pred[e.end(l.length)] = e
		}
	}
	var best []*ringEntry
	for _, e := range next {
		if f := next[e.end(l.length)]; f != nil && f.SequenceNumber == e.SequenceNumber+1 {
			continue // not a head
		}
		if best != nil && best[len(best)-1].SequenceNumber >= e.SequenceNumber {
			continue
		}
		if run := runTo(e, pred); run != nil {
			best = run
		}
	}
	return best, nil
}

// end returns the position after the entry.
func (e *ringEntry) end(ring int64) int64 { return (e.pos + e.length) % ring }

// runTo walks back from head to the tail it names; nil if the run breaks before.
func runTo(head *ringEntry, pred map[int64]*ringEntry) []*ringEntry {
	run := []*ringEntry{head}
	for e := head; e.pos != int64(head.Tail); {
		p := pred[e.pos]
		if p == nil || p.SequenceNumber+1 != e.SequenceNumber {
			return nil
		}
		run = append(run, p)
		e = p
	}
	for i, j := 0, len(run)-1; i < j; i, j = i+1, j-1 {
		run[i], run[j] = run[j], run[i]
	}
	return run
}

// entryAt returns the valid entry at pos, or nil. The error is one of reading.
func (l *logRing) entryAt(pos int64) (*ringEntry, error) {
	first := make([]byte, pageSize)
	if err := l.readAt(first, pos); err != nil {
		return nil, err
	}
	h, err := parseLogEntryHeader(first)
	if err != nil || h.LogGUID != l.guid || h.length > l.length || int64(h.Tail) >= l.length {
		return nil, nil
	}
	e := &ringEntry{*h, pos}
	if h.count > maxReplayOps || !l.insideFits(e) {
		return nil, nil
	}
	ok, err := l.verify(e)
	if err != nil || !ok {
		return nil, err
	}
	return e, nil
}

// insideFits checks the kind of each sector of the entry.
func (l *logRing) insideFits(e *ringEntry) bool {
	hdr := logHeaderLength(e.count)
	for o := int64(pageSize); o < e.length; o += pageSize {
		want := sectorData
		if o < hdr {
			want = sectorDescriptors
		}
		if l.kinds[(e.pos+o)%l.length/pageSize] != want {
			return false
		}
	}
	return true
}

// verify checks checksum, descriptors and the sequence halves of data sectors.
func (l *logRing) verify(e *ringEntry) (bool, error) {
	hdr := make([]byte, logHeaderLength(e.count)) // every sector of it was seen in the file
	if err := l.readAt(hdr, e.pos); err != nil {
		return false, err
	}
	sum := le.Uint32(hdr[4:])
	le.PutUint32(hdr[4:], 0)
	crc := crc32.Update(0, castagnoli, hdr)
	data := int64(0)
	for i := range e.count {
		_, isData, err := parseLogDescriptor(hdr[logEntryHeader+i*logDescriptorSize:], e.SequenceNumber)
		if err != nil {
			return false, nil
		}
		if isData {
			data++
		}
	}
	if int64(len(hdr))+data*pageSize != e.length {
		return false, nil
	}
	s := make([]byte, pageSize)
	for o := int64(len(hdr)); o < e.length; o += pageSize {
		if err := l.readAt(s, e.pos+o); err != nil {
			return false, err
		}
		crc = crc32.Update(crc, castagnoli, s)
		if le.Uint32(s[4:]) != uint32(e.SequenceNumber>>32) || le.Uint32(s[pageSize-4:]) != uint32(e.SequenceNumber) {
			return false, nil
		}
	}
	return crc == sum, nil
}

// replayOp is one update in the order of replay.
type replayOp struct {
	off, length int64
	sector      int64   // ring position of the data sector; -1: zeros
	lead        [8]byte // bytes that the data sector's signature hides
	trail       [4]byte
}

// ops returns the updates of the entry.
func (l *logRing) ops(e *ringEntry) ([]replayOp, error) {
	hdr := make([]byte, logHeaderLength(e.count))
	if err := l.readAt(hdr, e.pos); err != nil {
		return nil, err
	}
	ops := make([]replayOp, 0, e.count)
	sector := e.pos + int64(len(hdr))
	for i := range e.count {
		t := hdr[logEntryHeader+i*logDescriptorSize:][:logDescriptorSize]
		d, isData, err := parseLogDescriptor(t, e.SequenceNumber)
		if err != nil {
			return nil, err
		}
		op := replayOp{off: d.FileOffset, length: d.ZeroLength, sector: -1}
		if isData {
			op.length, op.sector = pageSize, sector%l.length
			op.lead, op.trail = [8]byte(t[8:16]), [4]byte(t[4:8])
			sector += pageSize
		}
		if op.off < l.off+l.length && op.off+op.length > l.off {
			return nil, corrupt("log entry", l.off+e.pos, "an update of the log itself, at %#x", op.off)
		}
		ops = append(ops, op)
	}
	return ops, nil
}

// page reads the page that a data operation writes.
func (l *logRing) page(op *replayOp, b []byte) error {
	if err := l.readAt(b, op.sector); err != nil {
		return err
	}
	copy(b, op.lead[:])
	copy(b[pageSize-4:], op.trail[:])
	return nil
}
