package vhdx

import (
	"bytes"
	"testing"
)

// TestLogGrowth: LastFileOffset makes the file longer, in memory and on disk.
func TestLogGrowth(t *testing.T) {
	l := newLogCase(t)
	e := l.entry(1, 0)
	want := e.LastFileOffset + 3*mib
	e.LastFileOffset = want
	l.put(0, e)
	if f := openMem(t, l.m, false); f.FileSize() != want {
		t.Fatalf("in memory %d bytes, want %d", f.FileSize(), want)
	}
	must(t, openMem(t, l.m, true).Close())
	if l.m.size != want {
		t.Fatalf("on disk %d bytes, want %d", l.m.size, want)
	}
}

// TestLogNotUsed: LogGuid zero means that entries must not be replayed.
func TestLogNotUsed(t *testing.T) {
	l := newLogCase(t)
	l.put(0, l.entry(1, 0, data(caseBAT, l.batPage(nil, 0, 1))))
	l.setHeader(func(h *Header) { h.LogGUID = GUID{} })
	f := openMem(t, l.m, false)
	if got := block0(t, chainOf(t, f)); got != 1 || f.LogPending() {
		t.Fatalf("a log that is not in use was replayed: block 0 shows %d", got)
	}
	before := l.m.clone()
	must(t, openMem(t, l.m, true).Close())
	if !sameFile(before, l.m) {
		t.Fatal("opening for writing without a change changed the file")
	}
}

// TestLogRefused: logs that MUST NOT be used.
func TestLogRefused(t *testing.T) {
	for _, tc := range []struct {
		name string
		make func(l *logCase)
	}{
		{"LogGuid without any entry (QEMU B)", func(l *logCase) {}},
		{"only torn entries", func(l *logCase) {
			l.put(0, l.entry(1, 0, data(caseBAT, l.batPage(nil, 0, 1))))
			l.m.WriteAt([]byte{0xff}, caseLog+100)
		}},
		{"tail outside", func(l *logCase) { l.put(0, l.entry(1, 64*pageSize)) }},
		{"tail past the log", func(l *logCase) { l.put(0, l.entry(1, 2*mib)) }},
		{"truncated file", func(l *logCase) {
			e := l.entry(1, 0)
			e.FlushedFileOffset += mib
			e.LastFileOffset += mib
			l.put(0, e)
		}},
		{"update of the log", func(l *logCase) { l.put(0, l.entry(1, 0, data(caseLog+64*pageSize, make([]byte, pageSize)))) }},
		{"zeros over the log", func(l *logCase) {
			l.put(0, l.entry(1, 0, LogDescriptor{FileOffset: RegionTable2Offset, ZeroLength: mib}))
		}},
		{"update of the header", func(l *logCase) {
			b, _ := l.entry(1, 0, data(caseBAT, make([]byte, pageSize))).Marshal()
			le.PutUint64(b[64+16:], Header1Offset)
			putChecksum(b)
			l.putRaw(0, b)
		}},
		{"unaligned update", func(l *logCase) {
			b, _ := l.entry(1, 0, data(caseBAT, make([]byte, pageSize))).Marshal()
			le.PutUint64(b[64+16:], caseBAT+512)
			putChecksum(b)
			l.putRaw(0, b)
		}},
		{"unaligned FlushedFileOffset", func(l *logCase) {
			b, _ := l.entry(1, 0).Marshal()
			le.PutUint64(b[48:], uint64(l.m.size-512))
			putChecksum(b)
			l.putRaw(0, b)
		}},
		{"sequence number 0", func(l *logCase) {
			b, _ := l.entry(1, 0).Marshal()
			le.PutUint64(b[16:], 0)
			putChecksum(b)
			l.putRaw(0, b)
		}},
		{"entry longer than its data", func(l *logCase) {
			b, _ := l.entry(1, 0).Marshal()
			b = append(b, make([]byte, pageSize)...)
			le.PutUint32(b[8:], uint32(len(b)))
			copy(b[pageSize:], logDataSignature)
			le.PutUint32(b[2*pageSize-4:], 1)
			putChecksum(b)
			l.putRaw(0, b)
		}},
		{"more descriptors than fit", func(l *logCase) {
			b, _ := l.entry(1, 0).Marshal()
			le.PutUint32(b[24:], 1<<30)
			putChecksum(b)
			l.putRaw(0, b)
		}},
		{"log past the end of the file", func(l *logCase) {
			l.setHeader(func(h *Header) { h.LogOffset = 1 << 40 })
		}},
		{"log length 0 with a GUID", func(l *logCase) { l.setHeader(func(h *Header) { h.LogLength = 0 }) }},
		{"log not aligned", func(l *logCase) { l.setHeader(func(h *Header) { h.LogOffset += 4096 }) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLogCase(t)
			tc.make(l)
			l.refused(tc.name)
		})
	}
}

// TestLogMarshal: what Marshal writes, replay reads, at the counts
// where the header gains a sector.
func TestLogMarshal(t *testing.T) {
	r := seeded(t)
	for _, n := range []int{0, 1, 125, 126, 127, 253, 254, 255, 300} {
		e := &LogEntry{SequenceNumber: r.Uint64() | 1, LogGUID: NewGUID(), Tail: pageSize, FlushedFileOffset: 5 * mib, LastFileOffset: 6 * mib}
		for i := range n {
			d := data(int64(i+100)*pageSize, randomBytes(r, pageSize))
			if r.Intn(3) == 0 {
				d = LogDescriptor{FileOffset: int64(i+100) * pageSize, ZeroLength: int64(r.Intn(100)+1) * pageSize}
			}
			e.Descriptors = append(e.Descriptors, d)
		}
		b, err := e.Marshal()
		must(t, err)
		if len(b)%pageSize != 0 {
			t.Fatalf("%d descriptors: %d bytes", n, len(b))
		}
		got, err := readLogEntry(append(b, 1, 2, 3))
		must(t, err)
		if got.SequenceNumber != e.SequenceNumber || got.Tail != e.Tail || got.LogGUID != e.LogGUID || len(got.Descriptors) != n {
			t.Fatalf("%d descriptors: got %+v", n, got)
		}
		for i, d := range e.Descriptors {
			g := got.Descriptors[i]
			if g.FileOffset != d.FileOffset || g.ZeroLength != d.ZeroLength || !bytes.Equal(g.Data, d.Data) {
				t.Fatalf("descriptor %d of %d differs", i, n)
			}
		}
	}
}
