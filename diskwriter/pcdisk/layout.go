package pcdisk

import (
	"errors"
	"fmt"

	"troy/diskwriter/blockdev"
	"troy/internal/guid"
)

const (
	mib = 1 << 20
	// defaultESPSize is the size of the EFI system partition in bytes.
	defaultESPSize = 512 * mib
	msrSize        = 16 * mib
	// unpartitioned is what a disk takes besides ESP and data volume, in bytes: both copies of the
	// table, and the MSR.
	unpartitioned = mib + msrSize + mib
	// minVolume is what mkntfs needs at least, with some room.
	minVolume = 8 * mib
)

var (
	// ErrNoSpace is returned when the disk or the volume cannot hold what was asked.
	ErrNoSpace = errors.New("not enough space")
	// ErrUnfinished is the class of failures that leave a disk without its old content and not made
	// to the end.
	ErrUnfinished = errors.New("the disk is not finished")
	// ErrTool is the class of failures of mkntfs and ntfs-3g, and of their absence.
	ErrTool = errors.New("tool failed")
	// ErrSize is returned for sizes that are not positive multiples of 4 KiB.
	ErrSize = errors.New("size is not a positive multiple of 4 KiB")
)

// diskOptions says how to lay out a disk. The zero value gives the layout of the
// design with new random GUIDs.
type diskOptions struct {
	ESPSize int64 // bytes, rounded up to whole MiB; 0: 512 MiB
	// DataSize is that of the data volume in bytes, rounded down to whole MiB: what is behind it
	// stays free. 0: all there is.
	DataSize int64
	// Mark marks the disk as unfinished before the first byte is erased. formatDisk leaves the mark
	// there: eraseMark ends it, when the caller has done his part. A disk that carries a mark gets
	// the same GUIDs again.
	Mark bool
	// GUIDs to give; the zero GUID is replaced by a random one.
	DiskGUID, ESPGUID, MSRGUID, DataGUID guid.GUID
	// Volume is how to make the data volume; its files are made with it.
	Volume volumeOptions
}

// layout computes the three partitions in bytes.
func layout(size int64, sector int, o *diskOptions) ([]blockdev.Entry, error) {
	esp := o.ESPSize
	if esp == 0 {
		esp = defaultESPSize
	}
	// FAT32 needs 65525 clusters; they are 512 bytes up to 260 MiB, if sectors are.
	if low := int64(66 * sector * 1000); esp < low {
		return nil, fmt.Errorf("ESP of %d bytes: FAT32 with %d-byte sectors needs %d: %w", esp, sector, low, ErrNoSpace)
	}
	esp = (esp + mib - 1) / mib * mib
	end := (size - mib) / mib * mib // the backup table needs less than 1 MiB
	data := mib + esp + msrSize
	if end-data < minVolume {
		return nil, fmt.Errorf("disk of %d bytes: ESP and MSR leave %d for the data volume: %w", size, max(0, end-data), ErrNoSpace)
	}
	if limit := o.DataSize / mib * mib; o.DataSize != 0 {
		if limit < minVolume || limit > end-data {
			return nil, fmt.Errorf("data volume of %d bytes: the disk has room for one of %d to %d: %w", o.DataSize, int64(minVolume), end-data, ErrNoSpace)
		}
		end = data + limit
	}
	return []blockdev.Entry{
		{Number: 1, Type: blockdev.TypeESP, GUID: o.ESPGUID, Name: "EFI system partition", Start: mib, Size: esp},
		{Number: 2, Type: blockdev.TypeMSR, GUID: o.MSRGUID, Name: "Microsoft reserved partition", Start: mib + esp, Size: msrSize},
		{Number: 3, Type: blockdev.TypeBasicData, GUID: o.DataGUID, Name: "Basic data partition",
			Attributes: blockdev.AttrNoDriveLetter, Start: data, Size: end - data},
	}, nil
}

// fillGUIDs replaces zero GUIDs by random ones.
func (o *diskOptions) fillGUIDs() {
	for _, g := range []*guid.GUID{&o.DiskGUID, &o.ESPGUID, &o.MSRGUID, &o.DataGUID} {
		if g.IsZero() {
			*g = guid.New()
		}
	}
}
