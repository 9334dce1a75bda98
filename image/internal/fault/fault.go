// Package fault has the classes of errors that package image and the packages below it share. Image
// exports them; its page says when each is returned.
package fault

import (
	"errors"
	"fmt"

	"troy/internal/format"
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

// Number returns an ErrUnsupported for a number of a binary format that this program does not read,
// and whether it is a newer one, which may have set what is zero in this program's.
func Number(k *format.Kind, number uint32) (newer bool, err error) {
	if err := k.Check(format.Head{Format: int(number)}); err != nil {
		return false, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return int(number) > k.Current(), nil
}
