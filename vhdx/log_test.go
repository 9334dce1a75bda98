package vhdx

import (
	"bytes"
	"errors"
	"testing"

	"troy/internal/block"
)

// logCase builds a file with a log by hand: a base disk of 16 blocks, whose
// first four hold 1, 2, 3, 4, and a ring that the case fills.
type logCase struct {
	*crafted
	guid GUID
	hdr  Header
}

const (
	caseLog = mib // where Create puts the log
	caseBAT = 3 * mib
)

func newLogCase(t *testing.T) *logCase {
	t.Helper()
	c := craft(t, &CreateOptions{Size: 16 * mib, BlockSize: mib})
	for b := range int64(4) {
		c.block(b, PayloadFullyPresent, bytes.Repeat([]byte{byte(b + 1)}, mib))
	}
	h, _, err := ReadHeaders(c.m)
	must(t, err)
	l := &logCase{crafted: c, guid: NewGUID(), hdr: *h}
	l.setHeader(func(h *Header) { h.LogGUID = l.guid })
	return l
}

// setHeader makes both copies current.
func (l *logCase) setHeader(change func(h *Header)) {
	change(&l.hdr)
	for _, off := range headerOffsets {
		l.hdr.SequenceNumber++
		l.m.WriteAt(l.hdr.Marshal(), off)
	}
}

// batPage returns the first page of the BAT with two entries swapped: block b
// shows the content of block from.
func (l *logCase) batPage(page []byte, b, from int64) []byte {
	if page == nil {
		page = make([]byte, pageSize)
		l.m.ReadAt(page, caseBAT)
	}
	page = bytes.Clone(page)
	old := bytes.Clone(page[8*b : 8*b+8])
	copy(page[8*b:], page[8*from:8*from+8])
	copy(page[8*from:], old)
	return page
}

// entry returns an entry that is its own tail.
func (l *logCase) entry(seq uint64, pos int64, d ...LogDescriptor) *LogEntry {
	return &LogEntry{SequenceNumber: seq, Tail: uint32(pos), LogGUID: l.guid,
		FlushedFileOffset: l.m.size, LastFileOffset: l.m.size, Descriptors: d}
}

// put writes an entry into the ring and returns the position behind it.
func (l *logCase) put(pos int64, e *LogEntry) int64 {
	l.t.Helper()
	b, err := e.Marshal()
	must(l.t, err)
	l.putRaw(pos, b)
	return (pos + int64(len(b))) % mib
}

func (l *logCase) putRaw(pos int64, b []byte) {
	for i := 0; i < len(b); i += pageSize {
		l.m.WriteAt(b[i:i+pageSize], caseLog+(pos+int64(i))%mib)
	}
}

func data(off int64, page []byte) LogDescriptor { return LogDescriptor{FileOffset: off, Data: page} }

// block0 is the byte that block 0 shows, which the logs change.
func block0(t *testing.T, c *Chain) byte {
	t.Helper()
	b := make([]byte, 1)
	_, err := c.ReadAt(b, 0)
	must(t, err)
	return b[0]
}

// shows opens the file three ways (in memory, naive, on disk) and checks
// what block 0 shows and that replay on disk is right and final.
func (l *logCase) shows(want byte) *memFile {
	l.t.Helper()
	t := l.t.(*testing.T)
	before := l.m.clone()
	f := openMem(t, l.m, false)
	if got := block0(t, chainOf(t, f)); got != want {
		t.Fatalf("replayed in memory, block 0 shows %d, want %d", got, want)
	}
	n, err := mustNaive(t, l.m).read(0, 1)
	must(t, err)
	if n[0] != want {
		t.Fatalf("the naive reader shows %d, want %d", n[0], want)
	}
	if !sameFile(before, l.m) {
		t.Fatal("opening for reading changed the file")
	}
	view := make([]byte, f.size)
	f.r.ReadAt(view, 0)

	w := openMem(t, l.m, true)
	if !w.LogPending() {
		t.Fatal("LogPending is false after a replay")
	}
	must(t, w.Close())
	old, h := l.hdr, Header{}
	for _, off := range headerOffsets {
		b := make([]byte, headerSize)
		l.m.ReadAt(b, off)
		p, err := ParseHeader(b)
		must(t, err)
		h = *p
		if !h.LogGUID.IsZero() || h.FileWriteGUID == old.FileWriteGUID || h.DataWriteGUID != old.DataWriteGUID {
			t.Fatalf("header at %#x after replay: %+v, was %+v", off, h, old)
		}
	}
	disk := make([]byte, l.m.size)
	l.m.ReadAt(disk, 0)
	sameBytes(t, "replay on disk and in memory", disk[headerSection:], view[headerSection:])
	if l.m.size%mib != 0 {
		t.Fatalf("the file has %d bytes after replay", l.m.size)
	}
	if got := block0(t, chainOf(t, openMem(t, l.m, false))); got != want {
		t.Fatalf("replayed on disk, block 0 shows %d, want %d", got, want)
	}
	checkClean(t, l.m, l.m.size)
	return l.m
}

