package image

import (
	"encoding/binary"
	"math"
)

// The layout is described in doc.go, "Version map".
const (
	mapMagic      = "TROYMAPS"
	mapHeaderSize = 64
	maxMapSize    = 2 << 30
)

// Map says what a version reads like: one SHA-256 for each region of RegionSize bytes (the last may be shorter), with the
// undefined pages taken as zeros, and which pages those are.
type Map struct {
	virtualSize int64
	sums        []Sum
	undefined   spans
}

// Regions returns how many regions the virtual disk has.
func (m *Map) Regions() int64 { return int64(len(m.sums)) }

// VirtualSize returns the size of the virtual disk in bytes.
func (m *Map) VirtualSize() int64 { return m.virtualSize }

// UndefinedBytes returns how many bytes of the virtual disk are undefined in the version.
func (m *Map) UndefinedBytes() int64 { return m.undefined.pages() * PageSize }

func regions(virtualSize int64) int64 { return (virtualSize + RegionSize - 1) / RegionSize }

func (m *Map) marshal() []byte {
	le := binary.LittleEndian
	b := make([]byte, mapHeaderSize, mapHeaderSize+len(m.sums)*len(Sum{})+len(m.undefined)*16)
	copy(b, mapMagic)
	le.PutUint32(b[8:], formatVersion)
	le.PutUint32(b[12:], PageSize)
	le.PutUint64(b[16:], uint64(m.virtualSize))
	le.PutUint32(b[24:], RegionSize)
	le.PutUint32(b[28:], uint32(len(m.sums)))
	le.PutUint64(b[32:], uint64(len(m.undefined)))
	for i := range m.sums {
		b = append(b, m.sums[i][:]...)
	}
	for _, u := range m.undefined {
		b = le.AppendUint64(b, uint64(u.lo))
		b = le.AppendUint64(b, uint64(u.hi-u.lo))
	}
	return b
}

// parseMap reads a version map strictly. Its errors are ErrCorrupt and ErrUnsupported.
func parseMap(b []byte) (*Map, error) {
	le := binary.LittleEndian
	if len(b) < mapHeaderSize || string(b[:8]) != mapMagic {
		return nil, corruptf("not a version map")
	}
	if v := le.Uint32(b[8:]); v != formatVersion {
		return nil, unsupportedf("version map of format %d, this program reads %d", v, formatVersion)
	}
	if p, r := le.Uint32(b[12:]), le.Uint32(b[24:]); p != PageSize || r != RegionSize {
		return nil, unsupportedf("version map with pages of %d and regions of %d bytes", p, r)
	}
	m := &Map{virtualSize: int64(le.Uint64(b[16:]))}
	if err := checkVirtualSize(m.virtualSize); err != nil {
		return nil, corruptf("version map: %v", err)
	}
	count, undefined := int64(le.Uint32(b[28:])), le.Uint64(b[32:])
	if count != regions(m.virtualSize) || undefined > math.MaxInt32 || !zeros(b[40:mapHeaderSize]) {
		return nil, corruptf("version map: header says %d regions for %d bytes", count, m.virtualSize)
	}
	if want := mapHeaderSize + count*int64(len(Sum{})) + int64(undefined)*16; want != int64(len(b)) {
		return nil, corruptf("version map is %d bytes long, its counts say %d", len(b), want)
	}
	b = b[mapHeaderSize:]
	m.sums = make([]Sum, count)
	for i := range m.sums {
		m.sums[i], b = Sum(b[:len(Sum{})]), b[len(Sum{}):]
	}
	return m, m.parseUndefined(b)
}

func (m *Map) parseUndefined(b []byte) error {
	le, pages := binary.LittleEndian, uint64(m.virtualSize/PageSize)
	m.undefined = make(spans, 0, len(b)/16)
	next := uint64(0) // a touching run would have been one run
	for ; len(b) > 0; b = b[16:] {
		lo, n := le.Uint64(b), le.Uint64(b[8:])
		if lo < next || n == 0 || n > pages || lo > pages-n {
			return corruptf("version map: undefined run %d is pages %d+%d of %d", len(m.undefined), lo, n, pages)
		}
		m.undefined = append(m.undefined, span{int64(lo), int64(lo + n)})
		next = lo + n + 1
	}
	return nil
}
