// Package vhdfile writes VHD files, the format before VHDX, as Windows does: fixed ones, and
// differencing ones, which qemu-img cannot make.
package vhdfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"unicode/utf16"
)

// The format (Virtual Hard Disk Image Format Specification 1.0), all big-endian but the paths.
const (
	sector    = 512
	blockSize = 2 << 20
	fixed     = 2
	child     = 4
)

// ID is the identity of the VHD at a path: all that write and read one agree on it.
func ID(path string) [16]byte {
	h := sha256.Sum256([]byte(filepath.Base(path)))
	return [16]byte(h[:])
}

func footer(kind uint32, size int64, id [16]byte) []byte {
	be := binary.BigEndian
	b := make([]byte, sector)
	copy(b, "conectix")
	be.PutUint32(b[8:], 2)
	be.PutUint32(b[12:], 0x10000)
	be.PutUint64(b[16:], 1<<64-1)
	if kind != fixed {
		be.PutUint64(b[16:], sector)
	}
	copy(b[28:], "win ")
	copy(b[36:], "Wi2k")
	be.PutUint64(b[40:], uint64(size))
	be.PutUint64(b[48:], uint64(size))
	be.PutUint32(b[60:], kind)
	copy(b[68:], id[:])
	be.PutUint32(b[64:], sum(b))
	return b
}

func sum(b []byte) (n uint32) {
	for _, c := range b {
		n += uint32(c)
	}
	return ^n
}

// WriteFixed writes a fixed VHD.
func WriteFixed(path string, content []byte) error {
	return os.WriteFile(path, append(bytes.Clone(content), footer(fixed, int64(len(content)), ID(path))...), 0o644)
}

// WriteChild writes a differencing VHD that turns the content of its parent, a VHD in the same
// folder, into content.
func WriteChild(path string, content, below []byte, parent string) error {
	if filepath.Dir(path) != filepath.Dir(parent) {
		return fmt.Errorf("%s is not in the folder of %s", parent, path)
	}
	return os.WriteFile(path, Child(ID(path), content, below, ID(parent), filepath.Base(parent)), 0o644)
}

// Child makes a differencing VHD of a parent of that identity, which it calls name.
func Child(id [16]byte, content, below []byte, parent [16]byte, name string) []byte {
	be := binary.BigEndian
	blocks := (len(content) + blockSize - 1) / blockSize
	table := make([]byte, (4*blocks+sector-1)/sector*sector)
	for i := range table {
		table[i] = 0xff
	}
	relative := encode(`.\`+name, binary.LittleEndian)
	at := sector + 1024
	locator := at + len(table)
	data := locator + sector
	var body []byte
	for i := range blocks {
		lo, hi := i*blockSize, min((i+1)*blockSize, len(content))
		if bytes.Equal(content[lo:hi], below[lo:hi]) {
			continue
		}
		be.PutUint32(table[4*i:], uint32((data+len(body))/sector))
		body = append(body, difference(content[lo:hi], below[lo:hi])...)
	}
	foot := footer(child, int64(len(content)), id)
	out := append(bytes.Clone(foot), dynamic(blocks, at, parent, name, locator, len(relative))...)
	out = append(append(out, table...), make([]byte, sector)...)
	copy(out[locator:], relative)
	return append(append(out, body...), foot...)
}

// difference is a block: a bitmap of the sectors that differ, highest bit first, then all sectors,
// of which those of the parent hold what nobody may read.
func difference(content, below []byte) []byte {
	bitmap := make([]byte, sector)
	data := bytes.Repeat([]byte{0xee}, blockSize)
	for s := 0; s < len(content)/sector; s++ {
		lo, hi := s*sector, (s+1)*sector
		if !bytes.Equal(content[lo:hi], below[lo:hi]) {
			bitmap[s/8] |= 0x80 >> (s % 8)
			copy(data[lo:], content[lo:hi])
		}
	}
	return append(bitmap, data...)
}

func dynamic(blocks, table int, parent [16]byte, name string, locator, length int) []byte {
	be := binary.BigEndian
	b := make([]byte, 1024)
	copy(b, "cxsparse")
	be.PutUint64(b[8:], 1<<64-1)
	be.PutUint64(b[16:], uint64(table))
	be.PutUint32(b[24:], 0x10000)
	be.PutUint32(b[28:], uint32(blocks))
	be.PutUint32(b[32:], blockSize)
	copy(b[40:], parent[:])
	copy(b[64:576], encode(name, be))
	copy(b[576:], "W2ru")
	be.PutUint32(b[580:], sector)
	be.PutUint32(b[584:], uint32(length))
	be.PutUint64(b[592:], uint64(locator))
	be.PutUint32(b[36:], sum(b))
	return b
}

func encode(s string, order binary.AppendByteOrder) (b []byte) {
	for _, u := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, u)
	}
	return b
}
