package pcdisk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/diskwriter/ntfs"
	"troy/internal/block"
	"troy/internal/format"
	"troy/internal/guid"
)

// MarkKind is the format of the mark of a disk that is being made.
var MarkKind = format.Kind{Name: "the mark of this disk", Number: 1, Oldest: 1}

// diskMark says that a disk is being made and not finished: a program that finds it may start over
// without asking, for this was permitted before the first byte was written. It lies in the last
// page of the first MiB, where no partition and no table reaches.
type diskMark struct {
	format.Head
	Size int64     `json:"size"` // of the disk in bytes
	Disk guid.GUID `json:"disk"`
	ESP  guid.GUID `json:"esp"`
	MSR  guid.GUID `json:"msr"`
	Data guid.GUID `json:"data"`
}

const (
	markMagic  = "TROYMARK"
	markOffset = mib - markSize
	markSize   = 4096
	markHead   = len(markMagic) + 4 + sha256.Size // magic, length of the content, its SHA-256
)

// marshal returns the page: magic, length, SHA-256 of the content, JSON.
func (m *diskMark) marshal() ([]byte, error) {
	c := *m
	MarkKind.Stamp(&c.Head)
	content, err := format.Marshal(&c)
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

// parseMark returns nil for a page that is no mark, or one that this program does not understand: the
// disk then holds something, and is not made into another one without a permit.
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
	if sha256.Sum256(content) != [sha256.Size]byte(b[len(markMagic)+4:markHead]) || MarkKind.Read(content, &m) != nil {
		return nil
	}
	return &m
}

// unfinishedMark returns the mark of a disk whose making was cut off, nil for any other disk: one
// without a mark, one of another size, and one that was used since, as a table with other
// GUIDs, an MBR, anything else at the ends of the disk, other files on the data volume or the disk
// record show. The error is that of reading.
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
	if !m.onlyTable(first, last, dev.SectorSize()) {
		return nil, nil
	}
	return m, nil
}

// onlyTable tells whether the ends of a disk hold nothing but the mark and (parts of) the GPT that
// was being made: a swap space, an LVM or RAID member lies in the same places.
func (m *diskMark) onlyTable(first, last []byte, sector int) bool {
	const entries = 16 << 10 // 128 of 128 bytes
	tail := mib - sector - entries
	return (erased(first[:512]) || onlyProtective(first[:512])) && erased(first[512:sector]) &&
		m.onlyHeader(first[sector:2*sector]) && m.onlyEntries(first[2*sector:2*sector+entries]) && erased(first[2*sector+entries:markOffset]) &&
		erased(last[:tail]) && m.onlyEntries(last[tail:tail+entries]) && m.onlyHeader(last[mib-sector:])
}

// onlyProtective tells whether the first sector holds nothing but the one partition of the type
// that protects a GPT, or an empty table.
func onlyProtective(b []byte) bool {
	const table, entry, protective = 446, 16, 0xee
	first, rest := b[table:table+entry], b[table+entry:table+4*entry]
	return block.IsZero(b[:table]) && block.IsZero(rest) && (first[4] == protective || block.IsZero(first))
}

// onlyHeader tells whether a sector is empty, or the header of the disk's GPT.
func (m *diskMark) onlyHeader(b []byte) bool {
	const disk, end = 56, 92
	ours := string(b[:8]) == "EFI PART" && bytes.Equal(b[disk:disk+16], m.Disk[:]) && block.IsZero(b[end:512])
	return (ours || erased(b[:512])) && erased(b[512:])
}

// onlyEntries tells whether an array holds no partition but those of the mark.
func (m *diskMark) onlyEntries(b []byte) bool {
	const entry = 128
	either := func(b []byte, id guid.GUID) bool { return block.IsZero(b[:16]) || bytes.Equal(b[:16], id[:]) }
	want := m.partitions()
	ours := block.IsZero(b[len(want)*entry : 512])
	for i, p := range want {
		e := b[i*entry:]
		ours = ours && either(e, p.Type) && either(e[16:], p.GUID)
	}
	return (ours || erased(b[:512])) && erased(b[512:])
}

// partitions are those that the table gets, without their places.
func (m *diskMark) partitions() []blockdev.Entry {
	return []blockdev.Entry{{Type: blockdev.TypeESP, GUID: m.ESP}, {Type: blockdev.TypeMSR, GUID: m.MSR}, {Type: blockdev.TypeBasicData, GUID: m.Data}}
}

// ifOurs returns the mark if the table is the one that was being made and nothing was put
// on the data volume.
func (m *diskMark) ifOurs(dev *blockdev.Device, t *blockdev.Table) *diskMark {
	want := m.partitions()
	if t.DiskGUID != m.Disk || len(t.Partitions) != len(want) {
		return nil
	}
	for i, e := range t.Partitions {
		if e.GUID != want[i].GUID || e.Type != want[i].Type {
			return nil
		}
	}
	part, err := dev.Partition(t.Partitions[2])
	if err != nil {
		return nil
	}
	v, verdict := ntfs.Judge(part, part.Size())
	if verdict.Condition == ntfs.Refused || !onlyFolder(v) || m.finished(v, part) { // the table was written after the volume
		return nil
	}
	return m
}

// finished tells whether the last act before eraseMark was done: then the disk is a machine, which
// goes on without the mark.
func (m *diskMark) finished(v *ntfs.Volume, part *blockdev.Partition) bool {
	files, err := mapFiles(v, part, []string{Journal})
	if err != nil {
		return false
	}
	f := files[Journal]
	j, err := machine.OpenJournal(machine.File{Storage: f, Size: f.Size()})
	var newer *format.NeedsError
	if err != nil {
		return errors.As(err, &newer) // a newer program has written to it since
	}
	r, err := readRecord(j)
	return errors.As(err, &newer) || err == nil && r != nil && r.Disk == m.Disk
}

// onlyFolder tells whether the volume holds nothing but what mkntfs and this package make.
func onlyFolder(v *ntfs.Volume) bool {
	return onlyNames(v, `\`, []string{"Troy"}) && onlyNames(v, strings.TrimSuffix(Folder, `\`), append(Names(), Mailbox))
}

func onlyNames(v *ntfs.Volume, folder string, names []string) bool {
	list, err := v.List(folder)
	if errors.Is(err, ntfs.ErrNotExist) {
		return true
	}
	for _, e := range list {
		if e.Reference.Record() >= firstUserRecord && !slices.Contains(names, e.Name) {
			return false
		}
	}
	return err == nil
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
