package vhdx

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// Places of the fixed structures, in bytes (MS-VHDX 2.2).
const (
	Header1Offset      = 64 << 10
	Header2Offset      = 128 << 10
	RegionTable1Offset = 192 << 10
	RegionTable2Offset = 256 << 10
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
	tib = 1 << 40

	pageSize        = 4 * kib  // unit of the log and of every metadata write
	headerSize      = 4 * kib  // MS-VHDX 2.2.2
	regionTableSize = 64 * kib // MS-VHDX 2.2.3
	headerSection   = 1 * mib  // nothing else may live below

	// maxFileSize bounds every offset found in a file: openvmm keeps 28 bits
	// of MiB, and nothing needs more for a disk of 64 TiB.
	maxFileSize = 256 * tib
)

var le = binary.LittleEndian

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksumOf returns the CRC-32C of b with the four bytes at offset 4, where
// every checksummed structure keeps it, taken as zero.
func checksumOf(b []byte) uint32 {
	var zero [4]byte
	c := crc32.Update(0, castagnoli, b[:4])
	c = crc32.Update(c, castagnoli, zero[:])
	return crc32.Update(c, castagnoli, b[8:])
}

// putChecksum stores the checksum of b in it.
func putChecksum(b []byte) { le.PutUint32(b[4:], checksumOf(b)) }

// checksumOK reports whether b carries its own checksum.
func checksumOK(b []byte) bool { return le.Uint32(b[4:]) == checksumOf(b) }

// readFull fills b from r at off. A file that ends before is io.ErrUnexpectedEOF.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// roundUp returns n rounded up to a multiple of unit.
func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// isZero reports whether b holds zeros only.
func isZero(b []byte) bool {
	for len(b) >= len(zeros) {
		if string(b[:len(zeros)]) != zeros {
			return false
		}
		b = b[len(zeros):]
	}
	return string(b) == zeros[:len(b)]
}

// zeros is compared against: as a string it cannot be written to.
var zeros = string(make([]byte, 16*kib))
