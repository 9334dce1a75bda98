package vhdx

import "fmt"

// BlockState is the state field of a BAT entry (MS-VHDX 2.5.1). Payload
// blocks and sector bitmap blocks each have their own set.
type BlockState uint8

// States of payload blocks (MS-VHDX 2.5.1.1). 4 is reserved, and so is 5, which drafts before
// version 1.00 used for UNMAPPED.
const (
	PayloadNotPresent       BlockState = 0 // content undefined; in a differencing disk: the parent's
	PayloadUndefined        BlockState = 1 // content undefined, never the parent's
	PayloadZero             BlockState = 2 // zeros
	PayloadUnmapped         BlockState = 3 // was trimmed; may keep its space in the file
	PayloadFullyPresent     BlockState = 6 // content in the file
	PayloadPartiallyPresent BlockState = 7 // per sector, by the sector bitmap: in the file or the parent's
)

// draftUnmapped is UNMAPPED in draft 0.95 of the format.
const draftUnmapped BlockState = 5

// States of sector bitmap blocks (MS-VHDX 2.5.1.2).
const (
	BitmapNotPresent BlockState = 0
	BitmapPresent    BlockState = 6
)

// String returns the name that MS-VHDX gives the state of a payload block.
func (s BlockState) String() string {
	switch s {
	case PayloadNotPresent:
		return "NOT_PRESENT"
	case PayloadUndefined:
		return "UNDEFINED"
	case PayloadZero:
		return "ZERO"
	case PayloadUnmapped:
		return "UNMAPPED"
	case PayloadFullyPresent:
		return "FULLY_PRESENT"
	case PayloadPartiallyPresent:
		return "PARTIALLY_PRESENT"
	}
	return fmt.Sprintf("reserved state %d", uint8(s))
}

// inFile reports whether the state means that the block has content in the file.
func (s BlockState) inFile() bool {
	return s == PayloadFullyPresent || s == PayloadPartiallyPresent
}

// BATEntry is one entry of the block allocation table: three bits of state,
// 17 reserved, 44 of file offset in MiB.
type BATEntry uint64

// NewBATEntry returns the entry for state s at fileOffset, in bytes, of which
// whole MiB are kept.
func NewBATEntry(s BlockState, fileOffset int64) BATEntry {
	return BATEntry(uint64(s)&7 | uint64(fileOffset)&^(mib-1))
}

// State returns the state of the block. State 5 of old drafts is PayloadUnmapped; the entry keeps
// it until the block is written to.
func (e BATEntry) State() BlockState {
	if s := BlockState(e & 7); s != draftUnmapped {
		return s
	}
	return PayloadUnmapped
}

// FileOffset returns the place of the block in bytes from the start of the
// file. It is negative for offsets that no file can have.
func (e BATEntry) FileOffset() int64 { return int64(e &^ (mib - 1)) }

// reserved returns the bits that must be zero.
func (e BATEntry) reserved() uint64 { return uint64(e) & (mib - 1) &^ 7 }

// sectorsPerChunk is how many sectors one sector bitmap block describes.
const sectorsPerChunk = 1 << 23

// Geometry is what the places of a disk's blocks are computed from
// (MS-VHDX 2.4, 2.5).
type Geometry struct {
	BlockSize         uint32 // bytes per payload block
	LogicalSectorSize uint32 // bytes, 512 or 4096
	VirtualDiskSize   int64  // bytes
	Differencing      bool   // has a parent, and sector bitmaps
}

// ChunkRatio returns how many payload blocks one sector bitmap block covers.
func (g Geometry) ChunkRatio() int64 {
	return sectorsPerChunk * int64(g.LogicalSectorSize) / int64(g.BlockSize)
}

// Blocks returns the number of payload blocks.
func (g Geometry) Blocks() int64 {
	return (g.VirtualDiskSize + int64(g.BlockSize) - 1) / int64(g.BlockSize)
}

// Chunks returns the number of chunks, the last one perhaps not full.
func (g Geometry) Chunks() int64 {
	cr := g.ChunkRatio()
	return (g.Blocks() + cr - 1) / cr
}

// BATEntries returns the number of entries of the table. A differencing disk
// has the bitmap entry of every chunk, others end with the last payload block.
func (g Geometry) BATEntries() int64 {
	if g.Differencing {
		return g.Chunks() * (g.ChunkRatio() + 1)
	}
	n := g.Blocks()
	return n + (n-1)/g.ChunkRatio()
}

// PayloadIndex returns the place in the BAT of a payload block.
func (g Geometry) PayloadIndex(block int64) int64 { return block + block/g.ChunkRatio() }

// BitmapIndex returns the place in the BAT of a chunk's sector bitmap block.
func (g Geometry) BitmapIndex(chunk int64) int64 {
	cr := g.ChunkRatio()
	return chunk*(cr+1) + cr
}

// validate checks the limits of MS-VHDX 2.6.2.
func (g Geometry) validate() error {
	const s = "metadata"
	if g.LogicalSectorSize != 512 && g.LogicalSectorSize != 4096 {
		return corrupt(s, 0, "logical sector size %d is neither 512 nor 4096", g.LogicalSectorSize)
	}
	if b := g.BlockSize; b < mib || b > 256*mib || b&(b-1) != 0 {
		return corrupt(s, 0, "block size %d is not a power of two from 1 MiB to 256 MiB", b)
	}
	if n := g.VirtualDiskSize; n <= 0 || n > 64*tib || n%int64(g.LogicalSectorSize) != 0 {
		return corrupt(s, 0, "virtual disk size %d is not a multiple of the sector size up to 64 TiB", n)
	}
	return nil
}

// blockLen returns how many bytes of a block belong to the disk: less than
// BlockSize for the last block of most disks.
func (g Geometry) blockLen(block int64) int64 {
	return min(int64(g.BlockSize), g.VirtualDiskSize-block*int64(g.BlockSize))
}
