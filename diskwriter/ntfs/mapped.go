package ntfs

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"troy/internal/block"
	"troy/internal/format"
)

// PageSize is the unit of every write.
const PageSize = 4096

// Storage is the partition that the volume lies on; offsets are bytes of the volume.
type Storage interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// sectored is what a Storage may know of the disk under it.
type sectored interface {
	Start() int64            // first byte of the partition on the disk
	SectorSize() int         // logical
	PhysicalSectorSize() int // bytes
}

// Mapping is where a file lay, for the journal: enough to notice that it moved.
type Mapping struct {
	Path        string    `json:"path"`
	Serial      uint64    `json:"serial"` // of the volume
	Reference   Reference `json:"reference"`
	Size        int64     `json:"size"`
	ClusterSize int       `json:"clusterSize"`
	Runs        []Run     `json:"runs"`

	Unknown format.Unknown `json:",embed"`
}

// SameAs returns nil when both describe the same file at the same clusters, else an
// error of class ErrMoved that names the first difference.
func (m Mapping) SameAs(recorded Mapping) error {
	detail := ""
	switch {
	case m.Serial != recorded.Serial || m.ClusterSize != recorded.ClusterSize:
		detail = "another volume"
	case m.Reference != recorded.Reference:
		detail = fmt.Sprintf("MFT record %v, recorded %v", m.Reference, recorded.Reference)
	case m.Size != recorded.Size:
		detail = fmt.Sprintf("%d bytes, recorded %d", m.Size, recorded.Size)
	case !slices.Equal(m.Runs, recorded.Runs):
		detail = fmt.Sprintf("clusters differ: %d runs, recorded %d", len(m.Runs), len(recorded.Runs))
	default:
		return nil
	}
	return &FileError{Path: m.Path, Err: ErrMoved, Detail: detail}
}

// byteRange is n bytes at byte off of the volume.
type byteRange struct{ off, n int64 }

// recordExtents returns where an MFT record lies.
func (v *Volume) recordExtents(ref Reference) ([]byteRange, error) {
	b, err := v.rawRecord(ref.Record())
	if err != nil {
		return nil, err
	}
	var out []byteRange
	for _, p := range v.recordPatches(ref, b) {
		out = append(out, byteRange{p.Offset, int64(len(p.Data))})
	}
	return out, nil
}

// MappedFile reads and writes the clusters of one file straight on the partition.
// Metadata of NTFS is never written. Its methods may be called concurrently.
type MappedFile struct {
	s        Storage
	m        Mapping
	at       *stream     // clusters, without a limit at the end
	records  []byteRange // its MFT records on the volume, for $LogFile
	standard byteRange   // $STANDARD_INFORMATION inside the base record
}

// Map resolves the file at path to its clusters on s, the partition that the volume
// was opened on. Everything that makes direct writes unsafe is refused here, before
// the first write, as FileError: see the sentinels.
func (v *Volume) Map(s Storage, path string) (*MappedFile, error) {
	c, err := v.solid(path)
	if err != nil {
		return nil, err
	}
	n, d := c.n, c.d
	if d.size%PageSize != 0 || d.size == 0 {
		return nil, &FileError{Path: path, Err: ErrPartialPage, Detail: fmt.Sprintf("%d bytes", d.size)}
	}
	if err := v.checkAlignment(s, c.runs); err != nil {
		err.Path = path
		return nil, err
	}
	st := v.newStream(c.runs, d.allocated, d.allocated)
	var records []byteRange
	for _, ref := range append([]Reference{n.ref}, n.extensions...) {
		ext, err := v.recordExtents(ref)
		if err != nil {
			return nil, err
		}
		records = append(records, ext...)
	}
	std, _ := n.first(attrStandard) // checkKind found it
	return &MappedFile{s: s, at: st, records: records, standard: byteRange{int64(std.offset), int64(std.length)},
		m: Mapping{Path: path, Serial: v.geo.Serial, Reference: n.ref, Size: d.size,
			ClusterSize: v.geo.ClusterSize, Runs: st.runs}}, nil
}

func anyFlag(segs []attribute, mask uint16) bool {
	return slices.ContainsFunc(segs, func(a attribute) bool { return a.flags&mask != 0 })
}

// File attributes of $STANDARD_INFORMATION (MS-FSCC 2.6).
const (
	fileSparse     = 0x200
	fileReparse    = 0x400
	fileCompressed = 0x800
	fileEncrypted  = 0x4000
)

