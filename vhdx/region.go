package vhdx

import (
	"cmp"
	"io"
	"math"
	"slices"

	"troy/internal/guid"
)

// GUIDs of the known regions (MS-VHDX 2.2.3.2).
var (
	RegionBAT      = guid.Must("2DC27766-F623-4200-9D64-115E9BFD4A08")
	RegionMetadata = guid.Must("8B7CA206-4790-4B9A-B8FE-575F050F886E")
)

const (
	regionSignature  = "regi"
	maxRegions       = 2047
	regionEntrySize  = 32
	regionEntryStart = 16
)

// Region is one entry of the region table (MS-VHDX 2.2.3.2).
type Region struct {
	ID       GUID
	Offset   int64 // bytes from the start of the file, a multiple of 1 MiB
	Length   int64 // bytes, a multiple of 1 MiB
	Required bool  // a reader that does not know ID must refuse the file
}

// RegionTable is the region table; two identical copies stand in a file.
type RegionTable []Region

// Find returns the region with the given id.
func (t RegionTable) Find(id GUID) (Region, bool) {
	i := slices.IndexFunc(t, func(r Region) bool { return r.ID == id })
	if i < 0 {
		return Region{}, false
	}
	return t[i], true
}

// Marshal returns the 64 KiB of the table with its checksum. Errors:
// ErrUnsupported for more than 2047 entries, ErrCorrupt for regions that
// ParseRegionTable would refuse.
func (t RegionTable) Marshal() ([]byte, error) {
	if len(t) > maxRegions {
		return nil, unsupported("region table", 8, "%d entries, at most %d are allowed", len(t), maxRegions)
	}
	if err := t.validate(); err != nil {
		return nil, err
	}
	b := make([]byte, regionTableSize)
	copy(b, regionSignature)
	le.PutUint32(b[8:], uint32(len(t)))
	for i, r := range t {
		e := b[regionEntryStart+i*regionEntrySize:]
		copy(e, r.ID[:])
		le.PutUint64(e[16:], uint64(r.Offset))
		le.PutUint32(e[24:], uint32(r.Length))
		if r.Required {
			le.PutUint32(e[28:], 1)
		}
	}
	putChecksum(b)
	return b, nil
}

// ParseRegionTable reads one copy of 64 KiB: signature, checksum, count,
// alignment, unique ids, no overlap. Whether the regions lie inside the file
// and are known is for the caller (Open checks it). Errors: *FormatError.
func ParseRegionTable(b []byte) (RegionTable, error) {
	if len(b) < regionTableSize {
		return nil, corrupt("region table", 0, "cut off after %d bytes", len(b))
	}
	b = b[:regionTableSize]
	if string(b[:4]) != regionSignature {
		return nil, corrupt("region table", 0, "signature is not %q", regionSignature)
	}
	if !checksumOK(b) {
		return nil, corrupt("region table", 0, "checksum is wrong")
	}
	n := le.Uint32(b[8:])
	if n > maxRegions {
		return nil, corrupt("region table", 8, "%d entries, at most %d are allowed", n, maxRegions)
	}
	t := make(RegionTable, 0, n)
	for i := range int(n) {
		off := regionEntryStart + i*regionEntrySize
		t = append(t, parseRegion(b[off:off+regionEntrySize]))
	}
	if err := t.validate(); err != nil {
		return nil, err
	}
	return t, nil
}

func parseRegion(e []byte) Region {
	return Region{GUID(e[:16]), int64(le.Uint64(e[16:])), int64(le.Uint32(e[24:])), le.Uint32(e[28:])&1 != 0}
}

// validate checks one entry. Offsets of errors count from its start.
func (r *Region) validate() error {
	if !validFileOffset(r.Offset, mib) || r.Offset < headerSection {
		return corrupt("region table", 16, "region offset %#x is not a multiple of 1 MiB past the headers", uint64(r.Offset))
	}
	if r.Length <= 0 || r.Length%mib != 0 || r.Length > math.MaxUint32 {
		return corrupt("region table", 24, "region length %#x is not a multiple of 1 MiB below 4 GiB", uint64(r.Length))
	}
	return nil
}

// validate checks every entry, then what concerns entries together.
func (t RegionTable) validate() error {
	for i := range t {
		if err := t[i].validate(); err != nil {
			return moveError(err, int64(regionEntryStart+i*regionEntrySize))
		}
	}
	s := slices.Clone(t)
	slices.SortFunc(s, func(a, b Region) int { return cmp.Compare(a.Offset, b.Offset) })
	seen := make(map[GUID]bool, len(t))
	for i, r := range s {
		if seen[r.ID] {
			return corrupt("region table", 0, "region %v is listed twice", r.ID)
		}
		seen[r.ID] = true
		if i > 0 && s[i-1].Offset+s[i-1].Length > r.Offset {
			return corrupt("region table", 0, "regions %v and %v overlap", s[i-1].ID, r.ID)
		}
	}
	return nil
}

// readRegionTables returns the first valid copy; only a reader that
// falls back can open a file with a torn or unreadable first copy.
func readRegionTables(r io.ReaderAt) (RegionTable, error) {
	var bad [2]error
	for i, off := range regionTableOffsets {
		var t RegionTable
		if t, _, bad[i] = readRegionTable(r, off); bad[i] == nil {
			return t, nil
		}
	}
	if err := unreadable(bad[0], bad[1]); err != nil {
		return nil, err
	}
	return nil, bad[0]
}

var regionTableOffsets = [2]int64{RegionTable1Offset, RegionTable2Offset}

func readRegionTable(r io.ReaderAt, off int64) (RegionTable, []byte, error) {
	b := make([]byte, regionTableSize)
	if err := readCopy(r, b, off, "region table"); err != nil {
		return nil, nil, err
	}
	t, err := ParseRegionTable(b)
	if err != nil {
		return nil, nil, moveError(err, off)
	}
	return t, b, nil
}
