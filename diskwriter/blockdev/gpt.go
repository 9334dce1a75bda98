package blockdev

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"unicode/utf16"

	"troy/internal/block"
	"troy/internal/guid"
)

const (
	gptHeaderSize   = 92
	gptMaxEntries   = 1024
	gptMaxEntrySize = 4096
)

// Entry is one partition of a GPT (UEFI 2.10, table 5.6), with bytes for LBAs.
type Entry struct {
	Number     int       // 1-based, as Linux counts: sda1 is 1
	Type       guid.GUID // partition type
	GUID       guid.GUID // unique partition GUID
	Attributes uint64    // bit 63: no drive letter
	Name       string
	Start      int64 // bytes from the start of the disk
	Size       int64 // bytes
}

// Table is a checked GUID partition table.
type Table struct {
	DiskGUID   guid.GUID
	SectorSize int
	Partitions []Entry // in the order of the table
	// Warning is not empty when the two copies are not both valid and equal; it
	// says in one line what is wrong.
	Warning string
	// FromBackup: the primary copy is damaged, this is what the backup says.
	FromBackup bool
}

// ReadTable reads the disk's GUID partition table, see the function ReadTable.
func (d *Device) ReadTable() (*Table, error) { return ReadTable(d, d.size, d.logical) }

// ReadTable reads and checks the GPT of a disk of size bytes with the given logical
// sector size. The primary copy counts; if it is damaged the backup at the last LBA
// is taken and Warning says so. ErrNoTable (as TableError) is returned when there is
// no protective MBR or neither copy holds.
func ReadTable(r io.ReaderAt, size int64, sectorSize int) (*Table, error) {
	if err := checkSectorSize(sectorSize); err != nil {
		return nil, err
	}
	if err := checkProtectiveMBR(r); err != nil {
		return nil, err
	}
	last := size/int64(sectorSize) - 1
	primary, perr := readCopy(r, "primary", 1, last, sectorSize)
	backup, berr := readCopy(r, "backup", last, last, sectorSize)
	switch {
	case perr == nil && berr != nil:
		primary.Warning = berr.Error()
	case perr != nil && berr == nil:
		backup.Warning, backup.FromBackup = perr.Error(), true
		return backup, nil
	case perr != nil:
		return nil, perr
	case !sameTable(primary, backup):
		primary.Warning = "primary and backup partition tables differ"
	}
	return primary, nil
}

func sameTable(a, b *Table) bool {
	return a.DiskGUID == b.DiskGUID && slices.Equal(a.Partitions, b.Partitions)
}

// checkProtectiveMBR demands the 0xEE entry: without it firmware and Windows take
// the disk for an MBR disk, and a GPT on it is a left-over.
func checkProtectiveMBR(r io.ReaderAt) error {
	var mbr [512]byte
	if err := block.ReadFull(r, mbr[:], 0); err != nil {
		return &TableError{"protective MBR", 0, err.Error()}
	}
	if mbr[510] != 0x55 || mbr[511] != 0xaa {
		return &TableError{"protective MBR", 0, "no 55 AA signature"}
	}
	for i := range 4 {
		if mbr[446+16*i+4] == 0xee {
			return nil
		}
	}
	return &TableError{"protective MBR", 0, "no entry of type EE"}
}

// header is a GPT header (UEFI 2.10, table 5.5); addresses in LBAs.
type header struct {
	my, alternate, firstUsable, lastUsable uint64
	disk                                   guid.GUID
	entriesLBA                             uint64
	entries, entrySize, entriesCRC         uint32
}

func readCopy(r io.ReaderAt, name string, lba, last int64, sectorSize int) (*Table, error) {
	fail := func(format string, a ...any) (*Table, error) {
		return nil, &TableError{name, lba, fmt.Sprintf(format, a...)}
	}
	if last < 6 {
		return fail("disk of %d sectors is too small", last+1)
	}
	b := make([]byte, sectorSize)
	if err := block.ReadFull(r, b, lba*int64(sectorSize)); err != nil {
		return fail("%v", err)
	}
	h, reason := parseHeader(b)
	if reason == "" {
		reason = h.check(uint64(lba), uint64(last), sectorSize)
	}
	if reason != "" {
		return fail("%s", reason)
	}
	array := make([]byte, int(h.entries)*int(h.entrySize))
	if err := block.ReadFull(r, array, int64(h.entriesLBA)*int64(sectorSize)); err != nil {
		return fail("entries: %v", err)
	}
	if crc32.ChecksumIEEE(array) != h.entriesCRC {
		return fail("checksum of the entries is wrong")
	}
	parts, reason := parseEntries(array, h, sectorSize)
	if reason != "" {
		return fail("%s", reason)
	}
	return &Table{DiskGUID: h.disk, SectorSize: sectorSize, Partitions: parts}, nil
}

