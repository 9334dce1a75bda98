package vhdx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/internal/block"
)

// sound is a small closed disk.
func sound(t testing.TB) *memFile {
	return createMem(t, &CreateOptions{Size: 4 * mib, BlockSize: mib})
}

// editHeader changes a header copy, checksum made right.
func editHeader(m *memFile, off int64, change func(b []byte)) {
	editStruct(m, off, headerSize, change)
}

func editStruct(m *memFile, off, n int64, change func(b []byte)) {
	b := make([]byte, n)
	m.ReadAt(b, off)
	change(b)
	putChecksum(b)
	m.WriteAt(b, off)
}

// TestStructures holds the rules of sections 2.2 and 2.6: what is refused, in
// which class, and what is tolerated.
func TestStructures(t *testing.T) {
	both := func(change func(b []byte)) func(m *memFile) {
		return func(m *memFile) {
			editHeader(m, Header1Offset, change)
			editHeader(m, Header2Offset, change)
		}
	}
	regions := func(change func(b []byte)) func(m *memFile) {
		return func(m *memFile) {
			editStruct(m, RegionTable1Offset, regionTableSize, change)
			editStruct(m, RegionTable2Offset, regionTableSize, change)
		}
	}
	// addRegion appends an entry to the region table.
	addRegion := func(id GUID, off uint64, n, flags uint32) func(m *memFile) {
		return regions(func(b []byte) {
			e := b[16+32*le.Uint32(b[8:]):]
			copy(e, id[:])
			le.PutUint64(e[16:], off)
			le.PutUint32(e[24:], n)
			le.PutUint32(e[28:], flags)
			le.PutUint32(b[8:], le.Uint32(b[8:])+1)
		})
	}
	at := func(off int64, b ...byte) func(m *memFile) { return func(m *memFile) { m.WriteAt(b, off) } }
	const md = 2 * mib
	item := func(n int64) int64 { return md + metadataTableSize + n }
	entry := func(n int64) int64 { return md + 32*(n+1) }
	addItem := func(id GUID, off, n, flags uint32) func(m *memFile) {
		return func(m *memFile) {
			e := append([]byte{}, id[:]...)
			e = le.AppendUint32(le.AppendUint32(le.AppendUint32(e, off), n), flags)
			m.WriteAt(e, entry(5))
			m.WriteAt([]byte{6}, md+10)
		}
	}
	one := GUID{1}
	for _, tc := range []struct {
		name string
		make func(m *memFile)
		want error // nil: opens
		find Severity
	}{
		{"sound", func(*memFile) {}, nil, Note},
		{"file identifier", at(0, 'x'), ErrCorrupt, Error},
		{"creator garbage is no matter", at(8, 0xff, 0xff, 0xd8, 0xd8), nil, Note},
		{"header 1 bad", flip(Header1Offset + 20), nil, Warning},
		{"header 2 bad", flip(Header2Offset + 20), nil, Warning},
		{"both headers bad", func(m *memFile) { flip(Header1Offset + 20)(m); flip(Header2Offset + 20)(m) }, ErrCorrupt, Error},
		{"identical headers", func(m *memFile) {
			b := make([]byte, headerSize)
			m.ReadAt(b, Header1Offset)
			m.WriteAt(b, Header2Offset)
		}, nil, Note},
		{"equal sequence, different", func(m *memFile) {
			for _, off := range headerOffsets {
				editHeader(m, off, func(b []byte) { le.PutUint64(b[8:], 9); b[16] = byte(off >> 16) })
			}
		}, ErrCorrupt, Error},
		{"version 2", both(func(b []byte) { b[66] = 2 }), ErrUnsupported, Error},
		{"log version 1, no log", both(func(b []byte) { b[64] = 1 }), nil, Note},
		{"log version 1 with a log", both(func(b []byte) { b[64] = 1; b[48] = 1 }), ErrUnsupported, Error},
		{"log on the header", both(func(b []byte) { le.PutUint64(b[72:], 0) }), ErrCorrupt, Error},
		{"log on the metadata", both(func(b []byte) { le.PutUint64(b[72:], md) }), ErrCorrupt, Error},
		{"region table 1 bad", at(RegionTable1Offset+4, 9), nil, Warning},
		{"region table 2 bad", at(RegionTable2Offset+4, 9), nil, Warning},
		{"both region tables bad", func(m *memFile) { at(RegionTable1Offset+4, 9)(m); at(RegionTable2Offset+4, 9)(m) }, ErrCorrupt, Error},
		{"region tables differ", func(m *memFile) {
			editStruct(m, RegionTable2Offset, regionTableSize, func(b []byte) { b[12] = 1 })
		}, nil, Warning},
		{"2048 regions", regions(func(b []byte) { le.PutUint32(b[8:], 2048) }), ErrCorrupt, Error},
		{"unknown required region", func(m *memFile) { m.Truncate(5 * mib); addRegion(one, 4*mib, mib, 1)(m) }, ErrUnsupported, Error},
		{"unknown optional region", func(m *memFile) { m.Truncate(5 * mib); addRegion(one, 4*mib, mib, 0)(m) }, nil, Note},
		{"region twice", addRegion(RegionBAT, 4*mib, mib, 1), ErrCorrupt, Error},
		{"regions overlap", addRegion(one, 3*mib, mib, 0), ErrCorrupt, Error},
		{"region on the log", addRegion(one, mib, mib, 0), ErrCorrupt, Error},
		{"region not aligned", addRegion(one, 4*mib+512, mib, 0), ErrCorrupt, Error},
		{"region of no length", addRegion(one, 4*mib, 0, 0), ErrCorrupt, Error},
		{"region past the end", addRegion(one, 40*mib, mib, 0), ErrCorrupt, Error},
		{"region in the header section", addRegion(one, 0, mib, 0), ErrCorrupt, Error},
		{"no BAT", regions(func(b []byte) { b[16] = 1; b[44] = 0 }), ErrCorrupt, Error},
		{"no metadata", regions(func(b []byte) { b[48] = 1; b[76] = 0 }), ErrCorrupt, Error},
		{"metadata signature", at(md, 'x'), ErrCorrupt, Error},
		{"2048 items", at(md+10, 0, 8), ErrCorrupt, Error},
		{"item missing", at(md+10, 4), ErrCorrupt, Error},
		{"item twice", func(m *memFile) { addItem(itemLogicalSector, 0x10010, 4, 6)(m) }, ErrCorrupt, Error},
		{"item in the table", addItem(one, 0x100, 4, 0), ErrCorrupt, Error},
		{"item outside the region", addItem(one, mib-2, 4, 0), ErrCorrupt, Error},
		{"item too long", addItem(one, 0x20000, mib+1, 0), ErrCorrupt, Error},
		{"items overlap", addItem(one, 0x10004, 4, 0), ErrCorrupt, Error},
		{"empty item with an offset", addItem(one, 0x20000, 0, 0), ErrCorrupt, Error},
		{"empty item", addItem(one, 0, 0, 0), nil, Note},
		{"optional item", addItem(one, 0x20000, 4, 0), nil, Note},
		{"user item", addItem(itemLogicalSector, 0x20000, 4, 1), nil, Note},
		{"required item", addItem(one, 0x20000, 4, 4), ErrUnsupported, Error},
		{"required CHS", addItem(itemCHS, 0x20000, 4, 6), nil, Note},
		{"required PMEM label", addItem(itemPMEMLabel, 0x20000, 4, 6), nil, Note},
		{"incomplete file", addItem(itemIncomplete, 0, 0, 4), ErrCorrupt, Error},
		{"block size 0", at(item(0), 0, 0, 0, 0), ErrCorrupt, Error},
		{"block size 3 MiB", at(item(0), 0, 0, 0x30, 0), ErrCorrupt, Error},
		{"block size 512 KiB", at(item(0), 0, 0, 8, 0), ErrCorrupt, Error},
		{"block size 512 MiB", at(item(0), 0, 0, 0, 0x20), ErrCorrupt, Error},
		{"unknown file parameter", at(item(4), 4), ErrCorrupt, Error},
		{"parent without locator", at(item(4), 2), ErrCorrupt, Error},
		{"disk size 0", at(item(8), 0, 0, 0, 0), ErrCorrupt, Error},
		{"disk size not in sectors", at(item(8), 1), ErrCorrupt, Error},
		{"disk size beyond 64 TiB", at(item(8), 0, 2, 0, 0, 0, 0x40), ErrCorrupt, Error},
		{"disk larger than the BAT", at(item(8), 0, 0, 0, 0, 0, 1), ErrCorrupt, Error},
		{"sector size 1024", at(item(0x10), 0, 4), ErrCorrupt, Error},
		{"physical sector size 1024", at(item(0x14), 0, 4), ErrCorrupt, Error},
		{"physical sector size 512", at(item(0x14), 0, 2), nil, Note},
		{"item of wrong length", at(entry(1)+20, 7), ErrCorrupt, Error},
		{"MiB and 512 bytes", func(m *memFile) { m.Truncate(m.size + 512) }, nil, Note},
		{"cut in the BAT", func(m *memFile) { m.Truncate(3*mib + 4096) }, ErrCorrupt, Error},
		{"cut in the headers", func(m *memFile) { m.Truncate(100_000) }, ErrCorrupt, Error},
		{"empty", func(m *memFile) { m.Truncate(0) }, ErrCorrupt, Error},
		{"garbage past the BAT's end", at(3*mib+4*8, 2), nil, Note},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := sound(t)
			tc.make(m)
			before := m.clone()
			f, err := NewFile(m, m.size)
			if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
				t.Fatalf("NewFile: %v, want %v", err, tc.want)
			}
			if err == nil && !block.IsZero(readAll(t, chainOf(t, f))) {
				t.Fatal("the disk does not read zero")
			}
			if err != nil && !strings.HasPrefix(err.Error(), "vhdx: ") {
				t.Errorf("error %q", err)
			}
			rep, err := Check(m, m.size, nil)
			must(t, err)
			worst := Note
			for _, f := range rep.Findings {
				worst = max(worst, f.Severity)
			}
			if worst != tc.find {
				t.Errorf("Check: %v, want %v as the worst", rep.Findings, tc.find)
			}
			if !sameFile(before, m) {
				t.Error("reading changed the file")
			}
		})
	}
}

