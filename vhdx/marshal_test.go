package vhdx

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
)

// marshaler is a structure that the format may have no room for.
type marshaler interface{ Marshal() ([]byte, error) }

func bytesOf(t testing.TB, m marshaler) []byte {
	t.Helper()
	b, err := m.Marshal()
	must(t, err)
	return b
}

// regions returns a table of n regions of 1 MiB.
func regions(n int) RegionTable {
	t := make(RegionTable, n)
	for i := range t {
		t[i] = Region{ID: NewGUID(), Offset: int64(i+1) * mib, Length: mib}
	}
	return t
}

func change[T any](v T, f func(T)) T { f(v); return v }

// TestMarshalRefuses: what the format has no room for is an error, never cut off; the most that it
// has room for is read back.
func TestMarshalRefuses(t *testing.T) {
	locator := func(key, value string) *ParentLocator {
		return &ParentLocator{Entries: []LocatorEntry{{key, value}}}
	}
	many := func(n, length int) *ParentLocator {
		l := &ParentLocator{}
		for i := range n {
			l.Set("k"+string(rune('a'+i/26))+string(rune('a'+i%26)), strings.Repeat("x", length))
		}
		return l
	}
	metadata := func(items ...MetadataItem) *Metadata {
		return &Metadata{BlockSize: mib, VirtualDiskSize: mib, LogicalSectorSize: 512, PhysicalSectorSize: 512, Items: items}
	}
	items := func(n, length int, user bool) *Metadata {
		m := metadata()
		for range n {
			m.Items = append(m.Items, MetadataItem{ID: NewGUID(), IsUser: user, Data: make([]byte, length)})
		}
		return m
	}
	entry := func(pages int, d ...LogDescriptor) *LogEntry {
		page := make([]byte, pageSize)
		for range pages {
			d = append(d, LogDescriptor{FileOffset: mib, Data: page})
		}
		return &LogEntry{SequenceNumber: 1, LogGUID: NewGUID(), Descriptors: d}
	}
	for _, tc := range []struct {
		name string
		m    marshaler
		want error
	}{
		{"2047 regions", regions(2047), nil},
		{"2048 regions", regions(2048), ErrUnsupported},
		{"region of 4 GiB", change(regions(2), func(r RegionTable) { r[1].Length = 4 * gib }), ErrCorrupt},
		{"largest region", change(regions(2), func(r RegionTable) { r[1].Length = 4*gib - mib }), nil},
		{"empty region", change(regions(2), func(r RegionTable) { r[1].Length = 0 }), ErrCorrupt},
		{"region off a MiB", change(regions(2), func(r RegionTable) { r[1].Offset++ }), ErrCorrupt},
		{"region of half a MiB", change(regions(2), func(r RegionTable) { r[1].Length /= 2 }), ErrCorrupt},
		{"region over the headers", change(regions(2), func(r RegionTable) { r[0].Offset = 0 }), ErrCorrupt},
		{"negative region", change(regions(2), func(r RegionTable) { r[0].Offset = -mib }), ErrCorrupt},
		{"regions overlap", change(regions(2), func(r RegionTable) { r[0].Length *= 2 }), ErrCorrupt},
		{"far regions overlap", change(regions(2), func(r RegionTable) { r[0].Offset, r[1].Offset = maxFileSize, maxFileSize }), ErrCorrupt},
		{"region twice", change(regions(2), func(r RegionTable) { r[1].ID = r[0].ID }), ErrCorrupt},

		{"longest value", locator("k", strings.Repeat("x", math.MaxUint16/2)), nil},
		{"value too long", locator("k", strings.Repeat("x", math.MaxUint16/2+1)), ErrUnsupported},
		{"value too long in UTF-16", locator("k", strings.Repeat("\U0001F600", math.MaxUint16/4+1)), ErrUnsupported},
		{"key too long", locator(strings.Repeat("x", math.MaxUint16/2+1), "v"), ErrUnsupported},
		{"256 pairs", many(256, 1), nil},
		{"257 pairs", many(257, 1), ErrUnsupported},
		{"locator of more than 1 MiB", many(17, math.MaxUint16/2), ErrUnsupported},
		{"no key", locator("", "v"), ErrCorrupt},
		{"no value", locator("k", ""), ErrCorrupt},
		{"key twice", &ParentLocator{Entries: []LocatorEntry{{"k", "v"}, {"k", "w"}}}, ErrCorrupt},

		{"2042 items", items(2042, 0, false), nil},
		{"2043 items", items(2043, 0, false), ErrUnsupported},
		{"1024 user items", items(1024, 0, true), nil},
		{"1025 user items", items(1025, 0, true), ErrCorrupt},
		{"item of 1 MiB", items(1, mib, false), nil},
		{"item of more", items(1, mib+1, false), ErrUnsupported},
		{"items of more than 64 MiB", items(65, mib, false), ErrUnsupported},
		{"item twice", metadata(MetadataItem{ID: itemCHS}, MetadataItem{ID: itemCHS}), ErrCorrupt},
		{"item twice, once the user's", metadata(MetadataItem{ID: itemCHS}, MetadataItem{ID: itemCHS, IsUser: true}), nil},
		{"item that is there anyway", metadata(MetadataItem{ID: itemVirtualDiskID, Data: make([]byte, 16)}), ErrCorrupt},

		{"129 pages", entry(129), nil},
		{"page of another size", entry(0, LogDescriptor{FileOffset: mib, Data: make([]byte, 512)}), ErrCorrupt},
		{"zeros off a page", entry(0, LogDescriptor{FileOffset: mib, ZeroLength: 512}), ErrCorrupt},
		{"no zeros", entry(0, LogDescriptor{FileOffset: mib}), ErrCorrupt},
		{"zeros past every file", entry(0, LogDescriptor{FileOffset: maxFileSize, ZeroLength: pageSize}), ErrCorrupt},
		{"over the headers", entry(0, LogDescriptor{FileOffset: Header2Offset, ZeroLength: pageSize}), ErrCorrupt},
		{"offset of a file off a MiB", change(entry(1), func(e *LogEntry) { e.LastFileOffset = pageSize }), ErrCorrupt},

		{"longest creator", creatorName(strings.Repeat("x", 256)), nil},
		{"creator too long", creatorName(strings.Repeat("x", 257)), ErrUnsupported},
		{"creator too long in UTF-16", creatorName(strings.Repeat("\U0001F600", 129)), ErrUnsupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, err := tc.m.Marshal()
			if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) || err != nil && b != nil {
				t.Fatalf("%d bytes, %v; want %v", len(b), err, tc.want)
			}
			if err == nil {
				must(t, parseAgain(tc.m, b))
			}
		})
	}
}

