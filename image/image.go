package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// PageSize is the unit of every comparison, run and write, in bytes: the cluster size of NTFS as Windows formats it.
const PageSize = 4096

// RegionSize is the unit of the version map, in bytes: one SHA-256 covers one region.
const RegionSize = 1 << 20

// MaxVirtualSize is the largest virtual disk of the VHDX format, in bytes (MS-VHDX 2.6.2.2).
const MaxVirtualSize = 64 << 40

const pagesPerRegion = RegionSize / PageSize

// Run is a piece of the virtual disk. Offset and Length are bytes and multiples of PageSize.
type Run struct {
	Offset, Length int64
	// Zero says that the run reads as zeros in the version; nothing is fetched for it.
	Zero bool
}

// Source is where a client reads a store's tree: an HTTP server, a folder, a swarm.
type Source interface {
	// ReadRange returns exactly n bytes of the object from off, or an error. It may be called concurrently.
	ReadRange(ctx context.Context, name string, off, n int64) ([]byte, error)
	// String names the source for people, as error texts do.
	String() string
}

// Documents is the second half of a Source: small documents whose length the client cannot know beforehand.
// LoadPlan needs it for the index of an image.
type Documents interface {
	// Get returns the whole document, or an error if it is longer than max bytes.
	Get(ctx context.Context, name string, max int64) ([]byte, error)
}

// Rejecter is a Source that wants to hear that bytes it gave were not what their hash says, so that it can ask another server for the same
// range when it is asked again.
type Rejecter interface {
	// Reject says that the last answer for this range was wrong. It may be called concurrently.
	Reject(name string, off, n int64)
}

// Progress is told what was done, in bytes. It may be called from several goroutines.
type Progress interface{ Add(bytes int64) }

func progress(p Progress, n int64) {
	if p != nil && n > 0 {
		p.Add(n)
	}
}

// Sum is a SHA-256. As text it is 64 lower-case hex digits.
type Sum [sha256.Size]byte

// String returns the 64 lower-case hex digits.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// MarshalText returns the 64 lower-case hex digits.
func (s Sum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads 64 lower-case hex digits and nothing else.
func (s *Sum) UnmarshalText(b []byte) error {
	if len(b) != hex.EncodedLen(len(s)) {
		return fmt.Errorf("a SHA-256 has 64 hex digits, found %d characters", len(b))
	}
	if _, err := hex.Decode(s[:], b); err != nil {
		return err
	}
	if s.String() != string(b) {
		return fmt.Errorf("SHA-256 is not in lower case")
	}
	return nil
}

// Object names one immutable file of the store by what is in it.
type Object struct {
	// Name is the path in the tree, with slashes.
	Name string `json:"name"`
	// Size is the length in bytes.
	Size int64 `json:"size"`
	// SHA256 is the hash of all its bytes.
	SHA256 Sum `json:"sha256"`
}

// The kinds of objects; each is the ending of the object's name.
const (
	kindPack  = "pack"
	kindTable = "table"
	kindMap   = "map"
)

func objectName(kind string, sum Sum) string {
	h := sum.String()
	return "objects/" + h[:2] + "/" + h + "." + kind
}

// check refuses an object whose name is not the one that its hash and kind give: a name is never a path to follow.
func (o *Object) check(kind string, maxSize int64) error {
	if want := objectName(kind, o.SHA256); o.Name != want {
		return fmt.Errorf("%s has the name %q, its hash says %q", kind, o.Name, want)
	}
	if o.Size <= 0 || o.Size > maxSize {
		return fmt.Errorf("%s %s claims %d bytes, allowed are 1 to %d", kind, o.Name, o.Size, maxSize)
	}
	return nil
}
