package vhdx

import (
	"bytes"
	"errors"
	"math/rand"
	"reflect"
	"testing"

	"troy/internal/block"
)

// The fuzz targets work on small files: the structures of a sound one, packed
// without the empty space between them, into which the fuzzer's bytes go.

// packed is a file made of pieces at given places, the rest zero.
type piece struct{ off, n int64 }

var pieces = []piece{
	{0, 16}, {Header1Offset, 128}, {Header2Offset, 128}, {RegionTable1Offset, 128}, {RegionTable2Offset, 128},
	{mib, 256}, {2 * mib, 256}, {2*mib + metadataTableSize, 384}, {3 * mib, 64},
}

func pack(m *memFile) []byte {
	var b []byte
	for _, p := range pieces {
		x := make([]byte, p.n)
		m.ReadAt(x, p.off)
		b = append(b, x...)
	}
	return b
}

// unpack makes a file of size bytes; checksums are made right when fix is set,
// so that the fuzzer gets past them.
func unpack(b []byte, size int64, fix bool) *memFile {
	m := newMemFile()
	m.Truncate(size)
	for _, p := range pieces {
		k := min(p.n, int64(len(b)))
		m.WriteAt(b[:k], p.off)
		b = b[k:]
	}
	if fix {
		for _, off := range headerOffsets {
			editStruct(m, off, headerSize, func([]byte) {})
		}
		for _, off := range []int64{RegionTable1Offset, RegionTable2Offset} {
			editStruct(m, off, regionTableSize, func([]byte) {})
		}
		fixLog(m)
	}
	return m
}

// fixLog makes the checksum of the first log entry right.
func fixLog(m *memFile) {
	b := make([]byte, 4*pageSize)
	m.ReadAt(b, mib)
	if n := le.Uint32(b[8:]); n >= pageSize && int(n) <= len(b) {
		putChecksum(b[:n])
		m.WriteAt(b, mib)
	}
}

// seedFiles are sound files of every kind.
func seedFiles(t testing.TB) []*memFile {
	r := rand.New(rand.NewSource(1))
	base := createMem(t, &CreateOptions{Size: 4 * mib, BlockSize: mib})
	f := openMem(t, base, true)
	if _, err := chainOf(t, f).WriteAt(randomBytes(r, 2*mib), 5000); err != nil {
		t.Fatal(err)
	}
	must(t, f.Close())
	pf := openMem(t, base, false)
	child := createMem(t, &CreateOptions{Kind: Differencing, Parent: pf, ParentPath: "p", BlockSize: mib})
	cf := openMem(t, child, true)
	c := chainOf(t, cf, pf)
	if _, err := c.WriteAt(randomBytes(r, 3000), 100); err != nil {
		t.Fatal(err)
	}
	must(t, c.ZeroRange(mib, mib))
	must(t, cf.Sync()) // the log stays open in a copy taken now
	dirty := child.clone()
	must(t, cf.Close())
	return []*memFile{base, child, dirty, createMem(t, &CreateOptions{Size: 2 * mib, Kind: Fixed, LogicalSectorSize: 4096})}
}

// exercise does everything with a file that can be done to it. It must not
// panic, hang, or take memory by claim; errors are right.
func exercise(t *testing.T, m *memFile, parent *memFile) {
	t.Helper()
	if _, err := Check(m, m.size, nil); err != nil {
		t.Fatalf("Check: %v", err) // the storage does not fail
	}
	f, err := NewFile(m, m.size)
	if err != nil {
		return
	}
	files := []*File{f}
	if f.Metadata().HasParent {
		p := openMem(t, parent, false)
		p.hdr.DataWriteGUID, _ = f.Metadata().ParentLocator.Linkage()
		files = append(files, p)
	}
	c, err := NewChain(files...)
	if err != nil {
		return
	}
	buf := make([]byte, 70_000)
	for _, off := range []int64{0, mib - 100, c.Size() - 5, c.Size() / 2} {
		c.ReadAt(buf, max(off, 0))
	}
	n := 0
	for range c.Extents(0, min(c.Size(), 16*gib)) {
		if n++; n > 1000 {
			break
		}
	}
	w, err := OpenStorage(m, m.size, &OpenOptions{Writable: true})
	if err != nil {
		return
	}
	files[0] = w
	if c, err = NewChain(files...); err == nil {
		c.WriteAt(buf[:1000], 700)
		c.ZeroRange(0, 3*mib)
	}
	if w.Metadata().HasParent {
		Relink(w, &RelinkOptions{RelativePath: "somewhere else"})
	}
	w.Close()
}

