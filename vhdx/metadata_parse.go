package vhdx

import (
	"cmp"
	"io"
	"slices"

	"troy/internal/block"
)

// ParseMetadata reads the metadata region that starts at off and has length
// bytes. The Data of further items is not loaded. Errors: *FormatError,
// *UnsupportedError for an unknown required item, and read errors.
func ParseMetadata(r io.ReaderAt, off, length int64) (*Metadata, error) {
	p := &metadataParser{r: r, off: off, length: length}
	if err := p.readTable(); err != nil {
		return nil, err
	}
	m := &Metadata{}
	for i, it := range p.items {
		if err := p.take(m, it); err != nil {
			return nil, moveEntryError(err, off, i)
		}
	}
	if err := p.complete(m); err != nil {
		return nil, err
	}
	if err := m.validate(); err != nil {
		return nil, err
	}
	return m, nil
}

// moveEntryError points errors without a place at their table entry.
func moveEntryError(err error, region int64, entry int) error {
	if fe, ok := err.(*FormatError); ok && fe.Offset == 0 {
		fe.Offset = region + int64(entry+1)*metadataEntrySize
	}
	return err
}

// metadataParser holds the table of one region while it is read.
type metadataParser struct {
	r           io.ReaderAt
	off, length int64
	items       []MetadataItem
}

// readTable reads and checks the table, not the items.
func (p *metadataParser) readTable() error {
	if p.length < metadataTableSize {
		return corrupt("metadata", p.off, "region of %d bytes cannot hold the table", p.length)
	}
	b := make([]byte, metadataTableSize)
	if err := block.ReadFull(p.r, b, p.off); err == io.ErrUnexpectedEOF {
		return corrupt("metadata", p.off, "the file ends inside the table")
	} else if err != nil {
		return err
	}
	if string(b[:8]) != metadataSignature {
		return corrupt("metadata", p.off, "signature is not %q", metadataSignature)
	}
	n := int(le.Uint16(b[10:]))
	if n > maxMetadataEntries {
		return corrupt("metadata", p.off+10, "%d entries, at most %d are allowed", n, maxMetadataEntries)
	}
	for i := range n {
		e := b[(i+1)*metadataEntrySize:][:metadataEntrySize]
		it := parseMetadataEntry(e)
		if err := p.checkEntry(it, p.off+int64(i+1)*metadataEntrySize); err != nil {
			return err
		}
		p.items = append(p.items, it)
	}
	if err := checkItems(p.items, p.off); err != nil {
		return err
	}
	return p.checkOverlap()
}

func parseMetadataEntry(e []byte) MetadataItem {
	f := le.Uint32(e[24:])
	return MetadataItem{
		ID:            GUID(e[:16]),
		Offset:        int64(le.Uint32(e[16:])),
		Length:        int64(le.Uint32(e[20:])),
		IsUser:        f&flagUser != 0,
		IsVirtualDisk: f&flagVirtualDisk != 0,
		IsRequired:    f&flagRequired != 0,
	}
}

func (p *metadataParser) checkEntry(it MetadataItem, at int64) error {
	switch {
	case it.Length == 0 && it.Offset != 0:
		return corrupt("metadata", at, "item %v is empty but has offset %#x", it.ID, it.Offset)
	case it.Length == 0:
		return nil
	case it.Length > maxItemSize:
		return corrupt("metadata", at, "item %v has %d bytes, at most 1 MiB is allowed", it.ID, it.Length)
	case it.Offset < metadataTableSize || it.Offset+it.Length > p.length:
		return corrupt("metadata", at, "item %v at %#x, %d bytes, lies outside the item area", it.ID, it.Offset, it.Length)
	}
	return nil
}

// checkItems checks what concerns the entries of a table at off together.
func checkItems(items []MetadataItem, off int64) error {
	type key struct {
		id   GUID
		user bool
	}
	seen := make(map[key]bool, len(items))
	users := 0
	for i, it := range items {
		k := key{it.ID, it.IsUser}
		if seen[k] {
			return corrupt("metadata", off+int64(i+1)*metadataEntrySize, "item %v is listed twice", it.ID)
		}
		seen[k] = true
		if it.IsUser {
			users++
		}
	}
	if users > maxUserEntries {
		return corrupt("metadata", off+10, "%d user items, at most %d are allowed", users, maxUserEntries)
	}
	return nil
}

