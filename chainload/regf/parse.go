package regf

import (
	"encoding/binary"
	"strings"
	"troy/internal/utf16le"
)

const (
	baseSize = 4096
	binAlign = 4096
	binHead  = 32
	none     = 0xffffffff // offset that says "no cell"

	flagVolatile = 0x01
	flagRoot     = 0x04
	flagNoDelete = 0x08
	flagLatin1   = 0x20 // name is stored one byte per character

	vkLatin1 = 0x01
	inline   = 0x80000000 // data size: data stands in the offset field

	bigData = 16344 // from 1.4 on longer data is split
)

// Parse reads a hive from its bytes, which must not change while the result is
// in use. The error wraps ErrCorrupt (as *FormatError) or ErrUnsupported. A
// hive with Dirty set was parsed as it stands, without its logs.
func Parse(b []byte) (*Hive, error) {
	p := &parser{file: b, owned: map[uint32]bool{}}
	h, rootCell, err := p.base()
	if err != nil {
		return nil, err
	}
	if err := p.walkBins(); err != nil {
		return nil, err
	}
	h.Root, err = p.key(rootCell, none, 0)
	if err != nil {
		return nil, err
	}
	return h, nil
}

type parser struct {
	file  []byte
	bins  []byte            // the hive bins
	minor uint32            // of the version
	cells map[uint32]uint32 // used cells: offset to size with header
	owned map[uint32]bool   // cells that have their one owner
}

// base checks the base block, and that the hive bins are there.
func (p *parser) base() (*Hive, uint32, error) {
	if len(p.file) > MaxSize {
		return nil, 0, unsupported("hive of %d bytes, the limit is %d", len(p.file), MaxSize)
	}
	b, err := parseBase(p.file, int64(len(p.file)))
	if err != nil {
		return nil, 0, err
	}
	p.bins, p.minor = p.file[baseSize:baseSize+b.bins], b.minor
	return &b.hive, b.root, nil
}

// base is what the base block says.
type base struct {
	hive  Hive // without its tree
	root  uint32
	bins  int64 // bytes of the hive bins
	minor uint32
}

// parseBase checks the base block at the start of b, of a file of size bytes (offsets: "regf" 0,
// sequences 4 and 8, time 12, version 20, type 28, format 32, root 36, length 40, name 48, checksum
// 508).
func parseBase(b []byte, size int64) (*base, error) {
	le := binary.LittleEndian
	switch {
	case size < baseSize+binAlign || len(b) < 512:
		return nil, corrupt("base block", 0, "file of %d bytes is shorter than the shortest hive", size)
	case string(b[:4]) != "regf":
		return nil, corrupt("base block", 0, "signature %q, want \"regf\"", b[:4])
	case le.Uint32(b[508:]) != checksum(b):
		return nil, corrupt("base block", 508, "checksum %08x, want %08x", le.Uint32(b[508:]), checksum(b))
	case le.Uint32(b[20:]) != 1 || le.Uint32(b[24:]) < 3 || le.Uint32(b[24:]) > 6:
		return nil, unsupported("version %d.%d, want 1.3 to 1.6", le.Uint32(b[20:]), le.Uint32(b[24:]))
	case le.Uint32(b[28:]) != 0 || le.Uint32(b[32:]) != 1:
		return nil, unsupported("file type %d, format %d", le.Uint32(b[28:]), le.Uint32(b[32:]))
	}
	length := int64(le.Uint32(b[40:]))
	if length == 0 || length%binAlign != 0 || length > size-baseSize {
		return nil, corrupt("base block", 40, "hive bins of %d bytes in a file of %d", length, size)
	}
	name, _, _ := strings.Cut(utf16le.String(b[48:112]), "\x00")
	return &base{
		hive: Hive{FileName: name, Sequence: le.Uint32(b[8:]), Dirty: le.Uint32(b[4:]) != le.Uint32(b[8:]), Time: le.Uint64(b[12:])},
		root: le.Uint32(b[36:]), bins: length, minor: le.Uint32(b[24:]),
	}, nil
}

