package ntfs

import (
	"encoding/binary"
	"fmt"

	"troy/internal/guid"
)

const (
	bootSize       = 512
	blockSize      = 512     // stride of the update sequence array, whatever the sector size
	maxClusterSize = 2 << 20 // Windows 10 and later
)

// bitLocker is the GUID by which a boot sector names BitLocker's metadata, at 0xa0, or at 0x1a8
// where the rest looks like FAT (BitLocker To Go).
var bitLocker = guid.Must("4967d63b-2e29-4ad8-8399-f6a339e3d001")

// IsBitLocker tells whether the first sector of a volume is one of BitLocker's: encrypted, or being
// encrypted or decrypted.
func IsBitLocker(b []byte) bool {
	at := func(off int, mark string) bool {
		return len(b) >= off+len(mark) && string(b[off:off+len(mark)]) == mark
	}
	return at(3, "-FVE-FS-") || at(0xa0, string(bitLocker[:])) || at(0x1a8, string(bitLocker[:]))
}

// Geometry is what the boot sector says. Sizes are bytes.
type Geometry struct {
	SectorSize  int
	ClusterSize int
	RecordSize  int    // of one MFT record
	IndexSize   int    // of one index block
	Clusters    int64  // clusters of the volume; valid LCNs are below it
	MFT         int64  // LCN of $MFT
	MFTMirror   int64  // LCN of $MFTMirr
	Serial      uint64 // volume serial number
}

// parseBoot decodes the first 512 bytes of a volume of size bytes. It returns
// ErrBitLocker, ErrNotNTFS, ErrTooLarge, or a FormatError when a number cannot be right.
func parseBoot(b []byte, size int64) (Geometry, error) {
	var g Geometry
	if len(b) < bootSize {
		return g, fmt.Errorf("%w: boot sector of %d bytes", ErrNotNTFS, len(b))
	}
	switch {
	case IsBitLocker(b):
		return g, ErrBitLocker
	case string(b[3:11]) != "NTFS    " || b[510] != 0x55 || b[511] != 0xaa:
		return g, ErrNotNTFS
	}
	le := binary.LittleEndian
	g.SectorSize = int(le.Uint16(b[0x0b:]))
	if !powerOfTwo(g.SectorSize, 4096) {
		return g, corrupt("boot sector", 0x0b, "sectors of %d bytes", g.SectorSize)
	}
	g.ClusterSize = g.SectorSize * clusterSectors(b[0x0d])
	if !powerOfTwo(g.ClusterSize, maxClusterSize) {
		return g, corrupt("boot sector", 0x0d, "clusters of %d bytes", g.ClusterSize)
	}
	if g.RecordSize = g.unit(b[0x40]); !powerOfTwo(g.RecordSize, 4096) {
		return g, corrupt("boot sector", 0x40, "MFT records of %d bytes", g.RecordSize)
	}
	if g.IndexSize = g.unit(b[0x44]); !powerOfTwo(g.IndexSize, maxClusterSize) {
		return g, corrupt("boot sector", 0x44, "index blocks of %d bytes", g.IndexSize)
	}
	sectors := le.Uint64(b[0x28:])
	switch have := uint64(size) / uint64(g.SectorSize); {
	case sectors == 0 || sectors > 1<<62/uint64(g.SectorSize):
		return g, corrupt("boot sector", 0x28, "%d sectors in a partition of %d bytes", sectors, size)
	case sectors > have:
		return g, fmt.Errorf("%w: %d bytes in a partition of %d", ErrTooLarge, sectors*uint64(g.SectorSize), size)
	}
	g.Clusters = int64(sectors) / int64(g.ClusterSize/g.SectorSize)
	g.MFT, g.MFTMirror = int64(le.Uint64(b[0x30:])), int64(le.Uint64(b[0x38:]))
	g.Serial = le.Uint64(b[0x48:])
	for _, lcn := range []int64{g.MFT, g.MFTMirror} {
		if lcn <= 0 || lcn >= g.Clusters {
			return g, corrupt("boot sector", 0x30, "$MFT or its mirror at cluster %d of %d", lcn, g.Clusters)
		}
	}
	return g, nil
}

// powerOfTwo reports whether n is one from 512 to high: no unit of NTFS is smaller.
func powerOfTwo(n, high int) bool { return n >= blockSize && n <= high && n&(n-1) == 0 }

// clusterSectors decodes sectors per cluster: above 0x80 it is the negative of a
// power of two.
func clusterSectors(v byte) int {
	if v <= 0x80 {
		return int(v)
	}
	if e := 256 - int(v); e <= 12 {
		return 1 << e
	}
	return 0
}

// unit decodes the size of an MFT record or index block: clusters when positive,
// the negative of a power of two of bytes otherwise.
func (g *Geometry) unit(v byte) int {
	if n := int8(v); n > 0 {
		return int(n) * g.ClusterSize
	} else if -int(n) <= 30 {
		return 1 << -int(n)
	}
	return 0
}
