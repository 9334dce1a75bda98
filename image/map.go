package image

import (
	"encoding/binary"
	"math"

	"troy/image/internal/fault"
	"troy/image/internal/pages"
	"troy/internal/block"
)

// The layout is described in doc.go, "Version map".
const (
	mapMagic      = "TROYMAPS"
	mapHeaderSize = 64
	maxMapSize    = 2 << 30
)

// Map says what a version reads like: one SHA-256 for each region of RegionSize bytes (the last may
// be shorter), with the undefined pages taken as zeros, and which pages those are.
type Map struct {
	// VirtualSize is the size of the virtual disk in bytes.
	VirtualSize int64
	// Sums has the SHA-256 of each region.
	Sums []Sum
	// Undefined are the pages that may hold anything.
	Undefined pages.Set
}

// Holds says whether b is what a region of the version reads like. It is not changed.
func (m *Map) Holds(region int64, b []byte) bool {
	return m.Undefined.SumWithout(b, region*pages.PerRegion) == m.Sums[region]
}

// Encode returns the map as a store has it, or ErrInvalid for a disk too large to have one.
func (m *Map) Encode() ([]byte, error) {
	le := binary.LittleEndian
	b := make([]byte, mapHeaderSize, mapHeaderSize+len(m.Sums)*len(Sum{})+len(m.Undefined)*16)
	copy(b, mapMagic)
	le.PutUint32(b[8:], uint32(MapKind.Current()))
	le.PutUint32(b[12:], PageSize)
	le.PutUint64(b[16:], uint64(m.VirtualSize))
	le.PutUint32(b[24:], RegionSize)
	le.PutUint32(b[28:], uint32(len(m.Sums)))
	le.PutUint64(b[32:], uint64(len(m.Undefined)))
	for i := range m.Sums {
		b = append(b, m.Sums[i][:]...)
	}
	for _, u := range m.Undefined {
		b = le.AppendUint64(b, uint64(u.Lo))
		b = le.AppendUint64(b, uint64(u.Hi-u.Lo))
	}
	if len(b) > maxMapSize {
		return nil, fault.Invalidf("the version map would be %d bytes, allowed are %d", len(b), maxMapSize)
	}
	return b, nil
}

// parseMap reads a version map strictly. Its errors are ErrCorrupt and ErrUnsupported.
func parseMap(b []byte) (*Map, error) {
	le := binary.LittleEndian
	if len(b) < mapHeaderSize || string(b[:8]) != mapMagic {
		return nil, fault.Corruptf("not a version map")
	}
	newer, err := fault.Number(&MapKind, le.Uint32(b[8:]))
	if err != nil {
		return nil, err
	}
	if p, r := le.Uint32(b[12:]), le.Uint32(b[24:]); p != PageSize || r != RegionSize {
		return nil, fault.Unsupportedf("version map with pages of %d and regions of %d bytes", p, r)
	}
	m := &Map{VirtualSize: int64(le.Uint64(b[16:]))}
	if err := pages.CheckDisk(m.VirtualSize); err != nil {
		return nil, fault.Corruptf("version map: %v", err)
	}
	count, undefined := int64(le.Uint32(b[28:])), le.Uint64(b[32:])
	if count != pages.Regions(m.VirtualSize) || undefined > math.MaxInt32 || !newer && !block.IsZero(b[40:mapHeaderSize]) {
		return nil, fault.Corruptf("version map: header says %d regions for %d bytes", count, m.VirtualSize)
	}
	if want := mapHeaderSize + count*int64(len(Sum{})) + int64(undefined)*16; want != int64(len(b)) {
		return nil, fault.Corruptf("version map is %d bytes long, its counts say %d", len(b), want)
	}
	b = b[mapHeaderSize:]
	m.Sums = make([]Sum, count)
	for i := range m.Sums {
		m.Sums[i], b = Sum(b[:len(Sum{})]), b[len(Sum{}):]
	}
	return m, m.parseUndefined(b)
}

func (m *Map) parseUndefined(b []byte) error {
	le, total := binary.LittleEndian, uint64(m.VirtualSize/PageSize)
	m.Undefined = make(pages.Set, 0, len(b)/16)
	next := uint64(0) // a touching run would have been one run
	for ; len(b) > 0; b = b[16:] {
		lo, n := le.Uint64(b), le.Uint64(b[8:])
		if lo < next || n == 0 || n > total || lo > total-n {
			return fault.Corruptf("version map: undefined run %d is pages %d+%d of %d", len(m.Undefined), lo, n, total)
		}
		m.Undefined = append(m.Undefined, pages.Span{Lo: int64(lo), Hi: int64(lo + n)})
		next = lo + n + 1
	}
	return nil
}
