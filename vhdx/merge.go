package vhdx

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"troy/internal/guid"
)

// MergeOptions tells how to merge. The zero value is right.
type MergeOptions struct {
	// KeepIdentity gives the parent, when all is done, the DataWriteGuid of
	// the child. Disks that name the child then fit the parent, whose
	// content is the same: only their paths need a Relink. The child itself
	// does not fit the parent any more.
	KeepIdentity bool
	Progress     Progress // nil: none; counts bytes of the virtual disk
}

// Merge carries the content of a differencing disk into its parent, in place:
// afterwards the parent shows what the child over the parent showed, with the
// child's size and identity. Both must be open for writing; the parent may
// itself be differencing. No other code may use either meanwhile.
//
// The order is that of note 12 of MS-VHDX: the child's locator first names the
// parent's present and its future DataWriteGuid, then the parent changes. Only
// sectors that the child overrides are changed, so the child over the parent
// reads the same at every instant, also after a crash, and Merge can be run
// again. Other children of the parent do not fit it any more. The child is
// left as it is; delete it only after Merge has returned nil.
//
// Errors: ErrChainMismatch, also for a parent that is the child or has the child as its parent,
// ErrReadOnly, ErrNoSpace, ErrUnsupported for further metadata that do not fit into the parent
// together, *FormatError, I/O errors and ctx's. The first four leave both files unchanged, except
// ErrNoSpace.
func Merge(ctx context.Context, child, parent *File, o *MergeOptions) error {
	return merge(ctx, []*File{child}, parent, o)
}

// MergeChain carries all files of a chain into its last one, in one go: each
// sector is written once, from the nearest file that holds it. The last two
// files must be open for writing. Between start and end only the whole chain
// reads right. Errors: those of Merge.
func MergeChain(ctx context.Context, c *Chain, o *MergeOptions) error {
	n := len(c.files) - 1
	if n == 0 {
		return fmt.Errorf("%w: there is nothing to merge, the chain has one file", ErrChainMismatch)
	}
	return merge(ctx, c.files[:n], c.files[n], o)
}

// merger is one merge while it runs.
type merger struct {
	top    *Chain // what is merged, leaf first; without the parent
	target *File
	w      *writer
	items  []byte // new content of the metadata region, nil if nothing but size, sectors and id changes
	opts   MergeOptions
}

func merge(ctx context.Context, top []*File, target *File, o *MergeOptions) error {
	m := &merger{top: &Chain{files: top}, target: target, w: target.w}
	if o != nil {
		m.opts = *o
	}
	if err := m.check(); err != nil {
		return err
	}
	if err := m.announce(); err != nil {
		return err
	}
	target.mu.Lock()
	defer target.mu.Unlock()
	if err := m.run(ctx); err != nil {
		return err
	}
	return m.adopt()
}

// check refuses before anything is changed.
func (m *merger) check() error {
	files := append(append([]*File(nil), m.top.files...), m.target)
	if err := noCircle(files); err != nil {
		return err
	}
	for i, f := range files[:len(files)-1] {
		if err := CheckLink(f, files[i+1]); err != nil {
			return err
		}
	}
	for _, f := range files[len(files)-2:] {
		if err := f.canWrite(); err != nil {
			return err
		}
	}
	return m.planItems()
}

// nearest is the child whose locator names the target.
func (m *merger) nearest() *File { return m.top.files[len(m.top.files)-1] }

// announce lets the child know the parent under its old and its new GUID, then
// gives the parent the new one. From here on its other children are refused.
func (m *merger) announce() error {
	l := m.nearest().Metadata().ParentLocator
	next := guid.New()
	l.Set(KeyParentLinkage, bracedGUID(m.target.Header().DataWriteGUID))
	l.Set(KeyParentLinkage2, bracedGUID(next))
	if err := m.nearest().setLocator(l, false); err != nil {
		return err
	}
	m.target.mu.Lock()
	defer m.target.mu.Unlock()
	return m.w.fail(m.w.setDataWriteGUID(next))
}

// run grows the target if need be, copies, and takes over what describes the
// disk. m.target.mu is held.
func (m *merger) run(ctx context.Context) error {
	size := m.top.Size()
	if size > m.target.geo.VirtualDiskSize {
		if err := m.w.resize(size); err != nil {
			return err
		}
	}
	if err := m.copyAll(ctx, size); err != nil {
		return err
	}
	if err := m.w.commit(); err != nil {
		return err
	}
	if err := m.w.resize(size); err != nil {
		return err
	}
	return m.describe()
}

// copyAll carries out the table of child state × parent state. Payload goes
// through the copier; states and bitmaps wait for it before each commit.
func (m *merger) copyAll(ctx context.Context, size int64) error {
	cp := newCopier(m.w.s)
	defer cp.close()
	m.w.barrier = cp.wait
	defer func() { m.w.barrier = nil }()
	at := int64(0)
	for e, err := range m.top.extents(0, size, Zero) {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = m.take(e, cp)
		}
		if err != nil {
			// What was queued is finished, so that everything noted so
			// far is true and the file can be closed cleanly.
			if werr := cp.wait(); werr != nil {
				return m.w.fail(werr)
			}
			return err
		}
		if at = e.Offset + e.Length; m.opts.Progress != nil {
			m.opts.Progress.Add(e.Length)
		}
	}
	if at != size {
		return corrupt("file", 0, "extents end at %#x of %#x", at, size)
	}
	return cp.wait()
}