// TestCheckBAT: what Check finds in a BAT, beyond TestRefusedStates, where
// qemu-img check, 7-Zip and libvhdi each miss something.
func TestCheckBAT(t *testing.T) {
	for _, tc := range []struct {
		name string
		diff bool
		make func(c *crafted)
		text string // "" is no finding
		sev  Severity
	}{
		{"two blocks in one place", false, func(c *crafted) {
			off := c.block(0, PayloadFullyPresent, []byte{1})
			c.entry(2, NewBATEntry(PayloadFullyPresent, off))
		}, "overlaps that of entry 0", Error},
		{"block and bitmap in one place", true, func(c *crafted) {
			off := c.block(0, PayloadFullyPresent, []byte{1})
			c.entry(c.geo.BitmapIndex(0), NewBATEntry(BitmapPresent, off))
		}, "overlaps that of entry 0", Error},
		{"anchor in use", false, func(c *crafted) {
			off := c.block(0, PayloadFullyPresent, []byte{1})
			c.entry(1, NewBATEntry(PayloadUnmapped, off))
		}, "also used elsewhere", Error},
		{"anchor past the end", false, func(c *crafted) { c.entry(1, NewBATEntry(PayloadUnmapped, 1<<40)) }, "where none can be", Warning},
		{"last block cut off", false, func(c *crafted) {
			c.block(0, PayloadFullyPresent, []byte{1})
			c.m.Truncate(c.m.size - 4096)
		}, "truncated", Error},
		{"only the part past the disk's end cut off", false, func(c *crafted) {
			c.block(3, PayloadFullyPresent, []byte{1})
			c.m.Truncate(c.m.size - 4096)
		}, "is not in the file", Note},
		{"partial without bitmap", true, func(c *crafted) { c.block(0, PayloadPartiallyPresent, []byte{1}) }, "no sector bitmap", Error},
		{"bitmap state 2", true, func(c *crafted) { c.entry(c.geo.BitmapIndex(0), 2) }, "neither 0 nor 6", Error},
		{"bitmap on the log", true, func(c *crafted) { c.entry(c.geo.BitmapIndex(0), NewBATEntry(BitmapPresent, mib)) }, "lies on the log", Error},
		{"bitmap past the end", true, func(c *crafted) { c.entry(c.geo.BitmapIndex(0), NewBATEntry(BitmapPresent, 1<<40)) }, "past the end", Error},
		{"block half on the next structure", false, func(c *crafted) {
			c.block(0, PayloadFullyPresent, []byte{1})
			c.entry(1, NewBATEntry(PayloadFullyPresent, 2*mib))
		}, "lies on the metadata", Error},
		{"stale bits outside partial blocks", true, func(c *crafted) {
			c.block(0, PayloadFullyPresent, []byte{1})
			c.bits(0, 1, 2, 3)
			c.bits(2, 1)
		}, "", Note},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := &CreateOptions{Size: 4*mib - 65536, BlockSize: mib}
			if tc.diff {
				o.Kind, o.Parent, o.ParentPath = Differencing, openMem(t, sound(t), false), "p"
			}
			c := craft(t, o)
			tc.make(c)
			rep, err := Check(c.m, c.m.size, nil)
			must(t, err)
			for _, f := range rep.Findings {
				if tc.text != "" && strings.Contains(f.Text, tc.text) && f.Severity == tc.sev {
					return
				}
			}
			if tc.text != "" || len(rep.Findings) > 0 {
				t.Fatalf("Check: %v, want %v %q", rep.Findings, tc.sev, tc.text)
			}
		})
	}
}