// creatorName is a file identifier.
type creatorName string

// Marshal implements marshaler.
func (c creatorName) Marshal() ([]byte, error) { return MarshalFileIdentifier(string(c)) }

var errOther = errors.New("it reads otherwise")

// parseAgain reads back what was written of m.
func parseAgain(m marshaler, b []byte) error {
	same := true
	var err error
	switch m := m.(type) {
	case RegionTable:
		var got RegionTable
		got, err = ParseRegionTable(b)
		same = len(got) == len(m)
	case *ParentLocator:
		var got *ParentLocator
		if got, err = ParseParentLocator(b); err == nil {
			same = len(got.Entries) == len(m.Entries) && got.Entries[0] == m.Entries[0]
		}
	case *Metadata:
		var got *Metadata
		if got, err = ParseMetadata(bytes.NewReader(b), 0, int64(len(b))); err == nil {
			same = len(got.Items) == len(m.Items)
		}
	case *LogEntry:
		var got *LogEntry
		if got, err = readLogEntry(b); err == nil {
			same = len(got.Descriptors) == len(m.Descriptors)
		}
	case creatorName:
		var got string
		got, err = readFileIdentifier(bytes.NewReader(b))
		same = got == string(m)
	}
	if err == nil && !same {
		err = errOther
	}
	return err
}

// TestMarshalHugeLogEntry: an entry that is longer than any log is refused before its bytes are put
// together.
func TestMarshalHugeLogEntry(t *testing.T) {
	page := make([]byte, pageSize)
	e := &LogEntry{SequenceNumber: 1, LogGUID: NewGUID(), Descriptors: make([]LogDescriptor, maxLogLength/pageSize)}
	for i := range e.Descriptors {
		e.Descriptors[i] = LogDescriptor{FileOffset: mib, Data: page}
	}
	if _, err := e.Marshal(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%d pages: %v", len(e.Descriptors), err)
	}
}

// TestCreateRefusesLongCreator: nothing is made of a name that does not fit.
func TestCreateRefusesLongCreator(t *testing.T) {
	m := newMemFile()
	_, err := CreateStorage(m, &CreateOptions{Size: mib, Creator: strings.Repeat("x", 257)})
	if !errors.Is(err, ErrUnsupported) || m.size != 0 {
		t.Errorf("%v, %d bytes written", err, m.size)
	}
}

// TestCreateIdentity: a disk has the names that it was given; a child has its parent's identity.
func TestCreateIdentity(t *testing.T) {
	id := NewGUID()
	base := openMem(t, createMem(t, &CreateOptions{Size: mib, Creator: "somebody else", VirtualDiskID: id}), false)
	child := openMem(t, createMem(t, &CreateOptions{Kind: Differencing, Parent: base, ParentPath: "p"}), false)
	if base.Creator() != "somebody else" || base.Metadata().VirtualDiskID != id || child.Metadata().VirtualDiskID != id || child.Creator() != "Troy" {
		t.Errorf("%q %v, child %q %v", base.Creator(), base.Metadata().VirtualDiskID, child.Creator(), child.Metadata().VirtualDiskID)
	}
}
