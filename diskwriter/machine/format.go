package machine

import (
	"encoding/binary"
	"fmt"

	"troy/internal/guid"
	"troy/vhdx"
)

const creator = "troy"

// Base is what the other files have to agree with.
type Base struct {
	VirtualSize        int64 // bytes, a multiple of 4 KiB
	LogicalSectorSize  uint32
	PhysicalSectorSize uint32
	DiskID             guid.GUID // identity of the virtual disk, the same in every file of the chain
	DataWriteGUID      guid.GUID // what children name their parent by
}

// BaseOptions are for FormatBase. Zero values: sectors of 512 bytes logical and 4096 physical,
// fresh GUIDs.
type BaseOptions struct {
	VirtualSize        int64 // bytes, a multiple of 4 KiB
	LogicalSectorSize  uint32
	PhysicalSectorSize uint32
}

func (o *BaseOptions) base() (*Base, error) {
	b := &Base{VirtualSize: o.VirtualSize, LogicalSectorSize: o.LogicalSectorSize, PhysicalSectorSize: o.PhysicalSectorSize,
		DiskID: guid.New(), DataWriteGUID: guid.New()}
	if b.LogicalSectorSize == 0 {
		b.LogicalSectorSize = 512
	}
	if b.PhysicalSectorSize == 0 {
		b.PhysicalSectorSize = 4096
	}
	return b, b.check()
}

func (b *Base) check() error {
	if b.VirtualSize <= 0 || b.VirtualSize%pageSize != 0 {
		return fmt.Errorf("%w: a virtual disk of %d bytes is not whole 4 KiB pages", ErrChain, b.VirtualSize)
	}
	return nil
}

// FormatBase makes f a fixed disk with every block FULLY_PRESENT. It writes the structures and
// leaves the payload as it is: it is in one piece at the end of the file, in blocks of 2 MiB. f
// needs BaseSize(o.VirtualSize) bytes.
func FormatBase(f File, o *BaseOptions) (*Base, error) {
	b, err := o.base()
	if err != nil {
		return nil, err
	}
	return b, formatBase(f, b)
}

func formatBase(f File, b *Base) error {
	l := baseLayout(b.VirtualSize, b.LogicalSectorSize)
	if f.Size < l.size {
		return tooSmall(BaseName, f.Size, l.size)
	}
	meta := b.metadata(l)
	meta.LeaveBlockAllocated = true
	bat := l.marshalBAT(func(block int64) vhdx.BATEntry {
		return vhdx.NewBATEntry(vhdx.PayloadFullyPresent, l.payloadOffset(block))
	}, nil)
	return formatFile(f, l, meta, bat, b.DataWriteGUID)
}

// ReadBase reads what slots and boot child of an existing parent must agree with. The parent may be
// any VHDX without a parent of its own and without a log to replay.
func ReadBase(f File) (*Base, error) {
	v, err := vhdx.NewFile(f, f.Size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", BaseName, err)
	}
	defer v.Close()
	meta, h := v.Metadata(), v.Header()
	if meta.HasParent || v.LogPending() {
		return nil, fmt.Errorf("%w: %s has a parent of its own or an unfinished log", ErrChain, BaseName)
	}
	b := &Base{VirtualSize: meta.VirtualDiskSize, LogicalSectorSize: meta.LogicalSectorSize, PhysicalSectorSize: meta.PhysicalSectorSize,
		DiskID: meta.VirtualDiskID, DataWriteGUID: h.DataWriteGUID}
	return b, b.check()
}

// formatSlot makes f an empty slot that no chain can name: poisoned. f needs
// SlotSize(b.VirtualSize, payload) bytes, SlotBlockSize of payload at least.
func formatSlot(f File, b *Base) error {
	l, err := slotLayout(b.VirtualSize, b.LogicalSectorSize, f.Size)
	if err != nil {
		return err
	}
	bat := l.marshalBAT(func(int64) vhdx.BATEntry { return 0 }, nil)
	return formatFile(f, l, b.childMetadata(l, guid.GUID{}, BaseName), bat, guid.New())
}

// bootNames is what a new boot child is called, and what it names.
type bootNames struct {
	own     guid.GUID // its DataWriteGuid, by which it is known that Windows has not written
	linkage guid.GUID
	parent  string
}

// formatBootChild makes f an anchored, empty boot child. f needs BootChildSize(b.VirtualSize) bytes
// exactly: anything after the metadata region would be slack that Windows may cut off.
func formatBootChild(f File, b *Base, n bootNames) error {
	l := bootLayout(b.VirtualSize, b.LogicalSectorSize)
	if f.Size != l.size {
		return fmt.Errorf("%s has %d bytes, it needs exactly %d", BootName, f.Size, l.size)
	}
	return formatFile(f, l, b.childMetadata(l, n.linkage, n.parent), l.anchoredBAT(), n.own)
}