// TestOverlapIsNotWrittenTo: writing into a file whose blocks share their
// place would destroy one of them.
func TestOverlapIsNotWrittenTo(t *testing.T) {
	c := craft(t, &CreateOptions{Size: 4 * mib, BlockSize: mib})
	off := c.block(0, PayloadFullyPresent, []byte{1})
	c.entry(1, NewBATEntry(PayloadFullyPresent, off))
	ch := chainOf(t, openMem(t, c.m, true))
	if _, err := ch.WriteAt([]byte{1}, 3*mib); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("WriteAt: %v", err)
	}
}

// TestTruncatedRead: a truncated file still gives what it has.
func TestTruncatedRead(t *testing.T) {
	r := seeded(t)
	c := craft(t, &CreateOptions{Size: 4 * mib, BlockSize: mib})
	b := randomBytes(r, mib)
	c.block(0, PayloadFullyPresent, b)
	c.m.Truncate(c.m.size - mib/2)
	ch := chainOf(t, openMem(t, c.m, true))
	got := make([]byte, mib/2)
	_, err := ch.ReadAt(got, 0)
	must(t, err)
	sameBytes(t, "first half", got, b[:mib/2])
	if _, err := ch.ReadAt(got[:1], mib/2); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("reading behind the cut: %v", err)
	}
}

