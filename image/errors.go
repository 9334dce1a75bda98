package image

import (
	"errors"
	"fmt"
	"strings"

	"troy/image/internal/fault"
)

var (
	// ErrCorrupt is returned when bytes are not what their hash, size or format says.
	ErrCorrupt = fault.ErrCorrupt
	// ErrUnsupported is returned for a format version or a method that this program does not know.
	ErrUnsupported = fault.ErrUnsupported
	// ErrNotFound is returned for an image or a version that the store does not have.
	ErrNotFound = errors.New("image: not found")
	// ErrExists is returned by what makes a store, an image or a release when that is there
	// already.
	ErrExists = errors.New("image: exists already")
	// ErrLocal is returned by Fetch when the disk does not hold what its version should, or cannot
	// be read: mend the disk first. (A plan by LoadPlan would leave the page as it is.)
	ErrLocal = errors.New("image: the disk does not hold its version")
	// ErrOtherSize: the disks of two versions differ in size. No plan leads from one to the other,
	// for nothing grows in place.
	ErrOtherSize = errors.New("image: the disks of the versions have different sizes")
	// ErrInvalid is returned for an argument that can never be right: a bad name, a disk size that
	// is no multiple of a page.
	ErrInvalid = fault.ErrInvalid
)

// ObjectError says which file of which source is at fault, and where in it.
type ObjectError struct {
	// Source is the source or store as it names itself.
	Source string
	// Object is the name in the tree.
	Object string
	// Offset and Length are the range in bytes; Length 0 means the whole object.
	Offset, Length int64
	// Attempts is how often it was tried, 0 if once.
	Attempts int
	// Err is the cause; errors.Is finds ErrCorrupt, ErrUnsupported or the source's own error in it.
	Err error
}

// Error returns one line: object, range, source, cause.
func (e *ObjectError) Error() string {
	var b strings.Builder
	b.WriteString("image: " + e.Object)
	if e.Length > 0 {
		fmt.Fprintf(&b, " bytes %d-%d", e.Offset, e.Offset+e.Length-1)
	}
	b.WriteString(" from " + e.Source)
	if e.Attempts > 1 {
		fmt.Fprintf(&b, ", tried %d times", e.Attempts)
	}
	return b.String() + ": " + strings.TrimPrefix(e.Err.Error(), "image: ")
}

// Unwrap returns the cause.
func (e *ObjectError) Unwrap() error { return e.Err }

// causeOf peels off an ObjectError about the same object, so that a line names each thing once.
func causeOf(err error, object string) error {
	var e *ObjectError
	if errors.As(err, &e) && e.Object == object {
		return e.Err
	}
	return err
}
