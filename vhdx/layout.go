package vhdx

import (
	"encoding/binary"
	"hash/crc32"
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
