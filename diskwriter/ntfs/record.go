package ntfs

import (
	"encoding/binary"
	"fmt"
)

// Reference is an MFT reference: 48 bits of record number, 16 of sequence number.
type Reference uint64

// Record returns the MFT record number.
func (r Reference) Record() int64 { return int64(r & (1<<48 - 1)) }

// Sequence returns the sequence number: it changes when the record is used again
// for another file.
func (r Reference) Sequence() uint16 { return uint16(r >> 48) }

// String returns "record-sequence".
func (r Reference) String() string { return fmt.Sprintf("%d-%d", r.Record(), r.Sequence()) }

func makeReference(record int64, seq uint16) Reference {
	return Reference(uint64(record)&(1<<48-1) | uint64(seq)<<48)
}

const (
	attrStandard   = 0x10
	attrList       = 0x20
	attrFileName   = 0x30
	attrSecurity   = 0x50
	attrVolumeInfo = 0x70
	attrData       = 0x80
	attrIndexRoot  = 0x90
	attrIndexAlloc = 0xa0
	attrReparse    = 0xc0
	attrEnd        = 0xffffffff

	flagCompressed = 0x00ff
	flagEncrypted  = 0x4000
	flagSparse     = 0x8000

	recordInUse     = 1
	recordDirectory = 2
)

// record is one checked MFT record; value slices point into its own copy.
type record struct {
	ref   Reference
	base  Reference // 0 in a base record
	flags uint16
	links uint16
	attrs []attribute
}

// attribute is one attribute header; for a non-resident one of several segments
// only the first (lowVCN 0) carries sizes.
type attribute struct {
	typ      uint32
	id       uint16
	flags    uint16
	name     string
	holder   Reference // record that it lies in
	offset   int       // of its header in that record
	length   int
	resident bool
	value    []byte // resident

	lowVCN, highVCN              int64
	allocated, size, initialized int64
	pairs                        []byte // mapping pairs up to the attribute's end
}

// unprotect checks the update sequence array of a multi-sector structure and puts
// the real bytes back, in place (NTFS calls these fixups).
func unprotect(b []byte, magic, what string) error {
	if len(b) < blockSize || len(b)%blockSize != 0 {
		return corrupt(what, 0, "%d bytes", len(b))
	}
	if string(b[:4]) != magic {
		return corrupt(what, 0, "magic %q instead of %q", b[:4], magic)
	}
	le := binary.LittleEndian
	off, n := int(le.Uint16(b[4:])), int(le.Uint16(b[6:]))
	if n != len(b)/blockSize+1 || off%2 != 0 || off < 0x18 || off+2*n > blockSize-2 {
		return corrupt(what, 4, "update sequence of %d at %#x", n, off)
	}
	for i := 1; i < n; i++ {
		tail := b[i*blockSize-2:][:2]
		if tail[0] != b[off] || tail[1] != b[off+1] {
			return corrupt(what, i*blockSize-2, "torn: update sequence numbers differ")
		}
		copy(tail, b[off+2*i:][:2])
	}
	return nil
}

// protect is the reverse of unprotect for a structure that it accepted; the
// sequence number steps on and is never zero.
func protect(b []byte) {
	le := binary.LittleEndian
	off, n := int(le.Uint16(b[4:])), int(le.Uint16(b[6:]))
	usn := le.Uint16(b[off:]) + 1
	if usn == 0 || usn == 0xffff {
		usn = 1
	}
	le.PutUint16(b[off:], usn)
	for i := 1; i < n; i++ {
		tail := b[i*blockSize-2:][:2]
		copy(b[off+2*i:][:2], tail)
		le.PutUint16(tail, usn)
	}
}

