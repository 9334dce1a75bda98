package ntfs

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	logPage         = 4096
	logRecordHeader = 0x30
	maxLogSize      = 4 << 30
)

// Flags of a log record.
const (
	recordMultiPage = 1 << iota // goes on in the next page
	recordNoRedo                // has no redo buffer of its own
	recordNoUndo                // has no undo buffer of its own

	recordFlags = recordMultiPage | recordNoRedo | recordNoUndo
)

// logReader finds the current content of every log record page. A page that LFS was
// filling when the power went may be newer in one of its copies at the head of the
// file: two single pages in version 1, two times sixteen in version 2.
type logReader struct {
	s     *stream
	r     *restart
	first int64               // byte of the first page of the ring
	best  map[int64]pageState // by byte of the ring
	end   uint64              // highest LSN that ends on any page
	buf   [logPage]byte       // page at bufAt, unprotected
	bufAt int64
}

// pageState says which copy of a page counts.
type pageState struct {
	at      int64  // byte of the file at which that copy lies
	lsn     uint64 // highest on the page
	lastEnd uint64 // LSN of the last record that ends on it, 0 when none does
}

// newLogReader reads all pages once. An error means that nothing certain can be said.
func newLogReader(s *stream, r *restart) (*logReader, error) {
	l := &logReader{s: s, r: r, first: 4 * logPage, best: map[int64]pageState{}, bufAt: -1}
	if r.major >= 2 {
		l.first = 0x22 * logPage
	}
	if r.major < 1 || r.major > 2 || r.fileSize > s.size || r.fileSize > maxLogSize || r.fileSize <= l.first ||
		uint64(r.fileSize)>>3 > 1<<(64-r.seqBits) {
		return nil, fmt.Errorf("%w: log of version %d.%d with %d of %d bytes", ErrUnsupported, r.major, r.minor, r.fileSize, s.size)
	}
	chunk := make([]byte, 256*logPage)
	for at := int64(2 * logPage); at < r.fileSize; at += int64(len(chunk)) {
		chunk = chunk[:min(int64(len(chunk)), r.fileSize-at)]
		if _, err := s.ReadAt(chunk, at); err != nil && err != io.EOF {
			return nil, err
		}
		for i := 0; i < len(chunk); i += logPage {
			if err := l.index(chunk[i:i+logPage], at+int64(i)); err != nil {
				return nil, err
			}
		}
	}
	for _, p := range l.best {
		l.end = max(l.end, p.lastEnd)
	}
	for _, p := range l.best {
		if p.lsn > l.end {
			return nil, corrupt("$LogFile", int(p.at), "a record begins there and does not end")
		}
	}
	return l, nil
}

// index takes the page b, which lies at byte at of the file, into account.
func (l *logReader) index(b []byte, at int64) error {
	if string(b[:4]) != "RCRD" {
		return unused(b, at)
	}
	if err := unprotect(b, "RCRD", "$LogFile page"); err != nil {
		return fmt.Errorf("page at %d: %w", at, err)
	}
	le := binary.LittleEndian
	p := pageState{at: at, lsn: le.Uint64(b[8:])}
	target := at
	if at < l.first { // a copy: in version 1 the LSN's place holds the byte it is for
		if l.r.major >= 2 {
			target = int64(le.Uint32(b[0x3c:]))
		} else {
			target, p.lsn = int64(p.lsn), le.Uint64(b[0x20:])
		}
		if target < l.first || target >= l.r.fileSize || target%logPage != 0 {
			return corrupt("$LogFile", int(at), "copy of a page at %d", target)
		}
	}
	if le.Uint32(b[0x10:])&1 != 0 {
		p.lastEnd = le.Uint64(b[0x20:])
	}
	if old, ok := l.best[target]; !ok || p.lsn > old.lsn || p.lsn == old.lsn && p.lastEnd >= old.lastEnd {
		l.best[target] = p
	}
	return nil
}

// unused accepts a page that LFS has never written: all FF or all zero.
func unused(b []byte, at int64) error {
	for _, c := range b {
		if c != b[0] || c != 0 && c != 0xff {
			return corrupt("$LogFile", int(at), "page is neither a log page nor empty")
		}
	}
	return nil
}

