package vhdx

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestGUID(t *testing.T) {
	const s = "2dc27766-f623-4200-9d64-115e9bfd4a08"
	for _, in := range []string{s, strings.ToUpper(s), "{" + s + "}", "{" + strings.ToUpper(s) + "}"} {
		g, err := ParseGUID(in)
		must(t, err)
		if g != RegionBAT || g.String() != s || g[0] != 0x66 || g[8] != 0x9d {
			t.Errorf("ParseGUID(%q) = %v, on disk % x", in, g, g[:])
		}
	}
	for _, in := range []string{"", "{}", s[1:], s + "0", "{" + s, strings.Replace(s, "-", "_", 1), strings.Replace(s, "a", "g", 1)} {
		if g, err := ParseGUID(in); err == nil {
			t.Errorf("ParseGUID(%q) = %v", in, g)
		}
	}
	if a, b := NewGUID(), NewGUID(); a == b || a.IsZero() || a.String()[14] != '4' {
		t.Errorf("NewGUID: %v, %v", a, b)
	}
	var g GUID
	b, _ := RegionBAT.MarshalText()
	if must(t, g.UnmarshalText(b)); g != RegionBAT {
		t.Errorf("text form gives %v", g)
	}
}

// TestGeometry holds the formulas of MS-VHDX 2.5 at the borders.
func TestGeometry(t *testing.T) {
	for _, tc := range []struct {
		g                          Geometry
		ratio, blocks, chunks, bat int64
	}{
		{Geometry{mib, 512, mib, false}, 4096, 1, 1, 1},
		{Geometry{mib, 512, mib, true}, 4096, 1, 1, 4097},
		{Geometry{2 * mib, 512, 4 * gib, false}, 2048, 2048, 1, 2048},
		{Geometry{2 * mib, 512, 4*gib + 512, false}, 2048, 2049, 2, 2050},
		{Geometry{2 * mib, 512, 4 * gib, true}, 2048, 2048, 1, 2049},
		{Geometry{2 * mib, 512, 4*gib + 512, true}, 2048, 2049, 2, 4098},
		{Geometry{32 * mib, 512, 10 * gib, false}, 128, 320, 3, 322},
		{Geometry{256 * mib, 512, 5 * gib, false}, 16, 20, 2, 21},
		{Geometry{32 * mib, 4096, 33 * gib, false}, 1024, 1056, 2, 1057},
		{Geometry{mib, 512, 64 * tib, true}, 4096, 64 * mib, 16384, 64*mib + 16384},
	} {
		g := tc.g
		if g.ChunkRatio() != tc.ratio || g.Blocks() != tc.blocks || g.Chunks() != tc.chunks || g.BATEntries() != tc.bat {
			t.Errorf("%+v: ratio %d blocks %d chunks %d entries %d", g, g.ChunkRatio(), g.Blocks(), g.Chunks(), g.BATEntries())
		}
	}
	g := Geometry{32 * mib, 512, 10 * gib, true}
	for _, x := range [][2]int64{{0, 0}, {127, 127}, {128, 129}, {255, 256}, {256, 258}} {
		if got := g.PayloadIndex(x[0]); got != x[1] {
			t.Errorf("PayloadIndex(%d) = %d, want %d", x[0], got, x[1])
		}
	}
	for c, want := range []int64{128, 257, 386} {
		if got := g.BitmapIndex(int64(c)); got != want {
			t.Errorf("BitmapIndex(%d) = %d, want %d", c, got, want)
		}
	}
	if e := NewBATEntry(PayloadPartiallyPresent, 5*mib); e != 0x500007 || e.State() != 7 || e.FileOffset() != 5*mib {
		t.Errorf("entry %#x", uint64(e))
	}
}