// TestGUIDs: FileWriteGuid and DataWriteGuid change exactly when they must.
func TestGUIDs(t *testing.T) {
	m := sound(t)
	for _, tc := range []struct {
		name       string
		act        func(c *Chain) error
		file, data bool
	}{
		{"nothing", func(c *Chain) error { return nil }, false, false},
		{"sync", func(c *Chain) error { return c.Sync() }, false, false},
		{"read", func(c *Chain) error { _, err := c.ReadAt(make([]byte, 10), 5); return err }, false, false},
		{"empty write", func(c *Chain) error { _, err := c.WriteAt(nil, 0); return err }, false, false},
		{"write", func(c *Chain) error { _, err := c.WriteAt([]byte{1}, 5); return err }, true, true},
		{"overwrite", func(c *Chain) error { _, err := c.WriteAt([]byte{1}, 5); return err }, true, true},
		{"zero", func(c *Chain) error { return c.ZeroRange(0, mib) }, true, true},
		{"zero again", func(c *Chain) error { return c.ZeroRange(0, mib) }, false, false},
		{"trim of a part", func(c *Chain) error { return c.TrimRange(mib, 4096) }, false, false},
		{"trim", func(c *Chain) error { return c.TrimRange(mib, mib) }, true, true},
		{"trim again", func(c *Chain) error { return c.TrimRange(mib, mib) }, false, false},
	} {
		f := openMem(t, m, true)
		before, whole := f.Header(), m.clone()
		must(t, tc.act(chainOf(t, f)))
		must(t, f.Close())
		after := openMem(t, m, false).Header()
		if (before.FileWriteGUID != after.FileWriteGUID) != tc.file || (before.DataWriteGUID != after.DataWriteGUID) != tc.data {
			t.Errorf("%s: before %+v, after %+v", tc.name, before, after)
		}
		if !tc.file && !sameFile(whole, m) {
			t.Errorf("%s: the file was changed", tc.name)
		}
		if !after.LogGUID.IsZero() {
			t.Errorf("%s: the log is open", tc.name)
		}
	}
}

