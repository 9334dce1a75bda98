package publish

import (
	"errors"
	"fmt"
	"strings"

	"troy/image"
	"troy/internal/space"
)

var (
	// ErrWrongParent is returned by Add when the child does not stand on the version that is in the
	// store.
	ErrWrongParent = errors.New("image: wrong parent")
	// ErrBusy is returned when another process is writing to the same store.
	ErrBusy = errors.New("image: store is busy")
	// ErrMissing is returned by GC for an image that the store should have.
	ErrMissing = errors.New("image: missing")
	// ErrNoSpace is returned when the store has no room for a version, before anything is written.
	ErrNoSpace = space.ErrShort
)

// ParentError says why a child cannot become the next version of an image. It unwraps to
// ErrWrongParent.
type ParentError struct {
	// Image and Version name the version that the child should stand on.
	Image   string
	Version int
	// Want is the DataWriteGuid recorded for that version, Have those of the files beneath the
	// child, nearest first.
	Want string
	Have []string
	// Region is the first region whose content differs from the version map, -1 if the GUIDs
	// already differ.
	Region int64
}

// Error returns one line that says what differs and that nothing was published.
func (e *ParentError) Error() string {
	if e.Region >= 0 {
		return fmt.Sprintf("image: wrong parent: %s version %d has other content at bytes %d-%d of the virtual disk than the parent of this child "+
			"(the DataWriteGuid %s is the same: the parent was changed by a program that did not renew it); nothing was published",
			e.Image, e.Version, e.Region*image.RegionSize, (e.Region+1)*image.RegionSize-1, e.Want)
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
