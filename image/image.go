package image

import (
	"context"
	"fmt"

	"troy/image/internal/pages"
	"troy/internal/digest"
)

// PageSize is the unit of every comparison, run and write, in bytes: the cluster size of NTFS as
// Windows formats it.
const PageSize = pages.Size

// RegionSize is the unit of the version map, in bytes: one SHA-256 covers one region.
const RegionSize = pages.Region

// Range is a piece of the virtual disk in bytes, not aligned to anything.
type Range struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}

// Run is a piece of the virtual disk. Offset and Length are bytes and multiples of PageSize.
type Run struct {
	Offset, Length int64
	// Zero says that the run reads as zeros in the version; nothing is fetched for it.
	Zero bool
}

// Source is where a client reads a store's tree: an HTTP server, a folder, a swarm.
type Source interface {
	// ReadRange returns exactly n bytes of the object from off, or an error and the first of these
	// bytes, as many as came. It may be called concurrently.
	ReadRange(ctx context.Context, name string, off, n int64) ([]byte, error)
	// String names the source for people, as error texts do.
	String() string
}

// Documents is the second half of a Source: small documents whose length the client cannot know
// beforehand. LoadPlan needs it for the index of an image.
type Documents interface {
	// Get returns the whole document, or an error if it is longer than max bytes.
	Get(ctx context.Context, name string, max int64) ([]byte, error)
}

// Rejecter is a Source that wants to hear that bytes it gave were not what their hash says, so that
// it can ask another server for the same range when it is asked again.
type Rejecter interface {
	// Reject says that the last answer for this range was wrong, or for a whole document (off and n
	// are 0). It returns whether there is another server to ask. It may be called concurrently.
	Reject(name string, off, n int64) (more bool)
}

// Sum is a SHA-256. As text it is 64 lower-case hex digits.
type Sum = digest.Sum

// Object names one immutable file of the store by what is in it.
type Object struct {
	// Name is the path in the tree, with slashes.
	Name string `json:"name"`
	// Size is the length in bytes.
	Size int64 `json:"size"`
	// SHA256 is the hash of all its bytes.
	SHA256 Sum `json:"sha256"`
}

// Kind is what an object is; it is the ending of the object's name.
type Kind string

// The kinds of objects.
const (
	KindPack  Kind = "pack"
	KindTable Kind = "table"
	KindMap   Kind = "map"
)

// NewObject names an object by its kind and content.
func NewObject(kind Kind, size int64, sum Sum) Object {
	h := sum.String()
	return Object{Name: "objects/" + h[:2] + "/" + h + "." + string(kind), Size: size, SHA256: sum}
}

// check refuses an object whose name is not the one that its hash and kind give: a name is never a
// path to follow.
func (o *Object) check(kind Kind, maxSize int64) error {
	if want := NewObject(kind, o.Size, o.SHA256); o.Name != want.Name {
		return fmt.Errorf("%s has the name %q, its hash says %q", kind, o.Name, want.Name)
	}
	if o.Size <= 0 || o.Size > maxSize {
		return fmt.Errorf("%s %s claims %d bytes, allowed are 1 to %d", kind, o.Name, o.Size, maxSize)
	}
	return nil
}