// walkBins checks that bins and cells cover the data without gaps, and notes
// the cells in use, so that a reference into the middle of one is refused.
func (p *parser) walkBins() error {
	p.cells = map[uint32]uint32{}
	le := binary.LittleEndian
	for off := 0; off < len(p.bins); {
		h := p.bins[off:]
		size := int64(le.Uint32(h[8:]))
		switch {
		case string(h[:4]) != "hbin":
			return corrupt("hbin", int64(baseSize+off), "signature %q", h[:4])
		case le.Uint32(h[4:]) != uint32(off):
			return corrupt("hbin", int64(baseSize+off), "says it stands at %#x, stands at %#x", le.Uint32(h[4:]), off)
		case size == 0 || size%binAlign != 0 || size > int64(len(h)):
			return corrupt("hbin", int64(baseSize+off), "size %#x with %#x bytes left", size, len(h))
		}
		if err := p.walkCells(off+binHead, off+int(size)); err != nil {
			return err
		}
		off += int(size)
	}
	return nil
}

func (p *parser) walkCells(off, end int) error {
	for off < end {
		size := int64(int32(binary.LittleEndian.Uint32(p.bins[off:])))
		used := size < 0
		if used {
			size = -size
		}
		if size < 8 || size%8 != 0 || size > int64(end-off) {
			return corrupt("cell", int64(baseSize+off), "size %d with %d bytes left in its bin", size, end-off)
		}
		if used {
			p.cells[uint32(off)] = uint32(size)
		}
		off += int(size)
	}
	return nil
}

// cell returns the content of a cell in use of at least min bytes.
func (p *parser) cell(off uint32, what string, min int) ([]byte, error) {
	size, ok := p.cells[off]
	if !ok {
		return nil, corrupt(what, fileOffset(off), "no cell in use begins here")
	}
	c := p.bins[off+4 : off+size]
	if len(c) < min {
		return nil, corrupt(what, fileOffset(off), "cell of %d bytes, need %d", len(c), min)
	}
	return c, nil
}

// own is cell for keys and values, which have one owner only.
func (p *parser) own(off uint32, what string, min int) ([]byte, error) {
	c, err := p.cell(off, what, min)
	if err != nil {
		return nil, err
	}
	if string(c[:2]) != what {
		return nil, corrupt(what, fileOffset(off), "signature %q", c[:2])
	}
	if p.owned[off] {
		return nil, corrupt(what, fileOffset(off), "belongs to two owners")
	}
	p.owned[off] = true
	return c, nil
}

func fileOffset(cell uint32) int64 { return baseSize + int64(cell) }

// key reads an nk cell and all below it.
func (p *parser) key(off, parent uint32, depth int) (*Key, error) {
	c, err := p.own(off, "nk", 0x4c)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	k := &Key{Flags: le.Uint16(c[2:]), Time: le.Uint64(c[4:])}
	switch {
	case depth > maxDepth:
		return nil, corrupt("nk", fileOffset(off), "keys nest deeper than %d", maxDepth)
	case depth == 0 && k.Flags&flagRoot == 0:
		return nil, corrupt("nk", fileOffset(off), "root key without the root flag (flags %#x)", k.Flags)
	case depth > 0 && le.Uint32(c[0x10:]) != parent:
		return nil, corrupt("nk", fileOffset(off), "names parent %#x, is listed by %#x", le.Uint32(c[0x10:]), parent)
	case k.Flags&flagVolatile != 0: // the count of volatile subkeys at 0x18 means nothing in a file
		return nil, unsupported("volatile key at byte %#x", fileOffset(off))
	}
	if k.Name, err = name(c, 0x4c, le.Uint16(c[0x48:]), k.Flags&flagLatin1 != 0, "nk", off); err != nil {
		return nil, err
	}
	if err := p.keyExtras(k, c); err != nil {
		return nil, err
	}
	if k.Values, err = p.values(le.Uint32(c[0x28:]), le.Uint32(c[0x24:])); err != nil {
		return nil, err
	}
	return k, p.subkeys(k, off, le.Uint32(c[0x1c:]), le.Uint32(c[0x14:]), depth)
}

