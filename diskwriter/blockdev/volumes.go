package blockdev

import (
	"encoding/binary"
	"errors"
	"io"

	"troy/internal/block"
)

// maxLogical bounds the chain of extended boot records.
const maxLogical = 64

// Volumes returns the partitions of a disk that may hold a volume of Windows, by number: those of
// type basic data of a GPT, or the primary partitions and logical drives of an MBR that have a type
// of NTFS (only Number, Start and Size are set then; logical drives count from 5, as in Linux).
// What lies in others (dynamic disks, Storage Spaces, RAID, other systems) may begin like a volume
// and is none. Entries that leave the disk are not returned. The error is ErrNoTable, or that of
// reading.
func Volumes(r io.ReaderAt, size int64, sectorSize int) ([]Entry, error) {
	t, err := ReadTable(r, size, sectorSize)
	if err == nil {
		return t.ByType(TypeBasicData), nil
	}
	if errors.Is(checkProtectiveMBR(r), ErrNoTable) {
		if list, used, merr := masterBootRecord(r, size, int64(sectorSize)); merr != nil || used {
			return list, merr
		}
	}
	return nil, err
}

// bootRecord is a sector with four entries of partitions.
type bootRecord [512]byte

func readBootRecord(r io.ReaderAt, off int64) (*bootRecord, error) {
	var b bootRecord
	if err := block.ReadFull(r, b[:], off); err != nil {
		return nil, err
	}
	if b[510] != 0x55 || b[511] != 0xaa {
		return nil, nil
	}
	return &b, nil
}

// entry gives one of the four: its type, and first sector and count as they are written.
func (b *bootRecord) entry(i int) (typ byte, first, count int64) {
	e := b[446+16*i:]
	return e[4], int64(binary.LittleEndian.Uint32(e[8:])), int64(binary.LittleEndian.Uint32(e[12:]))
}

// plain tells whether a partition of that type may hold a volume of NTFS by itself: IFS, hidden
// IFS, and the recovery environment.
func plain(typ byte) bool { return typ == 0x07 || typ == 0x17 || typ == 0x27 }

func extended(typ byte) bool { return typ == 0x05 || typ == 0x0f || typ == 0x85 }

// masterBootRecord returns the volumes, and whether the table has a partition at all.
func masterBootRecord(r io.ReaderAt, size, sector int64) (list []Entry, used bool, err error) {
	b, err := readBootRecord(r, 0)
	if b == nil || err != nil {
		return nil, false, err
	}
	for i := range 4 {
		typ, first, count := b.entry(i)
		here := appendInside(nil, Entry{Number: i + 1, Start: first * sector, Size: count * sector}, size)
		used = used || typ != 0 && len(here) > 0
		switch {
		case extended(typ):
			logical, err := logicalDrives(r, size, sector, first)
			if err != nil {
				return nil, false, err
			}
			list = append(list, logical...)
		case plain(typ):
			list = append(list, here...)
		}
	}
	return list, used, nil
}

// logicalDrives follows the chain of extended boot records: each describes a drive, relative to
// itself, and the next record, relative to the extended partition.
func logicalDrives(r io.ReaderAt, size, sector, base int64) (list []Entry, err error) {
	for at, n := base, 0; n < maxLogical && at > 0 && at < size/sector; n++ {
		b, err := readBootRecord(r, at*sector)
		if b == nil || err != nil {
			return list, err
		}
		typ, first, count := b.entry(0)
		if plain(typ) {
			list = appendInside(list, Entry{Number: 5 + n, Start: (at + first) * sector, Size: count * sector}, size)
		}
		typ, next, _ := b.entry(1)
		if !extended(typ) || next == 0 {
			break
		}
		at = base + next
	}
	return list, nil
}

func appendInside(list []Entry, e Entry, size int64) []Entry {
	if e.Start <= 0 || e.Size <= 0 || e.Start > size-e.Size {
		return list
	}
	return append(list, e)
}
