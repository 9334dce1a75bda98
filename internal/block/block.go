// Package block has the arithmetic that all who work on blocks of bytes need: whole reads, whole
// units, zeros, memory for direct I/O.
package block

import (
	"errors"
	"io"
	"unsafe"
)

// ReadFull fills p from r at off. A source that ends before is io.ErrUnexpectedEOF; io.EOF right
// behind the last byte is no error.
func ReadFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	return NoEOF(err)
}

// NoEOF returns the error of a read that gave less than was asked for: an end is
// io.ErrUnexpectedEOF, and so is no error at all.
func NoEOF(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// RoundUp returns n rounded up to a multiple of unit, which is not 0.
func RoundUp[T ~int | ~int64 | ~uint32 | ~uint64](n, unit T) T { return (n + unit - 1) / unit * unit }

// Pad appends zeros to b up to whole units.
func Pad(b []byte, unit int) []byte {
	return append(b, make([]byte, RoundUp(len(b), unit)-len(b))...)
}

// alignment satisfies direct I/O on every medium.
const alignment = 4096

// Aligned returns n zero bytes at an address that direct I/O (O_DIRECT) accepts.
func Aligned(n int) []byte {
	b := make([]byte, n+alignment)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (alignment - 1)
	return b[skip : skip+n : skip+n]
}

// IsZero reports whether p holds zeros only; of no bytes, it does.
func IsZero(p []byte) bool {
	for len(p) >= len(zeros) {
		if string(p[:len(zeros)]) != zeros {
			return false
		}
		p = p[len(zeros):]
	}
	return string(p) == zeros[:len(p)]
}

// zeros is compared against: as a string it cannot be written to.
var zeros = string(make([]byte, 16<<10))
