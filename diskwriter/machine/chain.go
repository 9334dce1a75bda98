package machine

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"troy/internal/guid"
	"troy/vhdx"
)

// diskFile is one VHDX as it was when it was read. v is nil for a file that cannot be used; why says
// so.
type diskFile struct {
	File
	name    string
	v       *vhdx.File
	header  vhdx.Header
	meta    *vhdx.Metadata
	linkage guid.GUID
	why     error
	unread  bool // why is an error of the disk, not of the content
}

func (d *diskFile) guid() guid.GUID { return d.header.DataWriteGUID }

// readFiles looks at each file by itself.
func (m *Machine) readFiles() {
	m.base, m.boot = readDisk(BaseName, m.files.Base), readDisk(BootName, m.files.Boot)
	for i := range m.slots {
		m.readSlot(i)
	}
}

func (m *Machine) readSlot(i int) {
	m.slots[i] = readDisk([...]string{LayerAName, LayerBName}[i], m.slotFile(i))
	m.slots[i].judgeParent(m.base)
}

func (m *Machine) slotFile(i int) File {
	if i == 0 {
		return m.files.LayerA
	}
	return m.files.LayerB
}

// checkEnds refuses a base or a boot child that cannot be used at all.
func (m *Machine) checkEnds() error {
	if err := m.base.checkBase(); err != nil {
		return err
	}
	if err := m.boot.checkBoot(); err != nil {
		return err
	}
	return m.boot.agrees(m.base)
}

func (d *diskFile) checkBase() error {
	switch {
	case d.v == nil:
		return d.unusable()
	case d.meta.HasParent:
		return fmt.Errorf("%w: %s is itself a differencing disk", ErrChain, d.name)
	case d.meta.VirtualDiskSize%pageSize != 0:
		return fmt.Errorf("%w: a virtual disk of %d bytes is not whole 4 KiB pages", ErrChain, d.meta.VirtualDiskSize)
	}
	return nil
}

func (d *diskFile) checkBoot() error {
	if d.v == nil {
		return d.unusable()
	}
	if !d.meta.HasParent {
		return fmt.Errorf("%w: %s is no differencing disk", ErrChain, d.name)
	}
	return nil
}

// unusable tells bad content from a bad disk.
func (d *diskFile) unusable() error {
	if d.unread {
		return fmt.Errorf("%s: %w", d.name, d.why)
	}
	return fmt.Errorf("%w: %s: %w", ErrChain, d.name, d.why)
}

// readDisk parses a file, its log replayed in memory. Whatever is wrong with it is in d.why; a file
// that cannot be read is tried once more.
func readDisk(name string, f File) *diskFile {
	d := &diskFile{File: f, name: name}
	v, err := vhdx.NewFile(f, f.Size)
	if err != nil && !isFormat(err) {
		v, err = vhdx.NewFile(f, f.Size)
	}
	if err != nil {
		d.why, d.unread = err, !isFormat(err)
		return d
	}
	d.header, d.meta = v.Header(), v.Metadata()
	if d.meta.HasParent {
		if d.linkage, d.why = d.meta.ParentLocator.Linkage(); d.why != nil {
			return d
		}
	}
	d.v = v
	return d
}

// isFormat tells bad content from a bad disk.
func isFormat(err error) bool {
	return errors.Is(err, vhdx.ErrCorrupt) || errors.Is(err, vhdx.ErrUnsupported) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// judgeParent takes a slot out of consideration that Windows could not open as a parent, or that is
// poisoned.
func (d *diskFile) judgeParent(base *diskFile) {
	switch {
	case d.v == nil:
		return
	case base.v == nil:
		d.why = errors.New("the parent cannot be used")
	case !d.meta.HasParent || d.linkage.IsZero():
		d.why = errors.New("poisoned")
	case !d.header.LogGUID.IsZero():
		d.why = errors.New("its log is not empty")
	default:
		d.why = d.agrees(base)
	}
	if d.why != nil {
		d.v = nil
	}
}

func (d *diskFile) agrees(base *diskFile) error {
	a, b := d.meta, base.meta
	if a.VirtualDiskSize != b.VirtualDiskSize || a.LogicalSectorSize != b.LogicalSectorSize {
		return fmt.Errorf("%w: %s is a disk of %d bytes in sectors of %d, %s of %d in %d", ErrChain,
			d.name, a.VirtualDiskSize, a.LogicalSectorSize, base.name, b.VirtualDiskSize, b.LogicalSectorSize)
	}
	return nil
}

// resolve follows the linkage GUIDs from the boot child to base. Paths are only used to say what is
// wrong.
func (m *Machine) resolve() ([]*diskFile, error) {
	chain, err := m.walk()
	if err != nil {
		return nil, err
	}
	return chain, m.checkBase()
}

func (m *Machine) walk() ([]*diskFile, error) {
	var chain []*diskFile
	for d := m.boot; ; {
		parent := m.byGUID(d.linkage)
		if parent == nil || slices.Contains(chain, parent) {
			return nil, m.unresolved(d)
		}
		chain = append(chain, parent)
		if parent == m.base {
			return chain, nil
		}
		d = parent
	}
}

func (m *Machine) byGUID(id guid.GUID) *diskFile {
	for _, d := range []*diskFile{m.slots[0], m.slots[1], m.base} {
		if d.v != nil && d.guid() == id && !id.IsZero() {
			return d
		}
	}
	return nil
}

// checkBase refuses a parent that another program is in the middle of writing to.
func (m *Machine) checkBase() error {
	if !m.base.header.LogGUID.IsZero() {
		return fmt.Errorf("%w: the log of %s is not empty: it was opened read-write elsewhere; nothing was written", ErrParentChanged, BaseName)
	}
	return nil
}

// unresolved explains a child whose parent is not there.
func (m *Machine) unresolved(child *diskFile) error {
	named := strings.ToLower(child.v.ParentName())
	for _, d := range []*diskFile{m.base, m.slots[0], m.slots[1]} {
		switch {
		case d.name != named || child.linkage.IsZero():
		case d.v != nil:
			return &ParentChangedError{Child: child.name, Parent: d.name, Want: child.linkage, Have: d.guid()}
		default:
			return fmt.Errorf("%w: %s names %s, which is no parent: %w; nothing was written", ErrChain, child.name, d.name, d.why)
		}
	}
	return fmt.Errorf("%w: %s names a parent %s (%q) that no file is; nothing was written", ErrChain, child.name, child.linkage, named)
}

// checkMerge refuses a base that is half a merge when the slot that masks it is not above it.
func (m *Machine) checkMerge() error {
	r := m.rec.Merge
	if r == nil || r.Base != m.base.guid() || r.Done {
		return nil
	}
	for _, d := range m.chain {
		if d.guid() == r.Top.GUID {
			return nil
		}
	}
	return fmt.Errorf("%w: %s is half merged with version %d, which %s does not sit on; nothing was written", ErrChain, BaseName, r.Top.Version, BootName)
}