// parseRecord checks the MFT record number n in b (which it changes).
func parseRecord(b []byte, n int64) (*record, error) {
	what := fmt.Sprintf("MFT record %d", n)
	if err := unprotect(b, "FILE", what); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	first, used := int(le.Uint16(b[0x14:])), le.Uint32(b[0x18:])
	if used > uint32(len(b)) || le.Uint32(b[0x1c:]) != uint32(len(b)) {
		return nil, corrupt(what, 0x18, "%d of %d bytes used", used, le.Uint32(b[0x1c:]))
	}
	if first%8 != 0 || first < 0x2a || first+4 > int(used) {
		return nil, corrupt(what, 0x14, "attributes at %#x", first)
	}
	if le.Uint16(b[4:]) >= 0x30 && int64(le.Uint32(b[0x2c:])) != n&0xffffffff {
		return nil, corrupt(what, 0x2c, "says it is record %d", le.Uint32(b[0x2c:]))
	}
	r := &record{ref: makeReference(n, le.Uint16(b[0x10:])), links: le.Uint16(b[0x12:]),
		flags: le.Uint16(b[0x16:]), base: Reference(le.Uint64(b[0x20:]))}
	for off := first; ; {
		if off+4 > int(used) {
			return nil, corrupt(what, off, "attributes have no end")
		}
		if le.Uint32(b[off:]) == attrEnd {
			return r, nil
		}
		a, err := parseAttribute(b[:used], off, what)
		if err != nil {
			return nil, err
		}
		a.holder = r.ref
		r.attrs = append(r.attrs, a)
		off += a.length
	}
}

func parseAttribute(rec []byte, off int, what string) (attribute, error) {
	le := binary.LittleEndian
	bad := func(at int, format string, v ...any) (attribute, error) {
		return attribute{}, corrupt(what, off+at, "attribute: "+format, v...)
	}
	if off+0x18 > len(rec) {
		return bad(0, "cut off")
	}
	length := le.Uint32(rec[off+4:])
	if length < 0x18 || length%8 != 0 || length > uint32(len(rec)-off) {
		return bad(4, "length %d", length)
	}
	b := rec[off : off+int(length)]
	a := attribute{typ: le.Uint32(b), length: len(b), offset: off, resident: b[8] == 0,
		flags: le.Uint16(b[0x0c:]), id: le.Uint16(b[0x0e:])}
	nameOff, nameLen := int(le.Uint16(b[0x0a:])), int(b[9])
	if nameLen > 0 {
		if nameOff < 0x18 || nameOff+2*nameLen > len(b) {
			return bad(9, "name of %d at %#x", nameLen, nameOff)
		}
		a.name = utf16String(b[nameOff:][:2*nameLen])
	}
	if b[8] > 1 {
		return bad(8, "form %d", b[8])
	}
	if a.resident {
		vlen, voff := le.Uint32(b[0x10:]), uint32(le.Uint16(b[0x14:]))
		if voff > length || vlen > length-voff {
			return bad(0x10, "value of %d at %#x", vlen, voff)
		}
		a.value = b[voff:][:vlen:vlen]
		return a, nil
	}
	return a, a.parseNonResident(b, what)
}

func (a *attribute) parseNonResident(b []byte, what string) error {
	if len(b) < 0x40 {
		return corrupt(what, a.offset, "attribute: %d bytes for a non-resident header", len(b))
	}
	le := binary.LittleEndian
	a.lowVCN, a.highVCN = int64(le.Uint64(b[0x10:])), int64(le.Uint64(b[0x18:]))
	pairs := int(le.Uint16(b[0x20:]))
	if pairs < 0x40 || pairs > len(b) {
		return corrupt(what, a.offset+0x20, "attribute: mapping pairs at %#x", pairs)
	}
	a.pairs = b[pairs:]
	if a.lowVCN < 0 || a.highVCN < a.lowVCN-1 {
		return corrupt(what, a.offset+0x10, "attribute: VCNs %d to %d", a.lowVCN, a.highVCN)
	}
	if a.lowVCN > 0 {
		return nil
	}
	a.allocated, a.size = int64(le.Uint64(b[0x28:])), int64(le.Uint64(b[0x30:]))
	a.initialized = int64(le.Uint64(b[0x38:]))
	if a.size < 0 || a.allocated < a.size || a.initialized < 0 || a.initialized > a.size {
		return corrupt(what, a.offset+0x28, "attribute: sizes %d, %d, %d", a.allocated, a.size, a.initialized)
	}
	return nil
}
