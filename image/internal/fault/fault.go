// Package fault has the classes of errors that package image and the packages below it share. Image
// exports them; its page says when each is returned.
package fault

import (
	"errors"
	"fmt"
)

// The classes. They have the prefix of the package that exports them.
var (
	ErrCorrupt     = errors.New("image: corrupt")
	ErrUnsupported = errors.New("image: unsupported")
	ErrInvalid     = errors.New("image: invalid")
)

// Corruptf returns an ErrCorrupt with a reason.
func Corruptf(format string, a ...any) error { return because(ErrCorrupt, format, a) }

// Unsupportedf returns an ErrUnsupported with a reason.
func Unsupportedf(format string, a ...any) error { return because(ErrUnsupported, format, a) }

// Invalidf returns an ErrInvalid with a reason.
func Invalidf(format string, a ...any) error { return because(ErrInvalid, format, a) }

func because(class error, format string, a []any) error {
	return fmt.Errorf("%w: %s", class, fmt.Sprintf(format, a...))
}
