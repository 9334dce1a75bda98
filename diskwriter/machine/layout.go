package machine

import (
	"fmt"

	"troy/internal/block"
	"troy/vhdx"
)

const mib = 1 << 20

// Block sizes in bytes. Slots have small blocks because a block is the unit in which they fill up.
const (
	baseBlockSize = 2 * mib
	bootBlockSize = 2 * mib
	SlotBlockSize = 1 * mib
)

// layout says where everything stands in a file made here, in bytes. All places are multiples of 1
// MiB.
type layout struct {
	geo      vhdx.Geometry
	log      span
	metadata span
	bat      span
	bitmaps  span // one MiB for each chunk, in order; empty in base
	payload  span
	size     int64 // of the file
}

type span struct{ off, length int64 }

func (s span) end() int64 { return s.off + s.length }

// baseLayout is the order that Windows gives a fixed disk.
func baseLayout(virtual int64, sector uint32) *layout {
	l := &layout{geo: vhdx.Geometry{BlockSize: baseBlockSize, LogicalSectorSize: sector, VirtualDiskSize: virtual}}
	l.log = span{mib, mib}
	l.metadata = span{2 * mib, mib}
	l.bat = span{3 * mib, batLength(l.geo)}
	l.bitmaps = span{l.bat.end(), 0}
	l.payload = span{l.bat.end(), l.geo.Blocks() * baseBlockSize}
	l.size = l.payload.end()
	return l
}

// slotLayout uses as many payload blocks as a file of size bytes holds, at most one for each block
// of the disk.
func slotLayout(virtual int64, sector uint32, size int64) (*layout, error) {
	l := &layout{geo: vhdx.Geometry{BlockSize: SlotBlockSize, LogicalSectorSize: sector, VirtualDiskSize: virtual, Differencing: true}}
	l.log = span{mib, mib}
	l.metadata = span{2 * mib, mib}
	l.bat = span{3 * mib, batLength(l.geo)}
	l.bitmaps = span{l.bat.end(), bitmapsLength(l.geo)}
	blocks := min((size-l.bitmaps.end())/SlotBlockSize, l.geo.Blocks())
	if blocks < 1 {
		return nil, fmt.Errorf("a slot of %d bytes holds no payload: %d bytes are needed at least", size, l.bitmaps.end()+SlotBlockSize)
	}
	l.payload = span{l.bitmaps.end(), blocks * SlotBlockSize}
	l.size = l.payload.end()
	return l, nil
}

// bootLayout anchors every block, and has the metadata region last so that the file has no slack
// for Windows to cut off.
func bootLayout(virtual int64, sector uint32) *layout {
	l := &layout{geo: vhdx.Geometry{BlockSize: bootBlockSize, LogicalSectorSize: sector, VirtualDiskSize: virtual, Differencing: true}}
	l.log = span{mib, bootLogLength(l.geo)}
	l.bat = span{l.log.end(), batLength(l.geo)}
	l.bitmaps = span{l.bat.end(), bitmapsLength(l.geo)}
	l.payload = span{l.bitmaps.end(), l.geo.Blocks() * bootBlockSize}
	l.metadata = span{l.payload.end(), mib}
	l.size = l.metadata.end()
	return l
}

// batLength and bitmapsLength reserve what 512-byte sectors need, whatever the sectors are, so that
// the size of a file depends on the virtual size alone.
func batLength(g vhdx.Geometry) int64 {
	g.LogicalSectorSize = 512
	return block.RoundUp(g.BATEntries()*8, mib)
}

func bitmapsLength(g vhdx.Geometry) int64 {
	g.LogicalSectorSize = 512
	return g.Chunks() * mib
}

// batPages is the part of the BAT region that holds entries, in bytes.
func batPages(g vhdx.Geometry) int64 { return block.RoundUp(g.BATEntries()*8, pageSize) }

// metadataContent is the most that the content of a metadata region made here takes: the table and
// one page of items.
const metadataContent = 64<<10 + pageSize

// bootLogLength holds the whole BAT, the metadata and a zero descriptor for each bitmap block in
// one entry, with a page to spare: an entry must not fill its log.
func bootLogLength(g vhdx.Geometry) int64 {
	g.LogicalSectorSize = 512
	data := batPages(g)/pageSize + metadataContent/pageSize
	descriptors := block.RoundUp(64+32*(data+g.Chunks()), pageSize)
	return block.RoundUp(descriptors+data*pageSize+pageSize, mib)
}

func (l *layout) regions() vhdx.RegionTable {
	return vhdx.RegionTable{
		{ID: vhdx.RegionBAT, Offset: l.bat.off, Length: l.bat.length, Required: true},
		{ID: vhdx.RegionMetadata, Offset: l.metadata.off, Length: l.metadata.length, Required: true},
	}
}

// matches tells whether a file has its regions and its log where the layout has them.
func (l *layout) matches(h *vhdx.Header, regions vhdx.RegionTable) error {
	if int64(h.LogOffset) != l.log.off || int64(h.LogLength) != l.log.length {
		return fmt.Errorf("log at %d (%d bytes), not %d (%d bytes)", h.LogOffset, h.LogLength, l.log.off, l.log.length)
	}
	for _, want := range l.regions() {
		for _, have := range regions {
			if have.ID == want.ID && (have.Offset != want.Offset || have.Length != want.Length) {
				return fmt.Errorf("region %s at %d (%d bytes), not %d (%d bytes)", have.ID, have.Offset, have.Length, want.Offset, want.Length)
			}
		}
	}
	return nil
}

// bitmapOffset is the anchor of the sector bitmap of a chunk.
func (l *layout) bitmapOffset(chunk int64) int64 { return l.bitmaps.off + chunk*mib }

// bitmapBytes is the part of the sector bitmap of a chunk that describes blocks of the disk, in
// whole pages.
func (l *layout) bitmapBytes(chunk int64) int64 {
	sectors := (l.geo.VirtualDiskSize + int64(l.geo.LogicalSectorSize) - 1) / int64(l.geo.LogicalSectorSize)
	return min(block.RoundUp(block.RoundUp(sectors-chunk*mib*8, 8)/8, pageSize), mib)
}

// payloadOffset is the place of the n-th payload block; in the boot child, the anchor of block n.
func (l *layout) payloadOffset(n int64) int64 { return l.payload.off + n*int64(l.geo.BlockSize) }

// bitsPerPage is the number of sectors, so of bitmap bits, in a page.
func (l *layout) bitsPerPage() int { return pageSize / int(l.geo.LogicalSectorSize) }

// BaseSize is the size in bytes of the file that FormatBase needs for a virtual disk of that many
// bytes.
func BaseSize(virtual int64) int64 { return baseLayout(virtual, 512).size }

// BootChildSize is the size in bytes of the file that formatBootChild needs.
func BootChildSize(virtual int64) int64 { return bootLayout(virtual, 512).size }

// SlotSize is the size in bytes of a slot that holds payload bytes in blocks of SlotBlockSize. A
// slot never needs more than SlotSize(virtual, virtual); the usual choice is a quarter of the
// virtual size.
func SlotSize(virtual, payload int64) int64 {
	l, err := slotLayout(virtual, 512, 1<<62)
	if err != nil {
		return 0
	}
	return l.payload.off + min(block.RoundUp(payload, SlotBlockSize), l.payload.length)
}