// fuzzFile is the body of the targets that mutate whole files.
func fuzzFile(f *testing.F, fix bool, only ...int) {
	seeds := seedFiles(f)
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	parent := seeds[0].clone()
	for _, s := range seeds {
		b := pack(s)
		if block.IsZero(b) {
			f.Fatal("an empty seed")
		}
		f.Add(b, s.size)
	}
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		if size < 0 || size > 64*mib {
			size = 8 * mib
		}
		exercise(t, unpack(b, size, fix), parent)
	})
}

// FuzzOpen mutates whole files.
func FuzzOpen(f *testing.F) { fuzzFile(f, false) }

// FuzzOpenChecksummed mutates whole files and makes the checksums right.
func FuzzOpenChecksummed(f *testing.F) { fuzzFile(f, true) }

// FuzzLog mutates the log of a file that has to be replayed.
func FuzzLog(f *testing.F) {
	seeds := seedFiles(f)
	dirty := seeds[2]
	h, _, err := ReadHeaders(dirty)
	must(f, err)
	if h.LogGUID.IsZero() {
		f.Fatal("the seed has no log")
	}
	b := make([]byte, pageSize) // the entry's header; its data sectors stay
	dirty.ReadAt(b, mib)
	f.Add(b)
	for _, n := range []int{0, 3} {
		e := &LogEntry{SequenceNumber: 9, LogGUID: h.LogGUID}
		for i := range n {
			e.Descriptors = append(e.Descriptors, LogDescriptor{FileOffset: int64(i+1)*mib*3 + 4096, ZeroLength: 4096 << (10 * i)})
		}
		b, err := e.Marshal()
		must(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = append(b, make([]byte, -len(b)&(pageSize-1))...) // whole pages: the seeds end with their last byte
		if e, err := readLogEntry(b); err == nil {
			again, err := e.Marshal()
			must(t, err)
			back, err := readLogEntry(again)
			must(t, err)
			if back.SequenceNumber != e.SequenceNumber || len(back.Descriptors) != len(e.Descriptors) {
				t.Fatalf("%+v becomes %+v", e, back)
			}
		}
		m := dirty.clone()
		m.WriteAt(b[:min(len(b), mib)], mib)
		for i := 0; i+pageSize <= min(len(b), 16*pageSize); i += pageSize {
			copyGUID(m, mib+int64(i), h.LogGUID)
		}
		exercise(t, m, seeds[0])
	})
}

// copyGUID makes an entry header one of this log, checksum included.
func copyGUID(m *memFile, off int64, g GUID) {
	head := make([]byte, pageSize)
	m.ReadAt(head, off)
	n := int64(le.Uint32(head[8:]))
	if string(head[:4]) != logEntrySignature || n < pageSize || n > 64*pageSize {
		return
	}
	m.WriteAt(g[:], off+32)
	editStruct(m, off, n, func([]byte) {})
}

// FuzzMetadata mutates the table and the items of the metadata region.
func FuzzMetadata(f *testing.F) {
	for _, s := range seedFiles(f) {
		b := make([]byte, 1024)
		s.ReadAt(b[:512], 2*mib)
		s.ReadAt(b[512:], 2*mib+metadataTableSize)
		if string(b[:8]) != metadataSignature {
			f.Fatal("no metadata in the seed")
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		region := make([]byte, metadataTableSize+4*kib)
		k := min(len(b), 512)
		copy(region, b[:k])
		copy(region[metadataTableSize:], b[k:])
		m, err := ParseMetadata(bytes.NewReader(region), 0, int64(len(region)))
		if err != nil {
			return
		}
		m.Items = nil // their content is not loaded
		again, err := m.Marshal()
		if err != nil {
			return // a locator that cannot be written
		}
		back, err := ParseMetadata(bytes.NewReader(again), 0, int64(len(again)))
		must(t, err)
		if back.Geometry() != m.Geometry() || back.VirtualDiskID != m.VirtualDiskID {
			t.Fatalf("%+v becomes %+v", m, back)
		}
	})
}

