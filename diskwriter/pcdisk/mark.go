package pcdisk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/ntfs"
	"troy/internal/block"
	"troy/internal/guid"
)

// diskMark says that a disk is being made and not finished: a program that finds it may start over
// without asking, for this was permitted before the first byte was written. It lies in the last
// page of the first MiB, where no partition and no table reaches.
type diskMark struct {
	Format int       `json:"format"` // 1
	Size   int64     `json:"size"`   // of the disk in bytes
	Disk   guid.GUID `json:"disk"`
	ESP    guid.GUID `json:"esp"`
	MSR    guid.GUID `json:"msr"`
	Data   guid.GUID `json:"data"`
}

const (
	markFormat = 1
	markMagic  = "TROYMARK"
	markOffset = mib - markSize
	markSize   = 4096
	markHead   = len(markMagic) + 4 + sha256.Size // magic, length of the content, its SHA-256
)

// marshal returns the page: magic, length, SHA-256 of the content, JSON.
func (m *diskMark) marshal() ([]byte, error) {
	content, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if markHead+len(content) > markSize {
		return nil, fmt.Errorf("a mark of %d bytes does not fit into its page", len(content))
	}
	sum := sha256.Sum256(content)
	b := block.Aligned(markSize)
	copy(b, markMagic)
	binary.LittleEndian.PutUint32(b[len(markMagic):], uint32(len(content)))
	copy(b[len(markMagic)+4:], sum[:])
	copy(b[markHead:], content)
	return b, nil
}

// parseMark returns nil for a page that is no mark.
func parseMark(b []byte) *diskMark {
	if len(b) < markHead || string(b[:len(markMagic)]) != markMagic {
		return nil
	}
	n := int64(binary.LittleEndian.Uint32(b[len(markMagic):]))
	if n > int64(len(b)-markHead) {
		return nil
	}
	content := b[markHead : int64(markHead)+n]
	var m diskMark
	if sha256.Sum256(content) != [sha256.Size]byte(b[len(markMagic)+4:markHead]) || json.Unmarshal(content, &m) != nil || m.Format != markFormat {
		return nil
	}
	return &m
}

// unfinishedMark returns the mark of a disk whose making was cut off, nil for any other disk: one
// without a mark, one of another size, and one that was used since, as a table with other
// GUIDs, an MBR or other files on the data volume show. The error is that of reading.
func unfinishedMark(dev *blockdev.Device) (*diskMark, error) {
	if dev.Size() < 4*mib {
		return nil, nil
	}
	first, last := block.Aligned(mib), block.Aligned(mib)
	for _, r := range []struct {
		b   []byte
		off int64
	}{{first, 0}, {last, dev.Size() - mib}} {
		if _, err := dev.ReadAt(r.b, r.off); err != nil {
			return nil, fmt.Errorf("look at %s: %w", dev.Path(), err)
		}
	}
	m := parseMark(first[markOffset:])
	if m == nil || m.Size != dev.Size() {
		return nil, nil
	}
	if table, err := dev.ReadTable(); err == nil {
		return m.ifOurs(dev, table), nil
	}
	if !onlyTable(first, last, dev.SectorSize()) {
		return nil, nil
	}
	return m, nil
}

// onlyTable tells whether the ends of a disk hold nothing but (parts of) a GPT and the mark.
func onlyTable(first, last []byte, sector int) bool {
	const entries = 16 << 10 // 128 of 128 bytes
	if !erased(first[:512]) && !onlyProtective(first[:512]) {
		return false
	}
	head, tail := 2*sector+entries, sector+entries
	return erased(first[head:markOffset]) && erased(last[:mib-tail])
}

// onlyProtective tells whether the first sector holds nothing but the one partition of the type that
// protects a GPT, or an empty table.
func onlyProtective(b []byte) bool {
	const table, entry, protective = 446, 16, 0xee
	first, rest := b[table:table+entry], b[table+entry:table+4*entry]
	none := make([]byte, table)
	return bytes.Equal(b[:table], none) && bytes.Equal(rest, none[:len(rest)]) &&
		(first[4] == protective || bytes.Equal(first, none[:entry]))
}

// ifOurs returns the mark if the table is the one that was being made and nothing was put
// on the data volume.
func (m *diskMark) ifOurs(dev *blockdev.Device, t *blockdev.Table) *diskMark {
	want := []guid.GUID{m.ESP, m.MSR, m.Data}
	if t.DiskGUID != m.Disk || len(t.Partitions) != len(want) {
		return nil
	}
	for i, e := range t.Partitions {
		if e.GUID != want[i] {
			return nil
		}
	}
	part, err := dev.Partition(t.Partitions[2])
	if err != nil {
		return nil
	}
	v, verdict := ntfs.Judge(part, part.Size())
	if verdict.Condition == ntfs.Refused || !onlyFolder(v) { // the table was written after the volume
		return nil
	}
	return m
}

// onlyFolder tells whether the root of the volume holds nothing but what mkntfs and this package
// make.
func onlyFolder(v *ntfs.Volume) bool {
	list, err := v.List(`\`)
	if err != nil {
		return false
	}
	for _, e := range list {
		if e.Reference.Record() >= firstUserRecord && e.Name != "Troy" {
			return false
		}
	}
	return true
}

// firstUserRecord is the first MFT record that is not NTFS's own.
const firstUserRecord = 24

// put writes the mark and flushes.
func (m *diskMark) put(dev *blockdev.Device) error {
	b, err := m.marshal()
	if err != nil {
		return err
	}
	if _, err := dev.WriteAt(b, markOffset); err != nil {
		return err
	}
	return dev.Sync()
}

// eraseMark ends the making of a disk: it is what its other content says, from now on. Everything
// else must be durable before.
func eraseMark(dev *blockdev.Device) error {
	if err := dev.Sync(); err != nil {
		return err
	}
	if _, err := dev.WriteAt(block.Aligned(markSize), markOffset); err != nil {
		return err
	}
	return dev.Sync()
}
