package machine

import (
	"slices"

	"troy/internal/guid"
	"troy/vhdx"
)

// slotWriter changes the structures of one slot that no chain names.
type slotWriter struct {
	index int
	f     File
	name  string
	l     *layout
	base  *Base
}

func (m *Machine) newSlotWriter(i int) (*slotWriter, error) {
	meta := m.base.meta
	l, err := slotLayout(meta.VirtualDiskSize, meta.LogicalSectorSize, m.slotFile(i).Size)
	if err != nil {
		return nil, err
	}
	return &slotWriter{index: i, f: m.slotFile(i), name: m.slots[i].name, l: l, base: &Base{VirtualSize: meta.VirtualDiskSize,
		LogicalSectorSize: meta.LogicalSectorSize, PhysicalSectorSize: meta.PhysicalSectorSize, DiskID: meta.VirtualDiskID}}, nil
}

// poison gives the slot a new DataWriteGuid, which it returns, and a locator that names no file, in
// this order: a child that named the old GUID finds nothing from then on, and a slot that names no
// file is never taken for a finished one.
func (s *slotWriter) poison() (guid.GUID, error) {
	id := guid.New()
	h, current := s.readHeader()
	if h == nil {
		err := formatSlot(s.f, s.base)
		if err != nil {
			return id, err
		}
		if h, current, err = vhdx.ReadHeaders(s.f); err != nil {
			return id, err
		}
	}
	h.DataWriteGUID, h.LogGUID = id, guid.GUID{}
	if err := writeBothHeaders(s.f, h, current); err != nil {
		return id, err
	}
	return id, s.writeLocator(guid.GUID{}, BaseName)
}

// readHeader returns nil for a slot that has to be formatted: damaged, unreadable, or not as it is
// made here.
func (s *slotWriter) readHeader() (*vhdx.Header, int) {
	d := readDisk(s.name, s.f)
	if d.v == nil || d.meta.BlockSize != SlotBlockSize || s.l.matches(&d.header, d.v.Regions()) != nil || d.v.LogPending() {
		return nil, 0
	}
	h, current, err := vhdx.ReadHeaders(s.f)
	if err != nil {
		return nil, 0
	}
	return h, current
}

// writeLocator rewrites the metadata of the slot so that it names a parent.
func (s *slotWriter) writeLocator(linkage guid.GUID, parent string) error {
	content, err := s.base.childMetadata(s.l, linkage, parent).Marshal()
	if err != nil {
		return err
	}
	if err := writeChanged(s.f, content, s.l.metadata.off); err != nil {
		return err
	}
	return s.f.Sync()
}

// poisonUnused poisons every slot that looks finished but has no use: merged, or rolled back. It
// drops their labels first.
func (m *Machine) poisonUnused(op Op) error {
	drop := func() error {
		if !slices.ContainsFunc(m.rec.Layers, func(l Label) bool { return !m.byGUIDInChain(l.GUID) }) {
			return nil
		}
		return m.saveRecord(func(r *machineRecord) { r.keepLayers(m.byGUIDInChain) })
	}
	if err := m.step(op, "drop the labels of unused slots", drop); err != nil {
		return err
	}
	for i, d := range m.slots {
		if d.v == nil || m.inChain(d) {
			continue
		}
		if err := m.step(op, "poison "+d.name, func() error { return m.poisonSlot(i) }); err != nil {
			return err
		}
	}
	return m.step(op, "reload the machine", m.load)
}

func (m *Machine) poisonSlot(i int) error {
	s, err := m.newSlotWriter(i)
	if err != nil {
		return err
	}
	_, err = s.poison()
	return err
}