func TestHeaderCodec(t *testing.T) {
	h := Header{SequenceNumber: 1 << 60, FileWriteGUID: NewGUID(), DataWriteGUID: NewGUID(), LogGUID: NewGUID(), Version: 1, LogLength: mib, LogOffset: 7 * mib}
	b := h.Marshal()
	got, err := ParseHeader(b)
	must(t, err)
	if *got != h || len(b) != 4096 {
		t.Fatalf("got %+v, want %+v", got, h)
	}
	for _, i := range []int{0, 4, 8, 60, 4095} { // the checksum covers all 4 KiB
		c := bytes.Clone(b)
		c[i] ^= 1
		if _, err := ParseHeader(c); !errors.Is(err, ErrCorrupt) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	if _, err := ParseHeader(b[:4095]); !errors.Is(err, ErrCorrupt) {
		t.Errorf("cut off: %v", err)
	}
	m := newMemFile()
	h.SequenceNumber = 5
	m.WriteAt(h.Marshal(), Header2Offset)
	if cur, slot, err := ReadHeaders(m); err != nil || slot != 1 || *cur != h {
		t.Errorf("ReadHeaders = %+v, %d, %v", cur, slot, err)
	}
}

func TestLocatorCodec(t *testing.T) {
	g, g2 := NewGUID(), NewGUID()
	l := NewParentLocator(g, `.\Eltern größer 𝄞.vhdx`)
	l.Set(KeyParentLinkage2, "{"+strings.ToUpper(g2.String())+"}")
	l.Set("unknown", "kept")
	got, err := ParseParentLocator(bytesOf(t, l))
	must(t, err)
	if !reflect.DeepEqual(got, l) {
		t.Fatalf("got %+v, want %+v", got, l)
	}
	if x, err := got.Linkage(); err != nil || x != g {
		t.Errorf("Linkage = %v, %v", x, err)
	}
	if x, err := got.Linkage2(); err != nil || x != g2 {
		t.Errorf("Linkage2 = %v, %v", x, err)
	}
	if v, _ := got.Get(KeyParentLinkage); v != "{"+g.String()+"}" {
		t.Errorf("linkage is written as %q", v)
	}
	got.Set("unknown", "")
	if _, ok := got.Get("unknown"); ok || len(got.Entries) != 3 {
		t.Errorf("an empty value does not remove: %+v", got)
	}
	if x, err := NewParentLocator(g, "p").Linkage2(); err != nil || !x.IsZero() {
		t.Errorf("without linkage2: %v, %v", x, err)
	}
	if _, err := (&ParentLocator{}).Linkage(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("without linkage: %v", err)
	}
	bad := func(name string, want error, change func(b []byte) []byte) {
		if _, err := ParseParentLocator(change(bytesOf(t, l))); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad("short", ErrCorrupt, func(b []byte) []byte { return b[:19] })
	bad("type", ErrUnsupported, func(b []byte) []byte { b[0]++; return b })
	bad("count", ErrCorrupt, func(b []byte) []byte { b[19] = 2; return b })
	bad("key outside", ErrCorrupt, func(b []byte) []byte { le.PutUint32(b[20:], uint32(len(b))); return b })
	bad("overflow", ErrCorrupt, func(b []byte) []byte { le.PutUint32(b[24:], 0xfffffff0); return b })
	bad("odd length", ErrCorrupt, func(b []byte) []byte { b[28]++; return b })
	bad("no length", ErrCorrupt, func(b []byte) []byte { le.PutUint16(b[30:], 0); return b })
	bad("key twice", ErrCorrupt, func(b []byte) []byte { copy(b[32:36], b[20:24]); copy(b[40:42], b[28:30]); return b })
}

func TestMetadataCodec(t *testing.T) {
	m := &Metadata{BlockSize: 2 * mib, HasParent: true, VirtualDiskSize: 12345 * 512, VirtualDiskID: NewGUID(), LogicalSectorSize: 512, PhysicalSectorSize: 4096,
		ParentLocator: NewParentLocator(NewGUID(), "p"), Items: []MetadataItem{{ID: NewGUID(), IsUser: true, Data: []byte("text")}, {ID: NewGUID()}}}
	b, err := m.Marshal()
	must(t, err)
	if len(b)%pageSize != 0 {
		t.Fatalf("%d bytes", len(b))
	}
	f := newMemFile()
	f.WriteAt(b, 5*mib)
	got, err := ParseMetadata(f, 5*mib, int64(len(b)))
	must(t, err)
	if it := got.Items[0]; it.Length != 4 || string(b[it.Offset:it.Offset+4]) != "text" {
		t.Errorf("item %+v", it)
	}
	got.Items, m.Items = nil, nil
	if !reflect.DeepEqual(got, m) {
		t.Fatalf("got %+v, want %+v", got, m)
	}
	// The places that Windows uses.
	if string(b[0x10000+0x28:][:16]) != string(locatorTypeVHDX[:]) || le.Uint64(b[0x10008:]) != 12345*512 {
		t.Error("items are not where Windows has them")
	}
}

func TestRegionCodec(t *testing.T) {
	tab := RegionTable{{RegionBAT, 3 * mib, mib, true}, {RegionMetadata, 2 * mib, mib, true}, {NewGUID(), 9 * mib, 4 * mib, false}}
	got, err := ParseRegionTable(bytesOf(t, tab))
	must(t, err)
	if !reflect.DeepEqual(got, tab) {
		t.Fatalf("got %+v, want %+v", got, tab)
	}
}
