package vhdx

import (
	"troy/internal/block"
	"troy/internal/guid"
)

// Metadata is what the metadata region says of the disk (MS-VHDX 2.6).
type Metadata struct {
	BlockSize           uint32 // bytes per payload block
	LeaveBlockAllocated bool   // a fixed disk: blocks are never given back
	HasParent           bool   // a differencing disk
	VirtualDiskSize     int64  // bytes
	VirtualDiskID       GUID   // identity of the disk (SCSI page 83), copied to every child
	LogicalSectorSize   uint32 // bytes, 512 or 4096
	PhysicalSectorSize  uint32 // bytes, 512 or 4096
	ParentLocator       *ParentLocator
	Items               []MetadataItem // further items: user metadata and optional ones
}

// MetadataItem is an item of the metadata region beyond those that MS-VHDX
// names. Unknown optional and user items are kept as they are.
type MetadataItem struct {
	ID            GUID
	IsUser        bool
	IsVirtualDisk bool   // describes the disk, not the file: copied to children and by merge
	IsRequired    bool   // a reader that does not know ID must refuse the file
	Offset        int64  // place in the region in bytes, as parsed
	Length        int64  // bytes, as parsed
	Data          []byte // the content for Marshal; ParseMetadata leaves it nil (see File.MetadataItem)
}

// Ids of the items that MS-VHDX 2.6.2 names, and of those that Microsoft's
// programs are known to write beyond it.
var (
	itemFileParameters  = guid.Must("CAA16737-FA36-4D43-B3B6-33F0AA44E76B")
	itemVirtualDiskSize = guid.Must("2FA54224-CD1B-4876-B211-5DBED83BF4B8")
	itemVirtualDiskID   = guid.Must("BECA12AB-B2E6-4523-93EF-C309E000C746")
	itemLogicalSector   = guid.Must("8141BF1D-A96F-4709-BA47-F233A8FAAB5F")
	itemPhysicalSector  = guid.Must("CDA348C7-445D-4471-9CC9-E9885251C556")
	itemParentLocator   = guid.Must("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C")

	itemCHS        = guid.Must("DA02D7BC-3D3A-423C-AC88-2A36AB21479B")
	itemPMEMLabel  = guid.Must("10E1AE8A-4B7E-4169-A40F-CD70DE928393")
	itemIncomplete = guid.Must("71CC85F0-1B69-4E28-9558-C3BF83AE75D3")
)

const (
	metadataSignature  = "metadata"
	metadataTableSize  = 64 * kib
	metadataEntrySize  = 32
	maxMetadataEntries = 2047
	maxUserEntries     = 1024
	maxItemSize        = 1 * mib
	maxMetadataRegion  = 128 * mib

	flagUser        = 1
	flagVirtualDisk = 2
	flagRequired    = 4

	flagLeaveAllocated = 1
	flagHasParent      = 2
)

// Geometry returns the part of m that places of blocks depend on.
func (m *Metadata) Geometry() Geometry {
	return Geometry{m.BlockSize, m.LogicalSectorSize, m.VirtualDiskSize, m.HasParent}
}

// validate checks the values of m against MS-VHDX 2.6.2.
func (m *Metadata) validate() error {
	if err := m.Geometry().validate(); err != nil {
		return err
	}
	if p := m.PhysicalSectorSize; p != 512 && p != 4096 {
		return corrupt("metadata", 0, "physical sector size %d is neither 512 nor 4096", p)
	}
	if m.HasParent && m.ParentLocator == nil {
		return corrupt("metadata", 0, "a differencing disk without a parent locator")
	}
	return nil
}

// Marshal returns the whole content of the region, padded to 4 KiB: the table
// of 64 KiB, then the items at the offsets that Windows gives them (file
// parameters 0x10000, size 0x10008, sector sizes 0x10010 and 0x10014, disk id
// 0x10018, parent locator 0x10028). Further items come after, with a gap that
// leaves the locator room to grow, so that it alone can be rewritten.
// Errors: ErrCorrupt or ErrUnsupported for values that the format cannot hold.
func (m *Metadata) Marshal() ([]byte, error) {
	if err := m.validate(); err != nil {
		return nil, err
	}
	items, err := m.marshalItems()
	if err != nil {
		return nil, err
	}
	b := make([]byte, metadataTableSize)
	copy(b, metadataSignature)
	le.PutUint16(b[10:], uint16(len(items)))
	for i, it := range items {
		if gap := int(it.Offset) - len(b); gap > 0 {
			b = append(b, make([]byte, gap)...)
		}
		putMetadataEntry(b[(i+1)*metadataEntrySize:], it, len(b))
		b = append(b, it.Data...)
	}
	return block.Pad(b, pageSize), nil
}

// putMetadataEntry writes one entry of the metadata table.
func putMetadataEntry(e []byte, it MetadataItem, off int) {
	copy(e, it.ID[:])
	if len(it.Data) > 0 { // an empty item has offset 0 too
		le.PutUint32(e[16:], uint32(off))
	}
	le.PutUint32(e[20:], uint32(len(it.Data)))
	le.PutUint32(e[24:], it.flags())
}

func (it *MetadataItem) flags() (f uint32) {
	if it.IsUser {
		f |= flagUser
	}
	if it.IsVirtualDisk {
		f |= flagVirtualDisk
	}
	if it.IsRequired {
		f |= flagRequired
	}
	return f
}

// locatorRoom is kept free for the locator before further items.
const locatorRoom = 60 * kib

// marshalItems returns all items in file order; Offset is the least place.
func (m *Metadata) marshalItems() ([]MetadataItem, error) {
	items := []MetadataItem{
		{ID: itemFileParameters, IsRequired: true, Data: m.fileParameters()},
		{ID: itemVirtualDiskSize, IsRequired: true, IsVirtualDisk: true, Data: le.AppendUint64(nil, uint64(m.VirtualDiskSize))},
		{ID: itemLogicalSector, IsRequired: true, IsVirtualDisk: true, Data: le.AppendUint32(nil, m.LogicalSectorSize)},
		{ID: itemPhysicalSector, IsRequired: true, IsVirtualDisk: true, Data: le.AppendUint32(nil, m.PhysicalSectorSize)},
		{ID: itemVirtualDiskID, IsRequired: true, IsVirtualDisk: true, Data: m.VirtualDiskID[:]},
	}
	if m.HasParent {
		b, err := m.ParentLocator.Marshal()
		if err != nil {
			return nil, err
		}
		items = append(items, MetadataItem{ID: itemParentLocator, IsRequired: true, Data: b})
	}
	total := 0
	for i, it := range m.Items {
		it.Offset = 0 // where it was in another file does not matter
		if i == 0 {
			it.Offset = metadataTableSize + locatorRoom
		}
		total += len(it.Data)
		items = append(items, it)
	}
	if len(items) > maxMetadataEntries || total > maxMetadataRegion/2 {
		return nil, unsupported("metadata", 0, "%d items of %d bytes do not fit", len(items), total)
	}
	for _, it := range items {
		if len(it.Data) > maxItemSize {
			return nil, unsupported("metadata", 0, "item %v has %d bytes, at most 1 MiB is allowed", it.ID, len(it.Data))
		}
	}
	return items, checkItems(items, 0)
}

func (m *Metadata) fileParameters() []byte {
	var f uint32
	if m.LeaveBlockAllocated && !m.HasParent {
		f |= flagLeaveAllocated
	}
	if m.HasParent {
		f |= flagHasParent
	}
	return le.AppendUint32(le.AppendUint32(nil, m.BlockSize), f)
}
