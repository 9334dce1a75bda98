package golden

import (
	"errors"
	"fmt"
)

var (
	// ErrBase: the version that the capture stands on is not the newest one of the image.
	ErrBase = errors.New("the capture does not stand on the newest version")
	// ErrClear: something of the golden PC's own cannot be cleared.
	ErrClear = errors.New("the golden PC's own cannot be cleared")
)

// BaseError has the numbers of an ErrBase.
type BaseError struct {
	Image        string
	Have, Newest int
	// Other: the store has another version of that number.
	Other bool
}

// Error names image and versions.
func (e *BaseError) Error() string {
	if e.Other {
		return fmt.Sprintf("%v: the golden PC has another %s version %d than the store", ErrBase, e.Image, e.Have)
	}
	return fmt.Sprintf("%v: it changed %s version %d, and version %d is the newest", ErrBase, e.Image, e.Have, e.Newest)
}

// Unwrap returns ErrBase.
func (e *BaseError) Unwrap() error { return ErrBase }

// ClearError says what cannot be cleared. It unwraps to ErrClear.
type ClearError struct {
	Name, Where string // of the field
	Reason      string
}

// Error names the field, the place and the reason.
func (e *ClearError) Error() string {
	return fmt.Sprintf("%v: %s in %s: %s", ErrClear, e.Name, e.Where, e.Reason)
}

// Unwrap returns ErrClear.
func (e *ClearError) Unwrap() error { return ErrClear }