// TestFileIdentifierStays: the first 64 KiB are never written again.
func TestFileIdentifierStays(t *testing.T) {
	m := sound(t)
	id := make([]byte, fileIDSize)
	m.ReadAt(id, 0)
	c := chainOf(t, openMem(t, m, true))
	_, err := c.WriteAt(make([]byte, 3*mib), 100)
	must(t, err)
	must(t, c.Close())
	got := make([]byte, fileIDSize)
	m.ReadAt(got, 0)
	sameBytes(t, "file identifier", got, id)
}

// TestCreate makes every kind and reads it with the tools; bad options and
// existing files are refused and leave nothing.
func TestCreate(t *testing.T) {
	dir := t.TempDir()
	for i, o := range []*CreateOptions{
		{Size: 1 * mib}, {Size: 5*gib + 1024}, {Size: 40 * mib, Kind: Fixed}, {Size: 3 * mib, BlockSize: 256 * mib, PhysicalSectorSize: 512},
		{Size: 100 * mib, LogicalSectorSize: 4096, BlockSize: mib}, {Size: 64 * tib}, {Size: 64 * tib, BlockSize: mib, LogLength: 4 * mib},
	} {
		path := filepath.Join(dir, fmt.Sprintf("%d.vhdx", i))
		f, err := Create(path, o)
		must(t, err)
		must(t, f.Close())
		f, err = Open(path, nil)
		must(t, err)
		if g := f.Geometry(); g.VirtualDiskSize != o.Size || o.BlockSize != 0 && g.BlockSize != o.BlockSize {
			t.Errorf("%+v: got %+v", o, g)
		}
		if f.Creator() != "Troy" || f.Metadata().Kind() != o.Kind {
			t.Errorf("%+v: creator %q, kind %v", o, f.Creator(), f.Metadata().Kind())
		}
		must(t, f.Close())
		if o.LogicalSectorSize != 4096 && o.Size < tib { // QEMU knows 512 only, and keeps the whole BAT in memory
			qemuCheck(t, path)
		}
		if o.Size < tib {
			run(t, "7zz", "l", "-tvhdx", path)
		}
		if _, err := Create(path, o); !errors.Is(err, fs.ErrExist) {
			t.Errorf("Create over a file: %v", err)
		}
	}
	f, err := Create(filepath.Join(dir, "0.vhdx"), &CreateOptions{Size: 2 * mib, Overwrite: true})
	must(t, err)
	must(t, f.Close())
	for _, o := range []*CreateOptions{
		nil, {}, {Size: 100}, {Size: 65 * tib}, {Size: mib, BlockSize: 3 * mib}, {Size: mib, LogicalSectorSize: 1024},
		{Size: mib, LogLength: 5}, {Size: mib, Kind: Differencing}, {Size: mib, Kind: 9}, {Size: mib, LogicalSectorSize: 4096, PhysicalSectorSize: 100},
	} {
		if _, err := Create(filepath.Join(dir, "bad.vhdx"), o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
	list, err := os.ReadDir(dir)
	must(t, err)
	if len(list) != 7 {
		t.Errorf("files left behind: %v", list)
	}
}

// flip changes a byte whatever it is: of a GUID no value is known.
func flip(off int64) func(*memFile) {
	return func(m *memFile) {
		var b [1]byte
		m.ReadAt(b[:], off)
		m.WriteAt([]byte{b[0] ^ 1}, off)
	}
}

// TestCheckMany: a report of a thoroughly damaged file is bounded, and says how much it leaves out.
func TestCheckMany(t *testing.T) {
	const faults = maxFindings + 500
	c := craft(t, &CreateOptions{Size: (faults + 5) * mib, BlockSize: mib})
	for b := range int64(faults) {
		c.entry(c.geo.PayloadIndex(b), NewBATEntry(4, 0))
	}
	rep, err := Check(c.m, c.m.size, nil)
	must(t, err)
	if len(rep.Findings) != maxFindings || rep.More != faults-maxFindings || rep.OK() {
		t.Errorf("%d findings and %d more of %d", len(rep.Findings), rep.More, faults)
	}
}