// FuzzLocator mutates the parent locator item.
func FuzzLocator(f *testing.F) {
	f.Add(bytesOf(f, NewParentLocator(RegionBAT, `..\parent.vhdx`)))
	f.Add(bytesOf(f, parentLocator(RegionBAT, "p", `C:\p`)))
	f.Add(bytesOf(f, parentLocator(RegionBAT, "\xed\xa0\xbd", "\xed\xb8\x80")))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ParseParentLocator(b)
		if err != nil {
			return
		}
		l.Linkage()
		l.Linkage2()
		again, err := l.Marshal()
		if errors.Is(err, ErrUnsupported) {
			return // strings that share their bytes are too long apart
		}
		must(t, err)
		back, err := ParseParentLocator(again)
		must(t, err)
		if !reflect.DeepEqual(back, l) {
			t.Fatalf("%+v becomes %+v", l, back)
		}
	})
}

// FuzzBAT mutates the BAT and the sector bitmap of a differencing disk.
func FuzzBAT(f *testing.F) {
	seeds := seedFiles(f)
	child := seeds[1]
	bat := make([]byte, 32)
	child.ReadAt(bat, 3*mib)
	sb := make([]byte, 8)
	g := Geometry{mib, 512, 4 * mib, true}
	child.ReadAt(sb, 3*mib+8*g.BitmapIndex(0))
	if block.IsZero(bat) || block.IsZero(sb) {
		f.Fatal("the seed's BAT is empty")
	}
	f.Add(bat, le.Uint64(sb), []byte{0xf0, 1, 2})
	f.Add(bat, uint64(0), []byte{})
	f.Fuzz(func(t *testing.T, bat []byte, sb uint64, bits []byte) {
		m := child.clone()
		m.WriteAt(bat[:min(len(bat), 32)], 3*mib)
		m.WriteAt(le.AppendUint64(nil, sb), 3*mib+8*g.BitmapIndex(0))
		if off := BATEntry(sb).FileOffset(); off >= 4*mib && off < m.size {
			m.WriteAt(bits[:min(len(bits), 4096)], off)
		}
		exercise(t, m, seeds[0])
	})
}

// FuzzChain joins files by mutated linkages and sizes.
func FuzzChain(f *testing.F) {
	seeds := seedFiles(f)
	f.Add([]byte{0x10, 0, 0}, "{"+RegionBAT.String()+"}", "", uint8(1))
	h, _, err := ReadHeaders(seeds[0])
	must(f, err)
	f.Add([]byte{0, 0, 0x40}, bracedGUID(h.DataWriteGUID), "x", uint8(2))
	f.Fuzz(func(t *testing.T, size []byte, link, link2 string, depth uint8) {
		l := &ParentLocator{}
		l.Set(KeyParentLinkage, link)
		l.Set(KeyParentLinkage2, link2)
		if l.validate() != nil {
			return
		}
		child := seeds[1].clone()
		cf := openMem(t, child, true)
		if cf.setLocator(l, false) != nil {
			return
		}
		must(t, cf.Close())
		child.WriteAt(size[:min(len(size), 3)], 2*mib+metadataTableSize+8)
		var files []*File
		for range depth % 4 {
			if f, err := NewFile(child, child.size); err == nil {
				files = append(files, f)
			}
		}
		files = append(files, openMem(t, seeds[0], false))
		c, err := NewChain(files...)
		if err != nil {
			return
		}
		c.ReadAt(make([]byte, 5000), c.Size()-4000)
		c.Close()
	})
}
