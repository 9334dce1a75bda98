package unused

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"troy/internal/block"
)

// partition is a piece of the disk, in bytes.
type partition struct {
	number      int
	start, size int64
}

const (
	maxEntries   = 1024
	maxEntrySize = 4096
)

// partitions reads the GPT (UEFI 2.10, 5.3) or the four primary entries of the MBR. A disk with
// neither has none. Only failing reads are errors.
func partitions(disk io.ReaderAt, size, sector int64) ([]partition, string, error) {
	if size < 64*sector {
		return nil, "no partition table", nil
	}
	mbr := make([]byte, 512)
	if err := block.ReadFull(disk, mbr, 0); err != nil {
		return nil, "", fmt.Errorf("unused: reading the partition table: %w", err)
	}
	if mbr[510] != 0x55 || mbr[511] != 0xaa {
		return nil, "no partition table, all of the disk counts", nil
	}
	for i := range 4 {
		if mbr[446+16*i+4] == 0xee {
			return gpt(disk, size, sector)
		}
	}
	return primaries(mbr, size, sector), "MBR", nil
}

func primaries(mbr []byte, size, sector int64) (list []partition) {
	for i := range 4 {
		e := mbr[446+16*i:]
		p := partition{i + 1, int64(binary.LittleEndian.Uint32(e[8:])) * sector, int64(binary.LittleEndian.Uint32(e[12:])) * sector}
		switch e[4] {
		case 0x00, 0x05, 0x0f, 0x85: // unused, extended
		default:
			list = appendValid(list, p, size, sector)
		}
	}
	return list
}

// appendValid adds a partition unless it leaves the disk or overlaps another: such a table is not
// worth much.
func appendValid(list []partition, p partition, size, sector int64) []partition {
	if p.start < sector || p.size < 512 || p.start > size-p.size {
		return list
	}
	for _, q := range list {
		if p.start < q.start+q.size && q.start < p.start+p.size {
			return list
		}
	}
	return append(list, p)
}

func gpt(disk io.ReaderAt, size, sector int64) ([]partition, string, error) {
	const damaged = "GPT damaged, all of the disk counts"
	le := binary.LittleEndian
	h := make([]byte, sector)
	if err := block.ReadFull(disk, h, sector); err != nil {
		return nil, "", fmt.Errorf("unused: reading the GPT: %w", err)
	}
	n := le.Uint32(h[12:])
	if string(h[:8]) != "EFI PART" || n < 92 || int64(n) > sector {
		return nil, damaged, nil
	}
	sum := le.Uint32(h[16:])
	clear(h[16:20])
	first, count, width := le.Uint64(h[72:]), le.Uint32(h[80:]), le.Uint32(h[84:])
	if crc32.ChecksumIEEE(h[:n]) != sum || count > maxEntries || width < 128 || width > maxEntrySize || first < 2 || first > uint64(size/sector) {
		return nil, damaged, nil
	}
	b := make([]byte, count*width)
	if int64(first)*sector > size-int64(len(b)) {
		return nil, damaged, nil
	}
	if err := block.ReadFull(disk, b, int64(first)*sector); err != nil {
		return nil, "", fmt.Errorf("unused: reading the GPT: %w", err)
	}
	if crc32.ChecksumIEEE(b) != le.Uint32(h[88:]) {
		return nil, damaged, nil
	}
	var list []partition
	for i := range int(count) {
		e := b[i*int(width):]
		lo, hi := le.Uint64(e[32:]), le.Uint64(e[40:])
		if [16]byte(e) == ([16]byte{}) || lo > hi || hi >= uint64(size/sector) {
			continue
		}
		list = appendValid(list, partition{i + 1, int64(lo) * sector, int64(hi-lo+1) * sector}, size, sector)
	}
	return list, "GPT", nil
}