// checkKind refuses by what the record as a whole says.
func (v *Volume) checkKind(n *inode, parent Reference) error {
	if n.flags&recordDirectory != 0 {
		return ErrDirectory
	}
	if _, ok := n.first(attrReparse); ok {
		return ErrReparse
	}
	std, ok := n.first(attrStandard)
	if !ok || !std.resident || len(std.value) < 0x24 {
		return corrupt(n.what(), -1, "no $STANDARD_INFORMATION")
	}
	attrs := binary.LittleEndian.Uint32(std.value[0x20:])
	for _, f := range []struct {
		mask uint32
		err  error
	}{{fileReparse, ErrReparse}, {fileEncrypted, ErrEncrypted}, {fileCompressed, ErrCompressed}, {fileSparse, ErrSparse}} {
		if attrs&f.mask != 0 {
			return f.err
		}
	}
	return v.checkNames(n, parent)
}

// checkNames demands that every name of the file is in the directory it was found in:
// one name, or a long one and its short one.
func (v *Volume) checkNames(n *inode, parent Reference) error {
	long := 0
	for _, a := range n.segments(attrFileName, "") {
		fn, err := parseFileName(a.value, n.what())
		if err != nil {
			return err
		}
		if fn.parent != parent {
			return ErrHardLinks
		}
		if fn.space != 2 {
			long++
		}
	}
	if long == 0 {
		return corrupt(n.what(), -1, "no $FILE_NAME")
	}
	if long > 1 {
		return ErrHardLinks
	}
	return nil
}

// checkAlignment refuses clusters that cannot be written as whole physical sectors.
func (v *Volume) checkAlignment(s Storage, runs []Run) *FileError {
	disk, ok := s.(sectored)
	if !ok {
		return nil
	}
	unit, cs := int64(max(disk.SectorSize(), disk.PhysicalSectorSize())), int64(v.geo.ClusterSize)
	if unit <= 0 || disk.Start()%unit == 0 && cs%unit == 0 {
		return nil
	}
	for _, r := range mergeRuns(runs) {
		if at := disk.Start() + r.LCN*cs; at%unit != 0 || r.Length*cs%unit != 0 {
			return &FileError{Err: ErrMisaligned, Detail: fmt.Sprintf("disk byte %d, sectors of %d", at, unit)}
		}
	}
	return nil
}

// Size returns the size in bytes, a multiple of PageSize.
func (f *MappedFile) Size() int64 { return f.m.Size }

// Mapping returns where the file lies.
func (f *MappedFile) Mapping() Mapping {
	m := f.m
	m.Runs = slices.Clone(m.Runs)
	return m
}

// ReadAt reads len(p) bytes at byte off of the file, any offset and length.
func (f *MappedFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, &FileError{Path: f.m.Path, Err: ErrPage, Detail: fmt.Sprintf("read at %d", off)}
	}
	if off >= f.m.Size {
		return 0, io.EOF
	}
	want, eof := p, error(nil)
	if int64(len(p)) > f.m.Size-off {
		want, eof = p[:f.m.Size-off], io.EOF
	}
	n, err := f.pieces(want, off, f.s.ReadAt)
	if err == nil {
		err = eof
	}
	return n, err
}

// WriteAt writes whole pages: off and len(p) are multiples of PageSize inside the
// file, otherwise ErrPage is returned and nothing written. A page that spans two runs
// (clusters below 4 KiB) is written in two pieces. Durable after Sync.
func (f *MappedFile) WriteAt(p []byte, off int64) (int, error) {
	n := int64(len(p))
	if off < 0 || off%PageSize != 0 || n%PageSize != 0 || off > f.m.Size || n > f.m.Size-off {
		return 0, &FileError{Path: f.m.Path, Err: ErrPage, Detail: fmt.Sprintf("%d bytes at %d of %d", n, off, f.m.Size)}
	}
	return f.pieces(p, off, f.s.WriteAt)
}

// Sync flushes the disk.
func (f *MappedFile) Sync() error { return f.s.Sync() }

// pieces does one request per run that the range touches.
func (f *MappedFile) pieces(p []byte, off int64, do func([]byte, int64) (int, error)) (int, error) {
	done := 0
	for done < len(p) {
		pos, n := f.at.locate(off + int64(done))
		if pos < 0 || n == 0 {
			return done, corrupt(f.m.Path, -1, "no clusters behind byte %d", off+int64(done))
		}
		part := p[done:min(int64(len(p)), int64(done)+n)]
		k, err := do(part, pos)
		done += k
		if k < len(part) {
			return done, block.NoEOF(err)
		}
	}
	return done, nil
}

// CheckDisjoint returns ErrOverlap when a cluster belongs to two of the files.
func CheckDisjoint(files ...*MappedFile) error {
	var lists [][]Run
	for _, f := range files {
		lists = append(lists, f.m.Runs)
	}
	if r, bad := overlapping(lists...); bad {
		return fmt.Errorf("%w: cluster %d", ErrOverlap, r.LCN)
	}
	return nil
}