func (p *metadataParser) checkOverlap() error {
	s := slices.Clone(p.items)
	slices.SortFunc(s, func(a, b MetadataItem) int { return cmp.Compare(a.Offset, b.Offset) })
	for i := 1; i < len(s); i++ {
		if s[i-1].Length > 0 && s[i-1].Offset+s[i-1].Length > s[i].Offset {
			return corrupt("metadata", p.off, "items %v and %v overlap", s[i-1].ID, s[i].ID)
		}
	}
	return nil
}

// take stores the item in m.
func (p *metadataParser) take(m *Metadata, it MetadataItem) error {
	if it.IsUser {
		return p.takeExtra(m, it)
	}
	switch it.ID {
	case itemFileParameters:
		return p.takeFileParameters(m, it)
	case itemVirtualDiskSize:
		b, err := p.content(it, 8)
		if err == nil {
			m.VirtualDiskSize = int64(le.Uint64(b))
		}
		return err
	case itemVirtualDiskID:
		b, err := p.content(it, 16)
		if err == nil {
			m.VirtualDiskID = GUID(b)
		}
		return err
	case itemLogicalSector:
		return p.takeUint32(&m.LogicalSectorSize, it)
	case itemPhysicalSector:
		return p.takeUint32(&m.PhysicalSectorSize, it)
	case itemParentLocator:
		return p.takeLocator(m, it)
	case itemIncomplete:
		return corrupt("metadata", 0, "the file is marked as incomplete: whatever created it did not finish")
	}
	return p.takeExtra(m, it)
}

// takeExtra keeps an item that this package does not interpret.
func (p *metadataParser) takeExtra(m *Metadata, it MetadataItem) error {
	known := !it.IsUser && (it.ID == itemCHS || it.ID == itemPMEMLabel)
	if it.IsRequired && !known {
		return unsupported("metadata", p.off+it.Offset, "required item %v is unknown", it.ID)
	}
	m.Items = append(m.Items, it)
	return nil
}

func (p *metadataParser) takeFileParameters(m *Metadata, it MetadataItem) error {
	b, err := p.content(it, 8)
	if err != nil {
		return err
	}
	f := le.Uint32(b[4:])
	if f&^(flagLeaveAllocated|flagHasParent) != 0 {
		return corrupt("metadata", p.off+it.Offset+4, "file parameters have unknown flags %#x", f)
	}
	m.BlockSize = le.Uint32(b)
	m.HasParent = f&flagHasParent != 0
	m.LeaveBlockAllocated = f&flagLeaveAllocated != 0 && !m.HasParent
	return nil
}

func (p *metadataParser) takeUint32(v *uint32, it MetadataItem) error {
	b, err := p.content(it, 4)
	if err == nil {
		*v = le.Uint32(b)
	}
	return err
}

func (p *metadataParser) takeLocator(m *Metadata, it MetadataItem) error {
	b, err := p.content(it, it.Length)
	if err != nil {
		return err
	}
	m.ParentLocator, err = ParseParentLocator(b)
	return moveError(err, p.off+it.Offset)
}

// content reads an item that must have exactly want bytes.
func (p *metadataParser) content(it MetadataItem, want int64) ([]byte, error) {
	if it.Length != want {
		return nil, corrupt("metadata", 0, "item %v has %d bytes instead of %d", it.ID, it.Length, want)
	}
	b := make([]byte, want) // at most 1 MiB, by checkEntry
	if err := block.ReadFull(p.r, b, p.off+it.Offset); err == io.ErrUnexpectedEOF {
		return nil, corrupt("metadata", p.off+it.Offset, "the file ends inside item %v", it.ID)
	} else if err != nil {
		return nil, err
	}
	return b, nil
}

// complete checks that every item that MS-VHDX requires was there.
func (p *metadataParser) complete(m *Metadata) error {
	need := []struct {
		id   GUID
		name string
	}{
		{itemFileParameters, "file parameters"}, {itemVirtualDiskSize, "virtual disk size"},
		{itemVirtualDiskID, "virtual disk id"}, {itemLogicalSector, "logical sector size"},
		{itemPhysicalSector, "physical sector size"},
	}
	for _, n := range need {
		if !slices.ContainsFunc(p.items, func(it MetadataItem) bool { return it.ID == n.id && !it.IsUser }) {
			return corrupt("metadata", p.off, "the %s item is missing", n.name)
		}
	}
	if !m.HasParent {
		m.ParentLocator = nil // meaningless without the flag
	}
	return nil
}
