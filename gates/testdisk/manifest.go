package testdisk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"troy/gates"
	"troy/internal/digest"
	"troy/internal/format"
	"troy/internal/guid"
)

// ManifestName is the manifest's name in the folder of the test disks.
const ManifestName = "manifest.json"

// ManifestKind is the format of the manifest.
var ManifestKind = format.Kind{Name: ManifestName, Number: 1, Oldest: 1}

// ErrManifest: a folder holds no manifest that a program wrote.
var ErrManifest = errors.New("bad manifest of test disks")

// Limits of a manifest.
const (
	maxManifest = 4 << 20 // bytes
	maxDisks    = 64
	maxFiles    = 8       // of a disk
	maxPieces   = 1 << 12 // of a disk
	maxSize     = 1 << 40 // of a virtual disk, bytes
	sector      = 512
)

// Manifest says what is in a folder of test disks, as it was made.
type Manifest struct {
	format.Head
	Disks   []Disk         `json:"disks"`
	Unknown format.Unknown `json:",embed"`
}

// Disk is one virtual disk. Several may stand on the same parent.
type Disk struct {
	Gate   string     `json:"gate"`
	About  string     `json:"about"`
	Files  []File     `json:"files"` // leaf first
	Size   int64      `json:"size"`  // of the virtual disk, bytes
	Holds  []Piece    `json:"holds"` // later over earlier, all else is zeros
	SHA256 digest.Sum `json:"sha256"`

	// Writes is what may be written to it; nothing: the disk is only read. After is the hash then.
	Writes []Piece    `json:"writes,omitempty"`
	After  digest.Sum `json:"after"`

	Anchors []int64 `json:"anchors,omitempty"` // where in the leaf its blocks have to stay, in bytes
	Dirty   bool    `json:"dirty,omitempty"`   // the leaf has a log to be replayed
	Cut     bool    `json:"cut,omitempty"`     // a merge was cut off: the parent has the DataWriteGuid to come
	Merge   int64   `json:"merge,omitempty"`   // bytes that a merge of the leaf into its parent moves; 0: is not merged
}

// File is one file of a disk as it was made.
type File struct {
	Path          string     `json:"path"` // in the folder, with slashes
	Size          int64      `json:"size"` // bytes
	SHA256        digest.Sum `json:"sha256"`
	DataWriteGUID guid.GUID  `json:"data_write_guid"`
}

// Piece is a range of a virtual disk, in whole sectors.
type Piece struct {
	Offset int64  `json:"offset"` // bytes
	Length int64  `json:"length"` // bytes
	Seed   uint64 `json:"seed"`   // of the pattern; 0: zeros
}

// Name is that of the leaf.
func (d *Disk) Name() string { return d.Files[0].Path }

// Load reads the manifest of a folder. Errors: ErrManifest, those of package format, and of
// reading.
func Load(dir string) (*Manifest, error) {
	f, err := os.Open(filepath.Join(dir, ManifestName))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return nil, err
	}
	return parse(b)
}

func parse(b []byte) (*Manifest, error) {
	if len(b) > maxManifest {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrManifest, maxManifest)
	}
	m := &Manifest{}
	if err := ManifestKind.Read(b, m); err != nil {
		return nil, err
	}
	if len(m.Disks) == 0 || len(m.Disks) > maxDisks {
		return nil, fmt.Errorf("%w: %d disks, want 1 to %d", ErrManifest, len(m.Disks), maxDisks)
	}
	for i := range m.Disks {
		if err := m.Disks[i].check(); err != nil {
			return nil, fmt.Errorf("%w: disk %d: %w", ErrManifest, i+1, err)
		}
	}
	return m, nil
}

// check refuses what Make does not write: a manifest may have been through other hands.
func (d *Disk) check() error {
	switch {
	case gates.Find(d.Gate) == nil:
		return fmt.Errorf("there is no gate %.20q", d.Gate)
	case len(d.Files) == 0 || len(d.Files) > maxFiles:
		return fmt.Errorf("%d files, want 1 to %d", len(d.Files), maxFiles)
	case d.Size <= 0 || d.Size > maxSize || d.Size%sector != 0:
		return fmt.Errorf("a virtual disk of %d bytes", d.Size)
	case len(d.Holds) > maxPieces || len(d.Writes) > maxPieces:
		return fmt.Errorf("%d and %d pieces, at most %d", len(d.Holds), len(d.Writes), maxPieces)
	case d.Merge < 0 || d.Merge > 0 && len(d.Files) < 2:
		return fmt.Errorf("a merge of %d bytes in a chain of %d", d.Merge, len(d.Files))
	}
	for _, f := range d.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Path)) || f.Path != path.Clean(f.Path) || path.Ext(f.Path) != ".vhdx" || f.Size < 0 {
			return fmt.Errorf("%.100q is no file of this folder", f.Path)
		}
		if path.Dir(f.Path) != path.Dir(d.Name()) {
			return fmt.Errorf("%.100q is not beside %.100q", f.Path, d.Name())
		}
	}
	for _, pieces := range [][]Piece{d.Holds, d.Writes} {
		for _, p := range pieces {
			if p.Offset < 0 || p.Length <= 0 || p.Offset%sector != 0 || p.Length%sector != 0 || p.Length > d.Size || p.Offset > d.Size-p.Length {
				return fmt.Errorf("bytes %d to %d are not whole sectors of the disk", p.Offset, p.Offset+p.Length)
			}
		}
	}
	return nil
}

// before is what the disk shows as it was made.
func (d *Disk) before() *content { return &content{d.Size, d.Holds} }

// after is what it shows when it was written to.
func (d *Disk) after() *content {
	return &content{d.Size, append(d.Holds[:len(d.Holds):len(d.Holds)], d.Writes...)}
}