// FormatChildren makes the slots, the boot child and the journal for a base that exists, as when a
// machine's own parent is adopted. Image and version name what the base holds; they are durable
// before the boot child, which makes a machine of the files. Errors: ErrChain for a base that the
// journal knows as half written, or as another version: nothing was written.
func FormatChildren(f Files, b *Base, image string, version int) error {
	j, err := OpenJournal(f.Journal)
	if err != nil {
		return err
	}
	old, err := loadRecord(j)
	if err != nil {
		return err
	}
	label := Label{GUID: b.DataWriteGUID, Image: image, Version: version}
	if err := old.mayBe(label); err != nil {
		return err
	}
	if is, known := old.label(label.GUID); known {
		label.Manifest = is.Manifest
	}
	boot := bootNames{own: guid.New(), linkage: b.DataWriteGUID, parent: BaseName}
	if err := (&machineRecord{Base: label, Sessions: []guid.GUID{boot.own}}).save(j); err != nil {
		return err
	}
	for _, slot := range []File{f.LayerA, f.LayerB} {
		if err := formatSlot(slot, b); err != nil {
			return err
		}
	}
	return formatBootChild(f.Boot, b, boot)
}

func tooSmall(name string, have, need int64) error {
	return fmt.Errorf("%s has %d bytes, it needs %d", name, have, need)
}

func (b *Base) metadata(l *layout) *vhdx.Metadata {
	return &vhdx.Metadata{BlockSize: l.geo.BlockSize, VirtualDiskSize: b.VirtualSize, VirtualDiskID: b.DiskID,
		LogicalSectorSize: b.LogicalSectorSize, PhysicalSectorSize: b.PhysicalSectorSize}
}

func (b *Base) childMetadata(l *layout, linkage guid.GUID, parent string) *vhdx.Metadata {
	m := b.metadata(l)
	m.HasParent = true
	m.ParentLocator = vhdx.NewParentLocator(linkage, `.\`+parent)
	return m
}

// marshalBAT builds the pages of a BAT; bitmap may be nil when no chunk has a sector bitmap.
func (l *layout) marshalBAT(payload, bitmap func(int64) vhdx.BATEntry) []byte {
	b := make([]byte, batPages(l.geo))
	for block := range l.geo.Blocks() {
		binary.LittleEndian.PutUint64(b[l.geo.PayloadIndex(block)*8:], uint64(payload(block)))
	}
	if bitmap != nil {
		for chunk := range l.geo.Chunks() {
			binary.LittleEndian.PutUint64(b[l.geo.BitmapIndex(chunk)*8:], uint64(bitmap(chunk)))
		}
	}
	return b
}

// anchoredBAT has every block PARTIALLY_PRESENT and every bitmap present, each at its own place.
func (l *layout) anchoredBAT() []byte {
	return l.marshalBAT(func(block int64) vhdx.BATEntry {
		return vhdx.NewBATEntry(vhdx.PayloadPartiallyPresent, l.payloadOffset(block))
	}, func(chunk int64) vhdx.BATEntry {
		return vhdx.NewBATEntry(vhdx.BitmapPresent, l.bitmapOffset(chunk))
	})
}

// formatFile writes all structures, headers and file identifier last: until then the file is none,
// whatever it was before.
func formatFile(f File, l *layout, meta *vhdx.Metadata, bat []byte, dataWrite guid.GUID) error {
	content, err := meta.Marshal()
	if err != nil {
		return err
	}
	table, err := l.regions().Marshal()
	if err != nil {
		return err
	}
	id, err := vhdx.MarshalFileIdentifier(creator)
	if err != nil {
		return err
	}
	if err := writeFull(f, make([]byte, pageSize), 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	zero := make([]byte, mib)
	for off := l.bitmaps.off; off < l.bitmaps.end(); off += mib {
		if err := writeChanged(f, zero, off); err != nil {
			return fmt.Errorf("sector bitmaps: %w", err)
		}
	}
	for _, part := range []struct {
		p   []byte
		off int64
	}{{table, vhdx.RegionTable1Offset}, {table, vhdx.RegionTable2Offset}, {content, l.metadata.off}, {bat, l.bat.off}} {
		if err := writeFull(f, part.p, part.off); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := writeFirstHeaders(f, l, dataWrite); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := writeFull(f, id, 0); err != nil {
		return err
	}
	return f.Sync()
}

// writeFirstHeaders writes both headers of a new file.
func writeFirstHeaders(f File, l *layout, dataWrite guid.GUID) error {
	h := vhdx.Header{FileWriteGUID: guid.New(), DataWriteGUID: dataWrite, Version: 1,
		LogLength: uint32(l.log.length), LogOffset: uint64(l.log.off)}
	for slot := range 2 {
		h.SequenceNumber = uint64(slot) + 1
		if err := writeFull(f, h.Marshal(), headerOffset(slot)); err != nil {
			return err
		}
	}
	return nil
}

func headerOffset(slot int) int64 {
	if slot == 0 {
		return vhdx.Header1Offset
	}
	return vhdx.Header2Offset
}