// keyExtras reads class name and security descriptor.
func (p *parser) keyExtras(k *Key, c []byte) error {
	le := binary.LittleEndian
	if off, n := le.Uint32(c[0x30:]), int(le.Uint16(c[0x4a:])); off != none && n > 0 {
		class, err := p.cell(off, "class name", n)
		if err != nil {
			return err
		}
		k.Class = class[:n]
	}
	off := le.Uint32(c[0x2c:])
	if off == none {
		return nil
	}
	sk, err := p.cell(off, "sk", 20)
	if err != nil {
		return err
	}
	n := int64(le.Uint32(sk[16:]))
	if string(sk[:2]) != "sk" || n > int64(len(sk)-20) {
		return corrupt("sk", fileOffset(off), "signature %q, descriptor of %d bytes in a cell of %d", sk[:2], n, len(sk))
	}
	k.Security = sk[20 : 20+n]
	return nil
}

func name(c []byte, at int, n uint16, latin1 bool, what string, off uint32) (string, error) {
	if at+int(n) > len(c) {
		return "", corrupt(what, fileOffset(off), "name of %d bytes does not fit its cell", n)
	}
	raw := c[at : at+int(n)]
	if latin1 {
		runes := make([]rune, len(raw))
		for i, b := range raw {
			runes[i] = rune(b)
		}
		return string(runes), nil
	}
	if n%2 != 0 {
		return "", corrupt(what, fileOffset(off), "name of %d bytes is not UTF-16", n)
	}
	return utf16le.String(raw), nil
}

func (p *parser) values(list, count uint32) ([]*Value, error) {
	if count == 0 {
		return nil, nil
	}
	c, err := p.cell(list, "value list", 4)
	if err != nil {
		return nil, err
	}
	if int64(count)*4 > int64(len(c)) {
		return nil, corrupt("value list", fileOffset(list), "%d values in a cell of %d bytes", count, len(c))
	}
	out := make([]*Value, count)
	for i := range out {
		if out[i], err = p.value(binary.LittleEndian.Uint32(c[4*i:])); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// value reads a vk cell.
func (p *parser) value(off uint32) (*Value, error) {
	c, err := p.own(off, "vk", 0x14)
	if err != nil {
		return nil, err
	}
	v, err := head(c, off)
	if err != nil {
		return nil, err
	}
	n, at, err := v.inside(c, off)
	switch {
	case err != nil:
		return nil, err
	case n == 0:
		return v, nil
	case n > bigData && p.minor >= 4:
		return nil, unsupported("value %q at byte %#x: data of %d bytes is split", v.Name, fileOffset(off), n)
	}
	d, err := p.cell(at, "value data", 4)
	if err != nil {
		return nil, err
	}
	if int64(n) > int64(len(d)) {
		return nil, corrupt("value data", fileOffset(at), "%d bytes in a cell of %d", n, len(d))
	}
	v.Data = d[:n]
	return v, nil
}

// head reads the type and the name of a vk cell.
func head(c []byte, off uint32) (v *Value, err error) {
	le := binary.LittleEndian
	v = &Value{Type: Type(le.Uint32(c[12:]))}
	v.Name, err = name(c, 0x14, le.Uint16(c[2:]), le.Uint16(c[16:])&vkLatin1 != 0, "vk", off)
	return v, err
}

// inside takes the data that a vk cell holds itself. Data that it does not hold has n bytes and
// lies in the cell at.
func (v *Value) inside(c []byte, off uint32) (n, at uint32, err error) {
	le := binary.LittleEndian
	switch n = le.Uint32(c[4:]); {
	case n&inline == 0:
		return n, le.Uint32(c[8:]), nil
	case n&^inline > 4:
		return 0, 0, corrupt("vk", fileOffset(off), "%d bytes of data inside the cell, at most 4 fit", n&^inline)
	}
	v.Data = c[8 : 8+n&^inline]
	return 0, 0, nil
}