// page returns the page of the ring at byte at.
func (l *logReader) page(at int64) ([]byte, pageState, error) {
	p, ok := l.best[at]
	if !ok {
		return nil, p, corrupt("$LogFile", int(at), "page was never written")
	}
	if l.bufAt != at {
		l.bufAt = -1
		if _, err := l.s.ReadAt(l.buf[:], p.at); err != nil && err != io.EOF {
			return nil, p, err
		}
		if err := unprotect(l.buf[:], "RCRD", "$LogFile page"); err != nil {
			return nil, p, err
		}
		l.bufAt = at
	}
	return l.buf[:], p, nil
}

// offset returns the byte of the file that an LSN names.
func (l *logReader) offset(lsn uint64) int64 {
	return int64(lsn << 3 & (8<<(64-l.r.seqBits) - 1))
}

// lsn returns the LSN of a byte of the file in the round of the ring that seq counts.
func (l *logReader) lsn(at int64, seq uint64) uint64 {
	return seq<<(64-l.r.seqBits) | uint64(at)>>3
}

// next returns the page that follows in the ring, and whether that starts a new round.
func (l *logReader) next(at int64) (int64, bool) {
	if at += logPage; at < l.r.fileSize {
		return at, false
	}
	return l.first, true
}

// logRecord is one record of the log.
type logRecord struct {
	lsn    uint64
	typ    uint32
	flags  uint16
	client []byte // client data
}

// read returns the record at lsn and the LSN at which the next one can begin: behind
// it, or at the head of the next page when it is the last of its page.
func (l *logReader) read(lsn uint64) (rec logRecord, next uint64, err error) {
	at, seq := l.offset(lsn), lsn>>(64-l.r.seqBits)
	pageAt, in := at/logPage*logPage, int(at%logPage)
	bad := func(reason string, a ...any) (logRecord, uint64, error) {
		return rec, 0, corrupt("$LogFile", int(at), reason, a...)
	}
	if pageAt < l.first || pageAt >= l.r.fileSize || in < l.r.pageData || in > logPage-logRecordHeader {
		return bad("LSN %#x names no record", lsn)
	}
	b, state, err := l.page(pageAt)
	if err != nil {
		return rec, 0, err
	}
	le := binary.LittleEndian
	if le.Uint64(b[in:]) != lsn {
		return bad("record %#x instead of %#x", le.Uint64(b[in:]), lsn)
	}
	rec = logRecord{lsn: lsn, typ: le.Uint32(b[in+0x20:]), flags: le.Uint16(b[in+0x28:])}
	need := int64(le.Uint32(b[in+0x18:]))
	if need > l.r.fileSize/2 {
		return bad("record of %d bytes", need)
	}
	for in += logRecordHeader; ; in = l.r.pageData {
		n := min(need, int64(logPage-in))
		rec.client = append(rec.client, b[in:in+int(n)]...)
		if need, in = need-n, in+int(n); need == 0 {
			break
		}
		var wrapped bool
		if pageAt, wrapped = l.next(pageAt); wrapped {
			seq++
		}
		if b, state, err = l.page(pageAt); err != nil {
			return rec, 0, err
		}
		if state.lsn < lsn {
			return bad("record goes on in a page that is older")
		}
	}
	in = (in + 7) &^ 7
	if state.lsn != lsn && in <= logPage-logRecordHeader {
		return rec, l.lsn(pageAt+int64(in), seq), nil
	}
	pageAt, wrapped := l.next(pageAt)
	if wrapped {
		seq++
	}
	return rec, l.lsn(pageAt+int64(l.r.pageData), seq), nil
}

// walk calls visit for every record from the first that a restart needs to the last
// one; an error means that some record may have been missed.
func (l *logReader) walk(visit func(logRecord) error) error {
	if l.end < l.r.oldestLSN {
		return corrupt("$LogFile", -1, "ends at %#x before the oldest record %#x", l.end, l.r.oldestLSN)
	}
	if l.end-l.r.oldestLSN > 1<<(64-l.r.seqBits) {
		return corrupt("$LogFile", -1, "more than one round from %#x to %#x", l.r.oldestLSN, l.end)
	}
	for lsn := l.r.oldestLSN; ; {
		rec, next, err := l.read(lsn)
		if err != nil {
			return err
		}
		if err := visit(rec); err != nil {
			return err
		}
		if lsn == l.end {
			return nil
		}
		if next <= lsn || next > l.end {
			return corrupt("$LogFile", -1, "record %#x is followed by %#x, the last is %#x", lsn, next, l.end)
		}
		lsn = next
	}
}
