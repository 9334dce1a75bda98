package pcdisk

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"troy/diskwriter/blockdev"
	"troy/internal/block"
)

// ErrOccupied is the class of refusals to make a disk out of one that holds something. Nothing was
// written.
var ErrOccupied = errors.New("the disk is not empty")

// signatures are what the first bytes of a disk without a partition table may say.
var signatures = []struct {
	at          int
	magic, name string
}{
	{3, "NTFS    ", "an NTFS volume"}, {3, "-FVE-FS-", "a volume encrypted by BitLocker"}, {3, "EXFAT   ", "an exFAT volume"},
	{82, "FAT32   ", "a FAT32 volume"}, {54, "FAT", "a FAT volume"}, {0, "vhdxfile", "a VHDX file"}, {0, "LUKS\xba\xbe", "a LUKS volume"},
	{1080, "\x53\xef", "an ext volume"}, {0, "XFSB", "an XFS volume"}, {65600, "_BHRfS_M", "a Btrfs volume"}, {512, "LABELONE", "an LVM volume"},
	{510, "\x55\xaa", "an MBR partition table"},
}

// checkEmpty returns nil when the first and the last MiB of the disk, where partition tables and
// the marks of file systems lie, hold nothing (see erased). Else the error is of class ErrOccupied
// and says what was found.
func checkEmpty(dev *blockdev.Device) error {
	if table, err := dev.ReadTable(); err == nil {
		return fmt.Errorf("%w: %s has a partition table with %d partitions", ErrOccupied, dev.Path(), len(table.Partitions))
	}
	for _, off := range []int64{0, max(0, dev.Size()-mib)} {
		b := block.Aligned(int(min(mib, dev.Size()-off)))
		if _, err := dev.ReadAt(b, off); err != nil {
			return fmt.Errorf("look at %s: %w", dev.Path(), err)
		}
		if !erased(b) {
			return fmt.Errorf("%w: %s holds %s", ErrOccupied, dev.Path(), name(b, off))
		}
	}
	return nil
}

// erased tells whether b holds nothing: each of its sectors reads as zeros, or as ones, which is what
// erased flash gives back that was never written to (SD cards, some eMMC and SSDs). A program that
// wiped a disk may have written zeros over a part of it.
func erased(b []byte) bool {
	const sector = 512
	zeros, ones := make([]byte, sector), bytes.Repeat([]byte{0xff}, sector)
	for part := range slices.Chunk(b, sector) {
		if !bytes.Equal(part, zeros[:len(part)]) && !bytes.Equal(part, ones[:len(part)]) {
			return false
		}
	}
	return true
}

// name says what data at a place of the disk is.
func name(b []byte, off int64) string {
	for _, s := range signatures {
		if off == 0 && len(b) >= s.at+len(s.magic) && string(b[s.at:s.at+len(s.magic)]) == s.magic {
			return s.name
		}
	}
	return fmt.Sprintf("data between bytes %d and %d", off, off+int64(len(b)))
}
