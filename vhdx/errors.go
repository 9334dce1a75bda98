package vhdx

import (
	"errors"
	"fmt"
)

var (
	// ErrCorrupt is the class of everything that breaks a MUST of MS-VHDX.
	// The place is told by a *FormatError, which unwraps to it.
	ErrCorrupt = errors.New("vhdx: file is corrupt")

	// ErrUnsupported is returned for a well-formed file that demands
	// something this package does not know, and for requests that it does
	// not carry out. The place is told by an *UnsupportedError.
	ErrUnsupported = errors.New("vhdx: not supported")

	// ErrChainMismatch is returned when a parent is missing, is not the one
	// that the child was made for, or cannot carry it.
	ErrChainMismatch = errors.New("vhdx: parent does not belong to child")

	// ErrReadOnly is returned by every change asked of a file that was
	// opened for reading.
	ErrReadOnly = errors.New("vhdx: file is open for reading only")

	// ErrNoSpace is returned when a change needs more room than a Storage
	// has that cannot grow. What was written before stays readable.
	ErrNoSpace = errors.New("vhdx: the storage is full and cannot grow")

	// ErrClosed is returned by every use of a closed File or Chain.
	ErrClosed = errors.New("vhdx: file is closed")
)

// FormatError tells what in a file breaks the format, and where. It unwraps
// to ErrCorrupt.
type FormatError struct {
	Structure string // the structure, in the words of MS-VHDX: "header", "BAT", "log entry" ...
	Offset    int64  // where it stands, in bytes from the start of the file (or of the structure when parsed alone)
	Reason    string // what is wrong, as a plain sentence
}

// Error returns the structure, the place and the reason in one line.
func (e *FormatError) Error() string {
	return fmt.Sprintf("vhdx: %s at offset %#x: %s", e.Structure, e.Offset, e.Reason)
}

// Unwrap returns ErrCorrupt.
func (e *FormatError) Unwrap() error { return ErrCorrupt }

// UnsupportedError tells which part of a well-formed file, or of a request,
// this package does not support. It unwraps to ErrUnsupported.
type UnsupportedError struct {
	Structure string // the structure, in the words of MS-VHDX
	Offset    int64  // where it stands, in bytes from the start of the file
	Reason    string // what is not supported, as a plain sentence
}

// Error returns the structure, the place and the reason in one line.
func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("vhdx: %s at offset %#x is not supported: %s", e.Structure, e.Offset, e.Reason)
}

// Unwrap returns ErrUnsupported.
func (e *UnsupportedError) Unwrap() error { return ErrUnsupported }

// corrupt builds a *FormatError.
func corrupt(structure string, off int64, format string, args ...any) error {
	return &FormatError{Structure: structure, Offset: off, Reason: fmt.Sprintf(format, args...)}
}

// unsupported builds an *UnsupportedError.
func unsupported(structure string, off int64, format string, args ...any) error {
	return &UnsupportedError{Structure: structure, Offset: off, Reason: fmt.Sprintf(format, args...)}
}

// moveError returns err with its offset shifted by base, for a structure that
// was parsed on its own and stands at base in the file.
func moveError(err error, base int64) error {
	var fe *FormatError
	if errors.As(err, &fe) {
		return &FormatError{fe.Structure, fe.Offset + base, fe.Reason}
	}
	var ue *UnsupportedError
	if errors.As(err, &ue) {
		return &UnsupportedError{ue.Structure, ue.Offset + base, ue.Reason}
	}
	return err
}

// errNoGrowth tells how much a storage without Truncate was short of.
func errNoGrowth(have, want int64) error {
	return fmt.Errorf("%w: %d bytes are needed, it has %d", ErrNoSpace, want, have)
}
