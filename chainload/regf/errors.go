package regf

import (
	"errors"
	"fmt"
)

// Classes of error, for errors.Is.
var (
	// ErrCorrupt is the class of every hive that breaks the format.
	ErrCorrupt = errors.New("regf: corrupt hive")
	// ErrUnsupported is the class of a hive or tree that is legal but outside
	// of what this package handles (see Known gaps).
	ErrUnsupported = errors.New("regf: unsupported hive")
)

// FormatError says where a hive breaks the format. It unwraps to ErrCorrupt.
type FormatError struct {
	Structure string // "base block", "hbin", "nk", ...
	Offset    int64  // byte offset in the file
	Reason    string
}

// Error gives structure, offset and reason in one line.
func (e *FormatError) Error() string {
	return fmt.Sprintf("regf: %s at byte %#x: %s", e.Structure, e.Offset, e.Reason)
}

// Unwrap returns ErrCorrupt.
func (e *FormatError) Unwrap() error { return ErrCorrupt }

func corrupt(structure string, offset int64, format string, args ...any) error {
	return &FormatError{Structure: structure, Offset: offset, Reason: fmt.Sprintf(format, args...)}
}