// parseHeader decodes one sector; reason is empty when signature, revision, size
// and checksum hold.
func parseHeader(b []byte) (h header, reason string) {
	le := binary.LittleEndian
	if !bytes.Equal(b[:8], []byte("EFI PART")) {
		return h, "no EFI PART signature"
	}
	size := le.Uint32(b[12:])
	if rev := le.Uint32(b[8:]); rev>>16 != 1 || size < gptHeaderSize || int(size) > len(b) {
		return h, fmt.Sprintf("revision %#x with a header of %d bytes is not supported", rev, size)
	}
	c := bytes.Clone(b[:size])
	clear(c[16:20])
	if crc32.ChecksumIEEE(c) != le.Uint32(b[16:]) {
		return h, "checksum of the header is wrong"
	}
	h = header{my: le.Uint64(b[24:]), alternate: le.Uint64(b[32:]),
		firstUsable: le.Uint64(b[40:]), lastUsable: le.Uint64(b[48:]), disk: guid.GUID(b[56:72]),
		entriesLBA: le.Uint64(b[72:]), entries: le.Uint32(b[80:]),
		entrySize: le.Uint32(b[84:]), entriesCRC: le.Uint32(b[88:])}
	return h, ""
}

// check returns why the header cannot be that of the copy at lba, or "".
func (h *header) check(lba, last uint64, sectorSize int) string {
	if h.my != lba {
		return fmt.Sprintf("header says it lies at LBA %d", h.my)
	}
	if h.entrySize < 128 || h.entrySize > gptMaxEntrySize || h.entrySize&(h.entrySize-1) != 0 ||
		h.entries == 0 || h.entries > gptMaxEntries {
		return fmt.Sprintf("%d entries of %d bytes are not supported", h.entries, h.entrySize)
	}
	sectors := (uint64(h.entries)*uint64(h.entrySize) + uint64(sectorSize) - 1) / uint64(sectorSize)
	if h.entriesLBA < 2 || h.entriesLBA > last || sectors > last-h.entriesLBA+1 {
		return fmt.Sprintf("entries at LBA %d are outside the disk", h.entriesLBA)
	}
	if h.firstUsable < 2 || h.lastUsable < h.firstUsable || h.lastUsable >= last {
		return fmt.Sprintf("usable LBAs %d to %d are not inside the disk", h.firstUsable, h.lastUsable)
	}
	end := h.entriesLBA + sectors
	if h.entriesLBA <= h.lastUsable && end > h.firstUsable {
		return "entries lie among the partitions"
	}
	return ""
}

// parseEntries decodes the used entries and demands that they lie inside the usable
// space and do not overlap.
func parseEntries(array []byte, h header, sectorSize int) ([]Entry, string) {
	le := binary.LittleEndian
	var parts []Entry
	for i := range int(h.entries) {
		b := array[i*int(h.entrySize):][:128]
		if guid.GUID(b[:16]).IsZero() {
			continue
		}
		first, last := le.Uint64(b[32:]), le.Uint64(b[40:])
		if first < h.firstUsable || last > h.lastUsable || last < first {
			return nil, fmt.Sprintf("partition %d has LBAs %d to %d outside the usable space", i+1, first, last)
		}
		parts = append(parts, Entry{Number: i + 1, Type: guid.GUID(b[:16]), GUID: guid.GUID(b[16:32]),
			Attributes: le.Uint64(b[48:]), Name: entryName(b[56:128]),
			Start: int64(first) * int64(sectorSize), Size: int64(last-first+1) * int64(sectorSize)})
	}
	return parts, conflict(parts)
}

func entryName(b []byte) string {
	var u []uint16
	for ; len(b) >= 2; b = b[2:] {
		c := binary.LittleEndian.Uint16(b)
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	return string(utf16.Decode(u))
}

// conflict returns which two partitions share a byte or a GUID, or "".
func conflict(parts []Entry) string {
	byGUID := map[guid.GUID]int{}
	for _, e := range parts {
		if n, ok := byGUID[e.GUID]; ok {
			return fmt.Sprintf("partitions %d and %d have the same GUID", n, e.Number)
		}
		byGUID[e.GUID] = e.Number
	}
	s := slices.Clone(parts)
	slices.SortFunc(s, func(a, b Entry) int { return cmp.Compare(a.Start, b.Start) })
	for i := 1; i < len(s); i++ {
		if s[i].Start < s[i-1].Start+s[i-1].Size {
			return fmt.Sprintf("partitions %d and %d overlap", s[i-1].Number, s[i].Number)
		}
	}
	return ""
}

// ByType returns the partitions of the given type, in the order of the table.
func (t *Table) ByType(typ guid.GUID) []Entry {
	var found []Entry
	for _, e := range t.Partitions {
		if e.Type == typ {
			found = append(found, e)
		}
	}
	return found
}

// guessSectorSize looks for a GPT header at LBA 1 of 4096- and 512-byte sectors.
func guessSectorSize(r io.ReaderAt) int {
	var sig [8]byte
	for _, s := range []int{512, 4096} {
		if block.ReadFull(r, sig[:], int64(s)) == nil && string(sig[:]) == "EFI PART" {
			return s
		}
	}
	return 512
}
