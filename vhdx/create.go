package vhdx

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"troy/internal/block"
	"troy/internal/guid"
)

// Kind is the kind of a virtual hard disk.
type Kind uint8

// Kinds of disks.
const (
	Dynamic      Kind = iota // blocks get space in the file when they are written
	Fixed                    // every block has space from the start
	Differencing             // shows a parent where it was not written
)

// String returns the name of the kind in lower case.
func (k Kind) String() string {
	switch k {
	case Dynamic:
		return "dynamic"
	case Fixed:
		return "fixed"
	case Differencing:
		return "differencing"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Kind returns what kind of disk the metadata describe.
func (m *Metadata) Kind() Kind {
	switch {
	case m.HasParent:
		return Differencing
	case m.LeaveBlockAllocated:
		return Fixed
	}
	return Dynamic
}

// CreateOptions describes a new disk. Zero values mean what Windows does.
type CreateOptions struct {
	Size               int64 // bytes of the virtual disk, at most 64 TiB; 0: the parent's
	Kind               Kind
	BlockSize          uint32         // bytes, a power of two from 1 MiB to 256 MiB; 0: 32 MiB, for Fixed and Differencing 2 MiB
	LogicalSectorSize  uint32         // bytes, 512 or 4096; 0: 512, or the parent's, which it must equal
	PhysicalSectorSize uint32         // bytes, 512 or 4096; 0: 4096, or the parent's
	LogLength          uint32         // bytes, a multiple of 1 MiB; 0: 1 MiB
	Parent             *File          // of a Differencing disk; stays the caller's
	ParentPath         string         // relative_path of the parent locator; "/" is written as `\`; "": `.\` and the name that Parent was opened by
	ParentAbsolutePath string         // absolute_win32_path of the locator; "": none
	VirtualDiskID      GUID           // zero: the parent's, or a new one
	Items              []MetadataItem // further metadata; a child also gets its parent's that describe the disk
	Creator            string         // program name in the file identifier, at most 256 UTF-16 units; "": Troy
	Overwrite          bool           // Create may replace a file
}

// creation is a new disk while it is laid out.
type creation struct {
	o      *CreateOptions
	meta   Metadata
	geo    Geometry
	log    Region
	table  RegionTable
	id     []byte // the file identifier
	region []byte // content of the metadata region
	tables []byte // each copy of the region table
	first  int64  // place of the first block
	size   int64  // bytes of the file
}

const (
	defaultDynamicBlock = 32 * mib
	defaultBlock        = 2 * mib
	defaultCreator      = "Troy"
)

// Create makes a new disk at path and opens it for writing. The file appears
// when it is complete. Errors: fs.ErrExist unless o.Overwrite; ErrCorrupt or
// ErrUnsupported for values that the format cannot hold; ErrChainMismatch for
// a parent that does not fit; those of package os.
func Create(path string, o *CreateOptions) (*File, error) {
	c, err := newCreation(o)
	if err != nil {
		return nil, pathError(path, err)
	}
	if err := makeFile(path, c.o.Overwrite, func(f *os.File) error { return c.write(f) }); err != nil {
		return nil, err
	}
	return Open(path, &OpenOptions{Writable: true})
}

// CreateStorage makes a new disk in s, over whatever it holds, and opens it for
// writing. If s has no Truncate it must be large enough, and the space of the
// blocks is zeroed by writing. The headers are written last: what is cut off
// before is no VHDX. Errors: those of Create.
func CreateStorage(s Storage, o *CreateOptions) (*File, error) {
	c, err := newCreation(o)
	if err != nil {
		return nil, err
	}
	if err := c.write(s); err != nil {
		return nil, err
	}
	return OpenStorage(s, c.size, &OpenOptions{Writable: true})
}

// newCreation checks the options and lays the file out.
func newCreation(o *CreateOptions) (*creation, error) {
	if o == nil {
		o = &CreateOptions{}
	}
	c := &creation{o: o}
	if err := c.fillMetadata(); err != nil {
		return nil, err
	}
	var err error
	if c.region, err = c.meta.Marshal(); err != nil {
		return nil, err
	}
	if o.LogLength%mib != 0 || o.LogLength > maxLogLength {
		return nil, unsupported("log", 0, "a log of %d bytes: it must be a multiple of 1 MiB up to 1 GiB", o.LogLength)
	}
	creator := o.Creator
	if creator == "" {
		creator = defaultCreator
	}
	if c.id, err = MarshalFileIdentifier(creator); err != nil {
		return nil, err
	}
	c.geo = c.meta.Geometry()
	c.layOut()
	c.tables, err = c.table.Marshal()
	return c, err
}

// layOut places log, metadata, BAT and blocks, in Windows' order.
func (c *creation) layOut() {
	c.log = Region{Offset: headerSection, Length: max(int64(c.o.LogLength), mib)}
	m := Region{ID: RegionMetadata, Required: true, Offset: c.log.Offset + c.log.Length, Length: block.RoundUp(int64(len(c.region)), mib)}
	b := Region{ID: RegionBAT, Required: true, Offset: m.Offset + m.Length, Length: block.RoundUp(c.geo.BATEntries()*8, mib)}
	c.table = RegionTable{b, m}
	c.first = b.Offset + b.Length
	c.size = c.first
	if c.o.Kind == Fixed {
		c.size += c.geo.Blocks() * int64(c.geo.BlockSize)
	}
}

// fillMetadata applies the defaults.
func (c *creation) fillMetadata() error {
	o, m := c.o, &c.meta
	*m = Metadata{
		BlockSize:           o.BlockSize,
		LeaveBlockAllocated: o.Kind == Fixed,
		VirtualDiskSize:     o.Size,
		VirtualDiskID:       o.VirtualDiskID,
		LogicalSectorSize:   o.LogicalSectorSize,
		PhysicalSectorSize:  o.PhysicalSectorSize,
		Items:               o.Items,
	}
	if o.Kind > Differencing {
		return unsupported("metadata", 0, "disk %v", o.Kind)
	}
	if (o.Kind == Differencing) != (o.Parent != nil) {
		return fmt.Errorf("%w: a differencing disk needs a parent, and no other kind can have one", ErrChainMismatch)
	}
	if o.Parent != nil {
		if err := c.inherit(); err != nil {
			return err
		}
	}
	if m.BlockSize == 0 && o.Kind == Dynamic {
		m.BlockSize = defaultDynamicBlock
	} else if m.BlockSize == 0 {
		m.BlockSize = defaultBlock
	}
	if m.LogicalSectorSize == 0 {
		m.LogicalSectorSize = 512
	}
	if m.PhysicalSectorSize == 0 {
		m.PhysicalSectorSize = 4096
	}
	if m.VirtualDiskID.IsZero() {
		m.VirtualDiskID = guid.New()
	}
	return nil
}

// inherit takes over what describes the disk rather than the file.
func (c *creation) inherit() error {
	m, p := &c.meta, c.o.Parent.Metadata()
	if m.LogicalSectorSize != 0 && m.LogicalSectorSize != p.LogicalSectorSize {
		return fmt.Errorf("%w: logical sectors of %d bytes over a parent with %d", ErrChainMismatch, m.LogicalSectorSize, p.LogicalSectorSize)
	}
	m.HasParent, m.LogicalSectorSize = true, p.LogicalSectorSize
	if m.VirtualDiskSize == 0 {
		m.VirtualDiskSize = p.VirtualDiskSize
	}
	if m.PhysicalSectorSize == 0 {
		m.PhysicalSectorSize = p.PhysicalSectorSize
	}
	if m.VirtualDiskID.IsZero() {
		m.VirtualDiskID = p.VirtualDiskID
	}
	path := c.o.ParentPath
	if path == "" && c.o.Parent.path != "" {
		path = `.\` + filepath.Base(c.o.Parent.path)
	}
	m.ParentLocator = parentLocator(c.o.Parent.Header().DataWriteGUID, path, c.o.ParentAbsolutePath)
	items, err := diskItems(c.o.Parent)
	m.Items = append(append([]MetadataItem(nil), m.Items...), items...)
	return err
}

// parentLocator has the keys in Windows' order, with room for the second
// linkage that a merge will need, so that it is changed in place.
func parentLocator(linkage GUID, relative, absolute string) *ParentLocator {
	l := &ParentLocator{}
	l.Set(KeyParentLinkage, bracedGUID(linkage))
	l.Set(KeyAbsoluteWin32Path, absolute)
	l.Set(KeyRelativePath, strings.ReplaceAll(relative, "/", `\`))
	l.Set(KeyParentLinkage2, bracedGUID(GUID{}))
	return l
}

// diskItems loads the further items of f that describe the disk.
func diskItems(f *File) ([]MetadataItem, error) {
	var items []MetadataItem
	total := int64(0)
	for _, it := range f.Metadata().Items {
		if !it.IsVirtualDisk {
			continue
		}
		if total += it.Length; total > maxMetadataRegion/2 {
			return nil, unsupported("metadata", 0, "more than %d bytes of further items", maxMetadataRegion/2)
		}
		var err error
		if it.Data, err = f.MetadataItem(it); err != nil {
			return nil, err
		}
		items = append(items, it)
	}
	return items, nil
}

// write puts the disk into s.
func (c *creation) write(s Storage) error {
	if err := c.clear(s); err != nil {
		return err
	}
	if c.o.Kind == Fixed {
		if err := c.writeFixedBAT(s); err != nil {
			return err
		}
	}
	for _, x := range []struct {
		off int64
		b   []byte
	}{{c.table[1].Offset, c.region}, {RegionTable1Offset, c.tables}, {RegionTable2Offset, c.tables}, {0, c.id}} {
		if _, err := s.WriteAt(x.b, x.off); err != nil {
			return err
		}
	}
	return c.writeHeaders(s)
}

// clear makes the file its size and all of it zero.
func (c *creation) clear(s Storage) error {
	if t, ok := s.(truncater); ok {
		if err := t.Truncate(0); err != nil {
			return err
		}
		return t.Truncate(c.size)
	}
	// The headers go first: nothing half-made may pass for a disk.
	if err := writeZeros(s, 0, headerSection); err != nil {
		return err
	}
	if err := s.Sync(); err != nil {
		return err
	}
	return writeZeros(s, headerSection, c.size-headerSection)
}

// writeFixedBAT names every block, one behind the other.
func (c *creation) writeFixedBAT(s Storage) error {
	bw := &batWriter{w: s, off: c.table[0].Offset}
	for i := range c.geo.Blocks() {
		e := NewBATEntry(PayloadFullyPresent, c.first+i*int64(c.geo.BlockSize))
		if err := bw.put(c.geo.PayloadIndex(i), e); err != nil {
			return err
		}
	}
	return bw.flush()
}

// writeHeaders makes everything durable, then the file valid.
func (c *creation) writeHeaders(s Storage) error {
	if err := s.Sync(); err != nil {
		return err
	}
	h := Header{
		FileWriteGUID: guid.New(), DataWriteGUID: guid.New(), Version: 1,
		LogOffset: uint64(c.log.Offset), LogLength: uint32(c.log.Length),
	}
	for _, off := range headerOffsets {
		h.SequenceNumber++
		if _, err := s.WriteAt(h.Marshal(), off); err != nil {
			return err
		}
	}
	return s.Sync()
}

// batWriter writes entries of a new BAT in ascending order.
type batWriter struct {
	w     Storage
	off   int64 // of the BAT
	start int64 // index of the first entry in buf
	buf   []byte
}

// put writes the entry at index, zeros in between.
func (b *batWriter) put(index int64, e BATEntry) error {
	if len(b.buf) == 0 || index-b.start >= batWriterEntries {
		if err := b.flush(); err != nil {
			return err
		}
		b.start = index - index%batWriterEntries
	}
	if n := int(index-b.start+1) * 8; n > len(b.buf) {
		b.buf = append(b.buf, make([]byte, n-len(b.buf))...)
	}
	le.PutUint64(b.buf[(index-b.start)*8:], uint64(e))
	return nil
}

const batWriterEntries = 64 * kib / 8

func (b *batWriter) flush() error {
	if len(b.buf) == 0 {
		return nil
	}
	_, err := b.w.WriteAt(b.buf, b.off+b.start*8)
	b.buf = b.buf[:0]
	return err
}