// take merges one extent.
func (m *merger) take(e Extent, cp *copier) error {
	bs := int64(m.target.geo.BlockSize)
	for e.Kind != Absent && e.Length > 0 {
		n := min(e.Length, bs-e.Offset%bs)
		var err error
		switch e.Kind {
		case Data:
			err = m.takeData(e, n, cp)
		case Zero:
			err = m.w.zeroInBlock(e.Offset, n, zeroStrict)
		default: // UNMAPPED, UNDEFINED: what they read as must come through
			err = m.w.zeroInBlock(e.Offset, n, zeroUnmap)
		}
		if err != nil {
			return err
		}
		e.Offset, e.Length, e.FileOffset = e.Offset+n, e.Length-n, e.FileOffset+n
	}
	return nil
}

func (m *merger) takeData(e Extent, n int64, cp *copier) error {
	pl, err := m.w.place(e.Offset, n)
	if err != nil {
		return err
	}
	if err := m.w.note(pl); err != nil {
		return err
	}
	return cp.copy(m.top.files[e.Layer].r, e.FileOffset, pl.at+pl.within, n)
}

// planItems prepares the metadata that go beyond size, sector sizes and id, if
// the child or the parent has any that describe the disk.
func (m *merger) planItems() error {
	leaf := m.top.files[0]
	mine, err := diskItems(leaf)
	if err != nil {
		return err
	}
	old, err := diskItems(m.target)
	if err != nil {
		return err
	}
	if sameItems(mine, old) {
		return nil
	}
	meta := m.target.Metadata()
	for _, it := range meta.Items {
		if it.IsVirtualDisk {
			continue
		}
		if it.Data, err = m.target.MetadataItem(it); err != nil {
			return err
		}
		mine = append(mine, it)
	}
	meta.Items = mine
	c := leaf.Metadata()
	meta.VirtualDiskSize, meta.VirtualDiskID, meta.PhysicalSectorSize = c.VirtualDiskSize, c.VirtualDiskID, c.PhysicalSectorSize
	m.items, err = meta.Marshal()
	return m.checkItems(err)
}

// checkItems reads back what describe will write: two sound files can hold items that do not go
// together, and their parent could not be opened any more. err is that of Marshal.
func (m *merger) checkItems(err error) error {
	r, _ := m.target.Regions().Find(RegionMetadata)
	if err == nil {
		_, err = ParseMetadata(bytes.NewReader(m.items), 0, int64(len(m.items)))
	}
	switch n := int64(len(m.items)); {
	case errors.Is(err, ErrUnsupported):
		return err
	case err != nil:
		return unsupported("metadata", r.Offset, "the metadata of child and parent do not fit into one file: %s", reasonOf(err))
	case n > r.Length:
		return unsupported("metadata", r.Offset, "metadata of child and parent need %d bytes, the parent's region has %d", n, r.Length)
	case int(n/pageSize)+maxOpPages > m.w.limit:
		return unsupported("metadata", r.Offset, "metadata of child and parent need %d bytes, more than the parent's log takes in one entry", n)
	}
	return nil
}

// sameItems reports whether two sets of loaded items say the same.
func sameItems(a, b []MetadataItem) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].ID != b[i].ID || a[i].flags() != b[i].flags() || !bytes.Equal(a[i].Data, b[i].Data) {
			return false
		}
	}
	return true
}

// describe gives the target the child's description of the disk (MS-VHDX
// 2.6.1.2), keeping its own file parameters and locator.
func (m *merger) describe() error {
	f, c := m.target, m.top.files[0].Metadata()
	r, _ := f.regions.Find(RegionMetadata)
	if m.items != nil {
		if err := m.w.editChanged(r.Offset, m.items); err != nil {
			return err
		}
	} else if err := m.describeInPlace(c); err != nil {
		return err
	}
	if err := m.w.commit(); err != nil {
		return err
	}
	meta, err := ParseMetadata(f.r, r.Offset, r.Length)
	if err != nil {
		return err
	}
	f.meta = meta
	return nil
}

func (m *merger) describeInPlace(c *Metadata) error {
	r, _ := m.target.regions.Find(RegionMetadata)
	for _, x := range []struct {
		id GUID
		b  []byte
	}{{itemVirtualDiskID, c.VirtualDiskID[:]}, {itemPhysicalSector, le.AppendUint32(nil, c.PhysicalSectorSize)}} {
		_, it, err := m.target.metadataEntry(x.id, false)
		if err != nil {
			return err
		}
		if err := m.w.edit(r.Offset+it.Offset, x.b); err != nil {
			return err
		}
	}
	return nil
}

// adopt closes the target's log and, if asked for, takes over the identity of
// the child's content: both files show the same now.
func (m *merger) adopt() error {
	if err := m.w.finish(); err != nil {
		return err
	}
	if !m.opts.KeepIdentity {
		return nil
	}
	return m.w.fail(m.w.setDataWriteGUID(m.top.files[0].Header().DataWriteGUID))
}
