package vhdx

import (
	"fmt"
	"strings"

	"troy/internal/block"
)

// RelinkOptions tells what to change in a parent locator. Strings that are
// empty leave the entry as it is.
type RelinkOptions struct {
	Parent         *File  // the parent: parent_linkage becomes its DataWriteGuid; nil leaves the linkage
	Linkage2       GUID   // parent_linkage2; zero: none
	RelativePath   string // relative_path; "/" is written as `\`
	AbsolutePath   string // absolute_win32_path
	VolumePath     string // volume_path
	IgnoreMismatch bool   // accept a Parent that the child is not linked to; what the child shows may change
}

// Relink rewrites the parent locator of a differencing disk, in one step that
// is durable when it returns. Further entries of the locator are kept.
//
// The child's DataWriteGuid changes only with IgnoreMismatch: with another
// parent the disk has another content; a new path does not make a
// grandchild's link wrong. Errors: ErrChainMismatch, ErrReadOnly,
// ErrUnsupported when the metadata region has no room, write errors.
func Relink(child *File, o *RelinkOptions) error {
	old := child.Metadata().ParentLocator
	if old == nil {
		return fmt.Errorf("%w: the file is no differencing disk", ErrChainMismatch)
	}
	if o == nil {
		o = &RelinkOptions{}
	}
	l := old.Clone()
	if o.Parent != nil {
		if err := CheckLink(child, o.Parent); err != nil && !o.IgnoreMismatch {
			return err
		}
		if child.same(o.Parent) {
			return fmt.Errorf("%w: a disk cannot be its own parent", ErrChainMismatch)
		}
		if c, p := child.Geometry().LogicalSectorSize, o.Parent.Geometry().LogicalSectorSize; c != p {
			return fmt.Errorf("%w: the child has logical sectors of %d bytes, the parent of %d", ErrChainMismatch, c, p)
		}
		l.Set(KeyParentLinkage, bracedGUID(o.Parent.Header().DataWriteGUID))
	}
	setLinkage2(l, o.Linkage2)
	for _, kv := range [][2]string{{KeyRelativePath, strings.ReplaceAll(o.RelativePath, "/", `\`)}, {KeyAbsoluteWin32Path, o.AbsolutePath}, {KeyVolumePath, o.VolumePath}} {
		if kv[1] != "" {
			l.Set(kv[0], kv[1])
		}
	}
	return child.setLocator(l, o.Parent != nil && o.IgnoreMismatch)
}

// setLinkage2 stores the second linkage; without one, an entry that is there
// becomes zero, as Windows keeps it, so that nothing moves.
func setLinkage2(l *ParentLocator, g GUID) {
	if _, there := l.Get(KeyParentLinkage2); there || !g.IsZero() {
		l.Set(KeyParentLinkage2, bracedGUID(g))
	}
}

// setLocator stores a locator and closes the log, so that the file can be
// named as a parent at once.
func (f *File) setLocator(l *ParentLocator, newContent bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.writable(); err != nil {
		return err
	}
	if err := f.w.commit(); err != nil { // what is pending is not to share the entry
		return err
	}
	if newContent {
		if err := f.w.beginData(); err != nil {
			return f.w.fail(err)
		}
	}
	if err := f.w.setLocator(l); err != nil {
		return err
	}
	return f.w.finish()
}

// metadataEntry returns the place of an item's table entry in the file. No
// page of the metadata region may be dirty.
func (f *File) metadataEntry(id GUID, user bool) (off int64, it MetadataItem, err error) {
	r, _ := f.regions.Find(RegionMetadata)
	p := &metadataParser{r: f.r, off: r.Offset, length: r.Length}
	if err := p.readTable(); err != nil {
		return 0, it, err
	}
	for i, it := range p.items {
		if it.ID == id && it.IsUser == user {
			return r.Offset + int64(i+1)*metadataEntrySize, it, nil
		}
	}
	return 0, it, corrupt("metadata", r.Offset, "item %v is missing", id)
}

// setLocator changes the locator item: in place if it fits there, else behind
// all other items. Table and item change in one log entry.
func (w *writer) setLocator(l *ParentLocator) error {
	b, err := l.Marshal()
	if err != nil {
		return err
	}
	f := w.f
	entry, it, err := f.metadataEntry(itemParentLocator, false)
	if err != nil {
		return err
	}
	if len(b)/pageSize+3 > w.limit {
		return unsupported("parent locator", entry, "a locator of %d bytes", len(b))
	}
	if it.Offset, err = f.itemRoom(it, int64(len(b))); err != nil {
		return err
	}
	r, _ := f.regions.Find(RegionMetadata)
	if err := w.edit(r.Offset+it.Offset, b); err != nil {
		return err
	}
	place := le.AppendUint32(le.AppendUint32(nil, uint32(it.Offset)), uint32(len(b)))
	if err := w.edit(entry+16, place); err != nil {
		return err
	}
	m := *f.meta
	m.ParentLocator = l.Clone()
	f.meta = &m
	return nil
}

// itemRoom returns where an item of n bytes can stand: at its old place, or
// behind all others.
func (f *File) itemRoom(it MetadataItem, n int64) (int64, error) {
	r, _ := f.regions.Find(RegionMetadata)
	p := &metadataParser{r: f.r, off: r.Offset, length: r.Length}
	if err := p.readTable(); err != nil {
		return 0, err
	}
	end, fits := int64(metadataTableSize), it.Offset+n <= r.Length
	for _, o := range p.items {
		end = max(end, o.Offset+o.Length)
		if o.Length > 0 && o.Offset != it.Offset && o.Offset < it.Offset+n && it.Offset < o.Offset+o.Length {
			fits = false
		}
	}
	if fits && it.Offset > 0 {
		return it.Offset, nil
	}
	if end = block.RoundUp(end, 8); end+n > r.Length {
		return 0, unsupported("metadata", r.Offset, "the region has no room for an item of %d bytes", n)
	}
	return end, nil
}
