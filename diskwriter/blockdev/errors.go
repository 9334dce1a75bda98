package blockdev

import (
	"errors"
	"fmt"
)

var (
	// ErrUnaligned is returned by WriteAt for an offset or length that is not a
	// multiple of the logical sector size. Nothing was written.
	ErrUnaligned = errors.New("write is not aligned to whole sectors")
	// ErrReadOnly is returned by WriteAt on a device that was opened read only.
	ErrReadOnly = errors.New("device was opened read only")
	// ErrBounds is returned for a write that would leave the device or partition.
	// Nothing was written.
	ErrBounds = errors.New("outside the device")
	// ErrNoTable is returned when a disk holds no usable GUID partition table.
	ErrNoTable = errors.New("no usable GUID partition table")
)

// TableError says which copy of the partition table is wrong, and how. It unwraps
// to ErrNoTable.
type TableError struct {
	Copy   string // "primary", "backup" or "protective MBR"
	LBA    int64  // logical sector at which the copy was looked for
	Reason string
}

// Error names the copy, its place and the reason.
func (e *TableError) Error() string {
	return fmt.Sprintf("%v: %s at LBA %d: %s", ErrNoTable, e.Copy, e.LBA, e.Reason)
}

// Unwrap returns ErrNoTable.
func (e *TableError) Unwrap() error { return ErrNoTable }

// RangeError is a request that does not fit: Offset and Length in bytes against a
// device of Size bytes. It unwraps to ErrBounds or ErrUnaligned.
type RangeError struct {
	Offset, Length, Size int64
	Err                  error
}

// Error gives the numbers and the class.
func (e *RangeError) Error() string {
	return fmt.Sprintf("%d bytes at offset %d of %d: %v", e.Length, e.Offset, e.Size, e.Err)
}

// Unwrap returns the class of the error.
func (e *RangeError) Unwrap() error { return e.Err }