func sameFile(a, b *memFile) bool {
	if a.size != b.size {
		return false
	}
	x, y := make([]byte, a.size), make([]byte, b.size)
	a.ReadAt(x, 0)
	b.ReadAt(y, 0)
	return bytes.Equal(x, y)
}

// refused checks that the file cannot be opened in any way, and is not touched.
func (l *logCase) refused(what string) {
	l.t.Helper()
	before := l.m.clone()
	for _, writable := range []bool{false, true} {
		_, err := OpenStorage(l.m, l.m.size, &OpenOptions{Writable: writable})
		var fe *FormatError
		if !errors.As(err, &fe) || !errors.Is(err, ErrCorrupt) {
			l.t.Fatalf("%s: opened with %v", what, err)
		}
	}
	if !sameFile(before, l.m) {
		l.t.Fatal("the refused file was changed")
	}
	rep, err := Check(l.m, l.m.size, nil)
	must(l.t, err)
	if rep.OK() {
		l.t.Fatal("Check finds nothing")
	}
}

// TestLogReplay holds the rules of MS-VHDX 2.3 and the four points that QEMU
// 7.2 gets wrong.
func TestLogReplay(t *testing.T) {
	for _, tc := range []struct {
		name string
		want byte
		make func(l *logCase)
	}{
		{"one entry", 2, func(l *logCase) {
			l.put(0, l.entry(1, 0, data(caseBAT, l.batPage(nil, 0, 1))))
		}},
		{"last entry wins", 3, func(l *logCase) {
			pos := l.put(0, l.entry(7, 0, data(caseBAT, l.batPage(nil, 0, 1))))
			l.put(pos, l.entry(8, 0, data(caseBAT, l.batPage(nil, 0, 2))))
		}},
		{"later descriptor wins", 3, func(l *logCase) {
			l.put(0, l.entry(7, 0, data(caseBAT, l.batPage(nil, 0, 1)), data(caseBAT, l.batPage(nil, 0, 2))))
		}},
		{"stale older entry right behind (QEMU A)", 3, func(l *logCase) {
			pos := l.put(0, l.entry(9, 0, data(caseBAT, l.batPage(nil, 0, 2))))
			l.put(pos, l.entry(5, pos, data(caseBAT, l.batPage(nil, 0, 1))))
		}},
		{"entries before the tail (QEMU I)", 1, func(l *logCase) {
			pos := l.put(0, l.entry(4, 0, data(caseBAT, l.batPage(nil, 0, 1))))
			l.put(pos, l.entry(5, pos, data(caseBAT+pageSize, make([]byte, pageSize))))
		}},
		{"LastFileOffset extends (QEMU D)", 2, func(l *logCase) {
			e := l.entry(1, 0, data(caseBAT, l.batPage(nil, 0, 1)))
			e.LastFileOffset += 3 * mib
			l.put(0, e)
		}},
		{"torn last entry", 2, func(l *logCase) {
			pos := l.put(0, l.entry(1, 0, data(caseBAT, l.batPage(nil, 0, 1))))
			end := l.put(pos, l.entry(2, 0, data(caseBAT, l.batPage(nil, 0, 2))))
			l.m.WriteAt(make([]byte, 512), caseLog+end-512)
		}},
		{"torn to the older data sector", 2, func(l *logCase) {
			pos := l.put(0, l.entry(1, 0, data(caseBAT, l.batPage(nil, 0, 1))))
			b, _ := l.entry(2, 0, data(caseBAT, l.batPage(nil, 0, 2))).Marshal()
			le.PutUint32(b[len(b)-4:], 1) // checksum made right: only the sequence tells
			putChecksum(b)
			l.putRaw(pos, b)
		}},
		{"wrapped entry", 4, func(l *logCase) {
			pos := int64(mib - 2*pageSize)
			l.put(pos, l.entry(3, pos, data(caseBAT, l.batPage(nil, 0, 3)), data(caseBAT+pageSize, make([]byte, pageSize)), LogDescriptor{FileOffset: caseBAT + 8*pageSize, ZeroLength: pageSize}))
		}},
		{"sequence around the end", 3, func(l *logCase) {
			pos := int64(mib - pageSize)
			next := l.put(pos, l.entry(3, pos, data(caseBAT, l.batPage(nil, 0, 3))))
			e := l.entry(4, pos, data(caseBAT, l.batPage(nil, 0, 2)))
			l.put(next, e)
		}},
		{"no descriptors", 1, func(l *logCase) { l.put(5*pageSize, l.entry(77, 5*pageSize)) }},
		{"zero descriptors", 0, func(l *logCase) {
			l.put(0, l.entry(1, 0, LogDescriptor{FileOffset: caseBAT, ZeroLength: 8 * pageSize}))
		}},
		{"data after zeros", 2, func(l *logCase) {
			page := l.batPage(nil, 0, 1)
			l.put(0, l.entry(1, 0, LogDescriptor{FileOffset: caseBAT - 4*pageSize, ZeroLength: 16 * pageSize}, data(caseBAT, page)))
		}},
		{"zeros after data", 0, func(l *logCase) {
			page := l.batPage(nil, 0, 1)
			l.put(0, l.entry(1, 0, data(caseBAT+pageSize, page), data(caseBAT, page), LogDescriptor{FileOffset: caseBAT - 4*pageSize, ZeroLength: 16 * pageSize}))
		}},
		{"127 descriptors", 2, func(l *logCase) { l.put(0, l.entry(1, 0, manyPages(l, 127)...)) }},
		{"240 descriptors, wrapped", 2, func(l *logCase) { l.put(mib-3*pageSize, l.entry(1, mib-3*pageSize, manyPages(l, 240)...)) }},
		{"sequence number beyond 32 bits", 3, func(l *logCase) {
			pos := l.put(0, l.entry(0xffffffff, 0, data(caseBAT, l.batPage(nil, 0, 1))))
			l.put(pos, l.entry(0x100000000, 0, data(caseBAT, l.batPage(nil, 0, 2))))
		}},
		{"entries of another GUID", 2, func(l *logCase) {
			pos := l.put(0, l.entry(1, 0, data(caseBAT, l.batPage(nil, 0, 1))))
			e := l.entry(2, pos, data(caseBAT, l.batPage(nil, 0, 2)))
			e.LogGUID = NewGUID()
			l.put(pos, e)
		}},
		{"a long old run beside a short new one", 4, func(l *logCase) {
			pos := int64(0)
			for seq := uint64(10); seq < 20; seq++ {
				pos = l.put(pos, l.entry(seq, 0, data(caseBAT, l.batPage(nil, 0, 1))))
			}
			pos += 4 * pageSize
			l.put(pos, l.entry(30, pos, data(caseBAT, l.batPage(nil, 0, 3))))
		}},
		{"highest run lacks its tail", 2, func(l *logCase) {
			l.put(0, l.entry(10, 0, data(caseBAT, l.batPage(nil, 0, 1))))
			l.put(8*pageSize, l.entry(30, 4*pageSize, data(caseBAT, l.batPage(nil, 0, 3))))
		}},
		{"update past the end of the file", 1, func(l *logCase) {
			l.put(0, l.entry(1, 0, data(l.m.size+5*pageSize, bytes.Repeat([]byte{9}, pageSize))))
		}},
		{"region table and metadata through the log", 2, func(l *logCase) {
			tab, md, bat := make([]byte, pageSize), make([]byte, pageSize), l.batPage(nil, 0, 1)
			l.m.ReadAt(tab, RegionTable1Offset)
			l.m.ReadAt(md, 2*mib)
			for _, off := range []int64{RegionTable1Offset, RegionTable2Offset, 2 * mib, caseBAT} {
				l.m.WriteAt(bytes.Repeat([]byte{0xee}, pageSize), off)
			}
			l.put(0, l.entry(1, 0, data(RegionTable1Offset, tab), data(RegionTable2Offset, tab), data(2*mib, md), data(caseBAT, bat)))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLogCase(t)
			tc.make(l)
			l.shows(tc.want)
		})
	}
}

