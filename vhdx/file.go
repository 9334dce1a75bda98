package vhdx

import (
	"errors"
	"io"
	"os"
	"sync"

	"troy/internal/block"
	"troy/internal/errline"
)

// Storage is what a writable VHDX lives in: a file, a block device, memory.
// Sync makes everything written before durable. A Storage may also have
//
//	Truncate(size int64) error
//
// which is needed only when the file must grow; bytes gained by it read zero.
type Storage interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// OpenOptions tells how to open. The zero value opens for reading.
type OpenOptions struct {
	// Writable opens for writing: a log left behind is replayed in the file
	// and closed. Nothing else is written before the first change.
	Writable bool
}

// File is one open VHDX file. Its content is read and written through a
// Chain. All methods may be called from several goroutines, except Close.
type File struct {
	mu       sync.RWMutex // readers of the disk share it; changes of BAT, bitmaps or metadata hold it exclusively
	r        io.ReaderAt  // the file, replayed
	size     int64        // bytes of the file
	hdr      Header
	slot     int // which header copy is current
	creator  string
	regions  RegionTable
	bat      Region
	meta     *Metadata
	geo      Geometry
	fixed    []span // header section, log, regions: where no block may be
	cache    *pageCache
	replayed bool
	closed   bool
	closer   io.Closer   // what Open opened
	path     string      // from Open
	info     os.FileInfo // from Open: which file it is, whatever its paths
	w        *writer     // nil: read only
}

// span is a range of the file.
type span struct {
	off, length int64
	what        string
}

// NewFile opens a VHDX of size bytes for reading. A log that was left behind
// is replayed in memory. Errors: *FormatError, *UnsupportedError, read errors.
func NewFile(r io.ReaderAt, size int64) (*File, error) {
	f, _, err := openFile(r, size)
	return f, err
}

// OpenStorage opens a VHDX of size bytes that lives in s. With o.Writable a log
// that was left behind is replayed in s and closed first; s is not closed by
// Close. Errors: those of NewFile, and *UnsupportedError for a file that has
// no room for a log.
func OpenStorage(s Storage, size int64, o *OpenOptions) (*File, error) {
	f, view, err := openFile(s, size)
	if err != nil || o == nil || !o.Writable {
		return f, err
	}
	if f.hdr.LogLength == 0 {
		return nil, unsupported("log", headerOffsets[f.slot], "a file without log space cannot be written to")
	}
	f.w = newWriter(f, s)
	if view != nil {
		if err := f.w.replay(view); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Open opens the file at path, for reading if o is nil. Whether two programs
// write to one file is not guarded against. Errors: those of OpenStorage and
// of package os.
func Open(path string, o *OpenOptions) (*File, error) {
	flag := os.O_RDONLY
	if o != nil && o.Writable {
		flag = os.O_RDWR
	}
	h, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err
	}
	f, err := openHandle(h, o)
	if err != nil {
		h.Close()
		return nil, pathError(path, err)
	}
	f.closer, f.path = h, path
	return f, nil
}

// pathError adds the path to an error that has none.
func pathError(path string, err error) error {
	var pe *os.PathError
	var parent *ParentError
	if errors.As(err, &pe) || errors.As(err, &parent) {
		return err
	}
	return &os.PathError{Op: "open", Path: path, Err: err}
}

func openHandle(h *os.File, o *OpenOptions) (*File, error) {
	st, err := h.Stat()
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		return nil, corrupt("file identifier", 0, "it is a directory")
	}
	size, err := h.Seek(0, io.SeekEnd) // also right for block devices
	if err != nil {
		return nil, err
	}
	f, err := OpenStorage(h, size, o)
	if err != nil {
		return nil, err
	}
	f.info = st
	return f, nil
}

// openFile reads everything up to the BAT. view is non-nil when a log had to
// be replayed in memory.
func openFile(r io.ReaderAt, size int64) (f *File, view *replayView, err error) {
	f = &File{r: r, size: size}
	if f.creator, err = readFileIdentifier(r); err != nil {
		return nil, nil, err
	}
	h, slot, err := ReadHeaders(r)
	if err != nil {
		return nil, nil, err
	}
	f.hdr, f.slot = *h, slot
	if int64(h.LogOffset)+int64(h.LogLength) > size {
		return nil, nil, corrupt("header", headerOffsets[slot], "the log at %#x lies past the end of the file", h.LogOffset)
	}
	if !h.LogGUID.IsZero() {
		if view, err = openLog(r, size, h); err != nil {
			return nil, nil, err
		}
		f.r, f.size, f.replayed = view, view.size, true
	}
	f.cache = newPageCache(f.r)
	if err := f.readRegions(); err != nil {
		return nil, nil, err
	}
	if err := f.readMetadata(); err != nil {
		return nil, nil, err
	}
	return f, view, nil
}

