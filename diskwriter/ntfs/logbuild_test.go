package ntfs_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"troy/diskwriter/ntfs"
)

// How a synthetic log was left.
const (
	logInUse  = iota // client in use, volume not clean
	logClosed        // client in use, volume clean: what Windows leaves
	logNobody        // no client
)

// logBuilder writes a $LogFile as LFS lays it out, straight from the published
// structures; the walker is checked against it and against a real one.
type logBuilder struct {
	t            *testing.T
	m            *image
	pos, size    int64
	major, minor int
	first, at    int64 // first page of the ring, current page
	in           int   // place in the current page
	seq          uint64
	page         []byte
	oldest, last uint64
	ended        bool   // a record ends on the current page
	lastStart    uint64 // highest LSN on the current page
	lsns         []uint64
	copyOnly     bool // the last page goes only to its copy
}

const (
	testPage     = 4096
	testPageData = 0x40
	testSeqBits  = 0x2d
)

func newLog(t *testing.T, m *image, major, minor int) *logBuilder {
	t.Helper()
	pos, size, err := m.open().LogPlace()
	if err != nil {
		t.Fatal(err)
	}
	l := &logBuilder{t: t, m: m, pos: pos, size: size, major: major, minor: minor, seq: 5, first: 4 * testPage}
	if major >= 2 {
		l.first = 0x22 * testPage
	}
	m.write(bytes.Repeat([]byte{0xff}, int(size)), pos)
	l.at = l.first
	l.begin()
	return l
}

func (l *logBuilder) begin() {
	l.page, l.in, l.ended, l.lastStart = make([]byte, testPage), testPageData, false, 0
}

// lsn names a byte of the file in the current round.
func (l *logBuilder) lsn(at int64) uint64 { return l.seq<<(64-testSeqBits) | uint64(at)>>3 }

// seal puts header and fixups on the current page, as copy of itself when target >= 0.
func (l *logBuilder) seal(target int64) []byte {
	b := bytes.Clone(l.page)
	le := binary.LittleEndian
	copy(b, "RCRD")
	le.PutUint16(b[4:], 0x28)
	le.PutUint16(b[6:], 9)
	le.PutUint64(b[8:], l.lastStart)
	if target >= 0 {
		if l.major < 2 {
			le.PutUint64(b[8:], uint64(target))
		} else {
			le.PutUint32(b[0x3c:], uint32(target))
		}
	}
	if l.ended {
		b[0x10] = 1
	}
	le.PutUint16(b[0x14:], 1)
	le.PutUint16(b[0x16:], 1)
	le.PutUint16(b[0x18:], uint16(l.in))
	le.PutUint64(b[0x20:], l.last)
	ntfs.Protect(b)
	return b
}

func (l *logBuilder) flush() {
	if !l.copyOnly {
		l.m.write(l.seal(-1), l.pos+l.at)
	}
}

func (l *logBuilder) nextPage() {
	l.flush()
	if l.at += testPage; l.at >= l.size {
		l.at = l.first
		l.seq++
	}
	l.begin()
}

// record appends a record of the given type with client data.
func (l *logBuilder) record(typ uint32, client []byte) uint64 {
	l.t.Helper()
	return l.flagged(typ, 0, client)
}

// flagged appends a record with flags; 1 is added when it goes on in the next page.
func (l *logBuilder) flagged(typ uint32, flags uint16, client []byte) uint64 {
	l.t.Helper()
	if l.in > testPage-0x30 {
		l.nextPage()
	}
	lsn := l.lsn(l.at + int64(l.in))
	h := make([]byte, 0x30)
	le := binary.LittleEndian
	le.PutUint64(h, lsn)
	le.PutUint32(h[0x18:], uint32(len(client)))
	le.PutUint32(h[0x20:], typ)
	if l.in+len(h)+len(client) > testPage {
		flags |= 1
	}
	le.PutUint16(h[0x28:], flags)
	copy(l.page[l.in:], h)
	l.in += len(h)
	l.lastStart = lsn
	for {
		n := copy(l.page[l.in:], client)
		l.in += n
		if client = client[n:]; len(client) == 0 {
			break
		}
		l.nextPage()
		l.lastStart = lsn
	}
	l.in = (l.in + 7) &^ 7
	l.last, l.ended = lsn, true
	if l.oldest == 0 {
		l.oldest = lsn
	}
	l.lsns = append(l.lsns, lsn)
	return lsn
}

