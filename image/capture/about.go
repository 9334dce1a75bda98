package capture

import (
	"fmt"
	"io"

	"troy/image"
	"troy/image/internal/pages"
	"troy/internal/format"
)

// Prefix is where the calls of a capture begin.
const Prefix = "/v1/capture/"

// FinishName stands for the number of a region in the call that ends a capture.
const FinishName = "finish"

// MaxDocument bounds About and Totals as they travel, in bytes.
const MaxDocument = 64 << 10

// AboutKind is the format of About, TotalsKind that of Totals.
var (
	AboutKind  = format.Kind{Name: "the description of a capture", Number: 1, Oldest: 1}
	TotalsKind = format.Kind{Name: "the totals of a capture", Number: 1, Oldest: 1}
)

// About says what a session stands on.
type About struct {
	format.Head
	// Image, Version and Manifest (its SHA-256) are the version that the boot child stands on.
	Image    string    `json:"image"`
	Version  int       `json:"version"`
	Manifest image.Sum `json:"manifest"`
	// VirtualSize and SectorSize are those of the boot child, in bytes.
	VirtualSize int64  `json:"virtual_size"`
	SectorSize  uint32 `json:"sector_size"`
}

// Check returns image.ErrInvalid or image.ErrCorrupt for what no session stands on.
func (a *About) Check() error {
	if err := image.CheckName(a.Image); err != nil {
		return err
	}
	if err := pages.CheckDisk(a.VirtualSize); err != nil {
		return err
	}
	if a.Version < 1 || a.Version > image.MaxVersion || a.SectorSize != 512 && a.SectorSize != 4096 {
		return fmt.Errorf("%w: version %d, sectors of %d bytes", image.ErrInvalid, a.Version, a.SectorSize)
	}
	return nil
}

// Same tells whether two sessions stand on the same version of the same disk.
func (a *About) Same(b *About) bool {
	return a.Image == b.Image && a.Version == b.Version && a.Manifest == b.Manifest &&
		a.VirtualSize == b.VirtualSize && a.SectorSize == b.SectorSize
}

// Totals are what a whole capture comes to. Sum is the SHA-256 of the region (8 bytes,
// little-endian) and hash of each piece, in the order of the regions: server and machine agree on
// all of it or on nothing.
type Totals struct {
	format.Head
	Pieces int64     `json:"pieces"`
	Data   int64     `json:"data_pages"`
	Unused int64     `json:"unused_pages"`
	Sum    image.Sum `json:"sum"`
}

// Same compares totals.
func (t *Totals) Same(u *Totals) bool {
	return t.Pieces == u.Pieces && t.Data == u.Data && t.Unused == u.Unused && t.Sum == u.Sum
}

// Capture is a finished capture as the server holds it.
type Capture struct {
	// ID is the DataWriteGuid of the boot child: lower case, no braces.
	ID    string
	About About
	// Pieces are what is known of each region, ascending, none empty.
	Pieces []Masks
	// Pages reads the content of the pages in Data, each at its place on the disk. What lies
	// between them is not defined.
	Pages io.ReaderAt
}