// readRegions reads the region table and checks it against file and log.
func (f *File) readRegions() (err error) {
	if f.regions, err = readRegionTables(f.r); err != nil {
		return err
	}
	f.fixed = []span{{0, headerSection, "header section"}}
	if f.hdr.LogLength > 0 {
		f.fixed = append(f.fixed, span{int64(f.hdr.LogOffset), int64(f.hdr.LogLength), "log"})
	}
	for _, r := range f.regions {
		if r.Offset+r.Length > f.size {
			return corrupt("region table", RegionTable1Offset, "region %v at %#x, %d bytes, lies past the end of the file", r.ID, r.Offset, r.Length)
		}
		if s := f.fixedAt(r.Offset, r.Length); s != nil {
			return corrupt("region table", RegionTable1Offset, "region %v at %#x overlaps the %s", r.ID, r.Offset, s.what)
		}
		what := "region " + r.ID.String()
		switch r.ID {
		case RegionBAT:
			what, f.bat = "BAT", r
		case RegionMetadata:
			what = "metadata region"
		default:
			if r.Required {
				return unsupported("region table", RegionTable1Offset, "required region %v is unknown", r.ID)
			}
		}
		f.fixed = append(f.fixed, span{r.Offset, r.Length, what})
	}
	return nil
}

// fixedAt returns the first fixed structure that the range touches.
func (f *File) fixedAt(off, n int64) *span {
	for i := range f.fixed {
		if s := &f.fixed[i]; off < s.off+s.length && s.off < off+n {
			return s
		}
	}
	return nil
}

// readMetadata reads the metadata and checks that the BAT is large enough.
func (f *File) readMetadata() error {
	r, ok := f.regions.Find(RegionMetadata)
	if !ok {
		return corrupt("region table", RegionTable1Offset, "the metadata region is missing")
	}
	if r.Length > maxMetadataRegion {
		return unsupported("region table", RegionTable1Offset, "a metadata region of %d bytes", r.Length)
	}
	if f.bat.Length == 0 {
		return corrupt("region table", RegionTable1Offset, "the BAT region is missing")
	}
	m, err := ParseMetadata(f.r, r.Offset, r.Length)
	if err != nil {
		return err
	}
	f.meta, f.geo = m, m.Geometry()
	if need := f.geo.BATEntries() * 8; need > f.bat.Length {
		return corrupt("BAT", f.bat.Offset, "the disk needs %d bytes of BAT, the region has %d", need, f.bat.Length)
	}
	return nil
}

// Header returns the current header.
func (f *File) Header() Header {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.hdr
}

// Metadata returns a copy of what the metadata region says.
func (f *File) Metadata() *Metadata {
	f.mu.RLock()
	defer f.mu.RUnlock()
	m := *f.meta
	if m.ParentLocator != nil {
		m.ParentLocator = m.ParentLocator.Clone()
	}
	m.Items = append([]MetadataItem(nil), m.Items...)
	return &m
}

// Geometry returns what the places of the blocks are computed from.
func (f *File) Geometry() Geometry {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.geo
}

// Regions returns the region table.
func (f *File) Regions() RegionTable {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return append(RegionTable(nil), f.regions...)
}

// Path returns where Open found the file; "" for a file that was opened otherwise.
func (f *File) Path() string { return f.path }

// Creator returns the name of the program that made the file, as it says itself.
func (f *File) Creator() string { return f.creator }

// FileSize returns the bytes of the file, after replay.
func (f *File) FileSize() int64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.size
}

// LogPending reports whether the file was not closed cleanly: a log had to be
// replayed when it was opened.
func (f *File) LogPending() bool { return f.replayed }

// BATEntry returns the entry at index (see Geometry), unchecked. An index
// outside the table is a *FormatError.
func (f *File) BATEntry(index int64) (BATEntry, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return 0, ErrClosed
	}
	if index < 0 || index >= f.geo.BATEntries() {
		return 0, corrupt("BAT", f.bat.Offset, "there is no entry %d, the table has %d", index, f.geo.BATEntries())
	}
	return f.batEntry(index)
}

// batEntry reads an entry that is known to be in the table.
func (f *File) batEntry(index int64) (BATEntry, error) {
	off := f.bat.Offset + index*8
	var e BATEntry
	err := f.cache.view(off, func(b *[pageSize]byte) { e = BATEntry(le.Uint64(b[off%pageSize:])) })
	return e, err
}

// MetadataItem returns the content of one of Metadata().Items, at most 1 MiB.
func (f *File) MetadataItem(it MetadataItem) ([]byte, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return nil, ErrClosed
	}
	r, _ := f.regions.Find(RegionMetadata)
	if it.Offset < 0 || it.Length < 0 || it.Length > maxItemSize || it.Offset+it.Length > r.Length {
		return nil, corrupt("metadata", r.Offset, "item %v lies outside the region", it.ID)
	}
	b := make([]byte, it.Length)
	return b, block.ReadFull(f.r, b, r.Offset+it.Offset)
}

// Close writes what is pending, marks the log as empty and closes the file. A
// file that was only read is not touched. Further calls do nothing.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	var err error
	if f.w != nil {
		err = f.w.finish()
	}
	f.closed = true
	if f.closer != nil {
		err = errline.Join(err, f.closer.Close())
	}
	return err
}