// fill appends records until room bytes are left on the current page.
func (l *logBuilder) fill(room int) {
	l.t.Helper()
	for l.in != testPage-room {
		size := testPage - room - l.in - 0x30
		if size < 0x20 {
			size = testPage / 2 // goes on in the next page
		}
		l.record(1, update(0x1b, 0x01, 0, 0, 0, 0, make([]byte, size-0x20)))
	}
}

// update makes client data of an operation on one page.
func update(redo, undo uint16, recordOff, attrOff, sector int, vcn int64, data []byte, lcns ...int64) []byte {
	le := binary.LittleEndian
	b := make([]byte, 0x20+8*len(lcns))
	le.PutUint16(b, redo)
	le.PutUint16(b[2:], undo)
	le.PutUint16(b[4:], uint16(len(b)))
	le.PutUint16(b[6:], uint16(len(data)))
	le.PutUint16(b[8:], uint16(len(b)))
	le.PutUint16(b[0xa:], uint16(len(data)))
	le.PutUint16(b[0xe:], uint16(len(lcns)))
	le.PutUint16(b[0x10:], uint16(recordOff))
	le.PutUint16(b[0x12:], uint16(attrOff))
	le.PutUint16(b[0x14:], uint16(sector))
	le.PutUint64(b[0x18:], uint64(vcn))
	for i, lcn := range lcns {
		le.PutUint64(b[0x20+8*i:], uint64(lcn))
	}
	return append(b, data...)
}

// finish writes the last page, its copy and both restart pages.
func (l *logBuilder) finish(left int) {
	l.t.Helper()
	if l.last != 0 {
		l.flush()
		if l.copyOnly {
			l.m.write(l.seal(l.at), l.pos+2*testPage)
		}
	}
	le := binary.LittleEndian
	b := make([]byte, testPage)
	copy(b, "RSTR")
	le.PutUint16(b[4:], 0x1e)
	le.PutUint16(b[6:], 9)
	le.PutUint32(b[0x10:], testPage)
	le.PutUint32(b[0x14:], testPage)
	le.PutUint16(b[0x18:], 0x30)
	le.PutUint16(b[0x1a:], uint16(l.minor))
	le.PutUint16(b[0x1c:], uint16(l.major))
	a := b[0x30:]
	le.PutUint64(a, l.last)
	le.PutUint16(a[8:], 1)
	le.PutUint16(a[0xa:], 0xffff)
	if left == logNobody {
		le.PutUint16(a[0xc:], 0xffff)
	}
	if left == logClosed {
		a[0xe] = 2
	}
	le.PutUint32(a[0x10:], testSeqBits)
	le.PutUint16(a[0x14:], 0xe0)
	le.PutUint16(a[0x16:], 0x40)
	le.PutUint64(a[0x18:], uint64(l.size))
	le.PutUint16(a[0x24:], 0x30)
	le.PutUint16(a[0x26:], testPageData)
	le.PutUint64(a[0x40:], l.oldest)
	le.PutUint64(a[0x48:], l.last)
	copy(a[0x50:], []byte{0xff, 0xff, 0xff, 0xff})
	a[0x5c] = 8
	copy(a[0x60:], "N\x00T\x00F\x00S\x00")
	ntfs.Protect(b)
	l.m.write(b, l.pos)
	l.m.write(b, l.pos+testPage)
}