// manyPages is an update of n pages, the first of which is the BAT's.
func manyPages(l *logCase, n int) []LogDescriptor {
	d := []LogDescriptor{data(caseBAT, l.batPage(nil, 0, 1))}
	for i := 1; i < n; i++ {
		p := make([]byte, pageSize)
		p[i] = byte(i) // in the free part of the BAT region
		d = append(d, data(caseBAT+int64(i)*pageSize, p))
	}
	return d
}

// readLogEntry reads the entry at the start of b as replay does, in a log that begins with it.
func readLogEntry(b []byte) (*LogEntry, error) {
	const off = maxFileSize + mib // where no update reaches
	l := &logRing{r: newMemFile(), off: off, length: block.RoundUp(int64(len(b)), mib) + mib}
	l.r.(*memFile).WriteAt(b, off)
	l.r.(*memFile).Truncate(off + l.length)
	if len(b) >= logEntryHeader {
		l.guid = GUID(b[32:48])
	}
	if err := l.classify(); err != nil {
		return nil, err
	}
	found, err := l.entryAt(0)
	if err != nil || found == nil {
		return nil, errors.Join(err, errNoEntry)
	}
	ops, err := l.ops(found)
	if err != nil {
		return nil, err
	}
	e := found.LogEntry
	for i := range ops {
		d := LogDescriptor{FileOffset: ops[i].off, ZeroLength: ops[i].length}
		if ops[i].sector >= 0 {
			d.Data, d.ZeroLength = make([]byte, pageSize), 0
			if err := l.page(&ops[i], d.Data); err != nil {
				return nil, err
			}
		}
		e.Descriptors = append(e.Descriptors, d)
	}
	return &e, nil
}

var errNoEntry = errors.New("no valid log entry")
