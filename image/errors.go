package image

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrCorrupt is returned when bytes are not what their hash, size or format says.
	ErrCorrupt = errors.New("image: corrupt")
	// ErrUnsupported is returned for a format version or a method that this program does not know.
	ErrUnsupported = errors.New("image: unsupported")
	// ErrNotFound is returned for an image or a version that the store does not have.
	ErrNotFound = errors.New("image: not found")
	// ErrExists is returned by Import when the image is there already, and by Init when the folder is not empty.
	ErrExists = errors.New("image: exists already")
	// ErrWrongParent is returned by Add when the child does not stand on the version that is in the store.
	ErrWrongParent = errors.New("image: wrong parent")
	// ErrBusy is returned when another process is publishing into the same store.
	ErrBusy = errors.New("image: store is busy")
	// ErrLocal is returned by Fetch when the disk does not hold what its version should: make a plan by LoadPlan, or heal the disk first.
	ErrLocal = errors.New("image: the disk does not hold its version")
	// ErrInvalid is returned for an argument that can never be right: a bad name, a disk size that is no multiple of a page.
	ErrInvalid = errors.New("image: invalid")
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

// ParentError says why a child cannot become the next version of an image. It unwraps to ErrWrongParent.
type ParentError struct {
	// Image and Version name the version that the child should stand on.
	Image   string
	Version int
	// Want is the DataWriteGuid recorded for that version, Have those of the files beneath the child, nearest first.
	Want string
	Have []string
	// Region is the first region whose content differs from the version map, -1 if the GUIDs already differ.
	Region int64
}

// Error returns one line that says what differs and that nothing was published.
func (e *ParentError) Error() string {
	if e.Region >= 0 {
		return fmt.Sprintf("image: wrong parent: %s version %d has other content at bytes %d-%d of the virtual disk than the parent of this child "+
			"(the DataWriteGuid %s is the same: the parent was changed by a program that did not renew it); nothing was published",
			e.Image, e.Version, e.Region*RegionSize, (e.Region+1)*RegionSize-1, e.Want)
	}
	have := "no parent"
	if len(e.Have) > 0 {
		have = strings.Join(e.Have, ", ")
	}
	return fmt.Sprintf("image: wrong parent: %s version %d was published from DataWriteGuid %s, the child stands on %s; nothing was published",
		e.Image, e.Version, e.Want, have)
}

// Unwrap returns ErrWrongParent.
func (e *ParentError) Unwrap() error { return ErrWrongParent }

func corruptf(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, a...))
}

func unsupportedf(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrUnsupported, fmt.Sprintf(format, a...))
}

func invalidf(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, a...))
}
