package regf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"troy/internal/block"
)

// ErrNotFound is returned by Reader.Value when the hive has no such key or value.
var ErrNotFound = errors.New("regf: no such key or value")

// Reader looks values and keys up in a hive of any size and reads no more than lies on the way: for
// the hives of a Windows, which Parse is not for. A hive that is damaged elsewhere is read all the
// same.
type Reader struct {
	r    io.ReaderAt
	base *base
}

// Bounds of what is read at once, in bytes.
const (
	maxCell = 1 << 20
	// minKey is the shortest cell of a key.
	minKey = 0x50
	// segment is how much of a long value one cell holds.
	segment = bigData
)

// NewReader reads the start of the hive in r, a file of size bytes. The error wraps ErrCorrupt or
// ErrUnsupported, or is that of reading.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	b := make([]byte, min(size, baseSize))
	if err := block.ReadFull(r, b, 0); err != nil {
		return nil, err
	}
	parsed, err := parseBase(b, size)
	if err != nil {
		return nil, err
	}
	return &Reader{r, parsed}, nil
}

// Load is NewReader for a hive of which much will be looked up: one of up to whole bytes is read at
// once, which spares many short reads of the disk.
func Load(r io.ReaderAt, size, whole int64) (*Reader, error) {
	if size <= whole {
		b, err := io.ReadAll(io.NewSectionReader(r, 0, size))
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(b)
	}
	return NewReader(r, size)
}

// Dirty tells that the last write of the hive did not end: its logs hold newer values.
func (h *Reader) Dirty() bool { return h.base.hive.Dirty }

// Value returns the value of that name in the key at a path such as `Setup` or
// `Select\Current` (case does not matter), or ErrNotFound.
func (h *Reader) Value(path, name string) (*Value, error) {
	off, c, v, err := h.vk(path, name)
	if err == nil {
		err = h.content(v, off, c)
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

// vk returns a value without its data, and the cell that it is in.
func (h *Reader) vk(path, name string) (off uint32, c []byte, v *Value, err error) {
	off, err = h.find(path)
	if err != nil {
		return 0, nil, nil, err
	}
	key, err := h.key(off)
	if err != nil {
		return 0, nil, nil, err
	}
	le := binary.LittleEndian
	count := int64(le.Uint32(key[0x24:]))
	if count > 0 {
		list, err := h.cell(le.Uint32(key[0x28:]), "value list", int(min(4*count, maxCell+1)))
		if err != nil {
			return 0, nil, nil, err
		}
		for i := range count {
			off := le.Uint32(list[4*i:])
			c, v, err := h.named(off, name)
			if v != nil || err != nil {
				return off, c, v, err
			}
		}
	}
	return 0, nil, nil, fmt.Errorf("%w: value %s of %s", ErrNotFound, name, path)
}

// Keys returns the names of the subkeys of the key at a path, in the order of the hive, or
// ErrNotFound.
func (h *Reader) Keys(path string) ([]string, error) {
	off, err := h.find(path)
	if err != nil {
		return nil, err
	}
	var names []string
	_, err = h.each(off, func(name string) bool {
		names = append(names, name)
		return false
	})
	if err != nil {
		return nil, err
	}
	return names, nil
}

// find returns where the key at a path lies.
func (h *Reader) find(path string) (uint32, error) {
	off := h.base.root
	for part := range strings.SplitSeq(path, `\`) {
		next, err := h.each(off, func(name string) bool { return strings.EqualFold(name, part) })
		if err != nil {
			return none, err
		}
		if next == none {
			return none, fmt.Errorf("%w: %s of %s", ErrNotFound, part, path)
		}
		off = next
	}
	return off, nil
}

// cell reads the content of a cell in use, at least min bytes of it.
func (h *Reader) cell(off uint32, what string, min int) ([]byte, error) {
	if int64(off) > h.base.bins-8 || off%8 != 0 {
		return nil, corrupt(what, fileOffset(off), "no cell can be here")
	}
	head := make([]byte, 4)
	if err := block.ReadFull(h.r, head, fileOffset(off)); err != nil {
		return nil, err
	}
	size := -int64(int32(binary.LittleEndian.Uint32(head)))
	switch {
	case size < 8 || size%8 != 0 || size > h.base.bins-int64(off):
		return nil, corrupt(what, fileOffset(off), "no cell in use begins here")
	case size-4 < int64(min):
		return nil, corrupt(what, fileOffset(off), "cell of %d bytes, need %d", size-4, min)
	case size > maxCell:
		return nil, unsupported("%s at byte %#x: a cell of %d bytes", what, fileOffset(off), size)
	}
	b := make([]byte, size-4)
	return b, block.ReadFull(h.r, b, fileOffset(off)+4)
}

func (h *Reader) key(off uint32) ([]byte, error) {
	c, err := h.cell(off, "nk", 0x4c)
	if err == nil && string(c[:2]) != "nk" {
		err = corrupt("nk", fileOffset(off), "signature %q", c[:2])
	}
	return c, err
}

// each calls visit for each subkey of the key at off, until it returns true, and returns where that
// subkey lies; none: for no subkey.
func (h *Reader) each(off uint32, visit func(name string) bool) (uint32, error) {
	le := binary.LittleEndian
	key, err := h.key(off)
	if err != nil || le.Uint32(key[0x14:]) == 0 {
		return none, err
	}
	// No hive has more keys than fit, so that lists which share their parts end as well.
	w := &walk{h, visit, h.base.bins / minKey}
	return w.list(le.Uint32(key[0x1c:]), true)
}

// walk goes through the subkeys of a key.
type walk struct {
	h     *Reader
	visit func(name string) bool
	left  int64 // keys
}

// list goes through an lf, lh, li or, one level deep, ri list.
func (w *walk) list(off uint32, nested bool) (uint32, error) {
	c, err := w.h.cell(off, "subkey list", 4)
	if err != nil {
		return none, err
	}
	kind, count := string(c[:2]), int(binary.LittleEndian.Uint16(c[2:]))
	stride := map[string]int{"lf": 8, "lh": 8, "li": 4, "ri": 4}[kind]
	if stride == 0 || kind == "ri" && !nested || 4+count*stride > len(c) {
		return none, corrupt("subkey list", fileOffset(off), "signature %q, %d entries in a cell of %d bytes", kind, count, len(c))
	}
	for i := range count {
		if w.left--; w.left < 0 {
			return none, corrupt("subkey list", fileOffset(off), "more keys than the hive can hold")
		}
		entry := binary.LittleEndian.Uint32(c[4+i*stride:])
		if kind == "ri" {
			if found, err := w.list(entry, false); found != none || err != nil {
				return found, err
			}
			continue
		}
		name, err := w.h.nameOf(entry)
		if err != nil {
			return none, err
		}
		if w.visit(name) {
			return entry, nil
		}
	}
	return none, nil
}

// nameOf returns the name of the key at off.
func (h *Reader) nameOf(off uint32) (string, error) {
	c, err := h.key(off)
	if err != nil {
		return "", err
	}
	le := binary.LittleEndian
	return name(c, 0x4c, le.Uint16(c[0x48:]), le.Uint16(c[2:])&flagLatin1 != 0, "nk", off)
}

// named returns the value at off without its data, and its cell, if it has that name, else nil.
func (h *Reader) named(off uint32, want string) ([]byte, *Value, error) {
	c, err := h.cell(off, "vk", 0x14)
	if err != nil {
		return nil, nil, err
	}
	if string(c[:2]) != "vk" {
		return nil, nil, corrupt("vk", fileOffset(off), "signature %q", c[:2])
	}
	v, err := head(c, off)
	if err != nil || !strings.EqualFold(v.Name, want) {
		return nil, nil, err
	}
	return c, v, nil
}

// content reads the data of the value in the cell c at off.
func (h *Reader) content(v *Value, off uint32, c []byte) error {
	n, at, err := v.inside(c, off)
	switch {
	case err != nil:
	case n > bigData && h.base.minor >= 4:
		v.Data, err = h.split(at, int64(n))
	case n > 0:
		if v.Data, err = h.cell(at, "value data", int(min(n, maxCell+1))); err == nil {
			v.Data = v.Data[:n]
		}
	}
	return err
}

// split reads data of n bytes that lies in several cells.
func (h *Reader) split(off uint32, n int64) ([]byte, error) {
	c, err := h.cell(off, "db", 8)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	count := int64(le.Uint16(c[2:]))
	if string(c[:2]) != "db" || count != (n+segment-1)/segment {
		return nil, corrupt("db", fileOffset(off), "signature %q, %d parts of %d bytes of data", c[:2], count, n)
	}
	list, err := h.cell(le.Uint32(c[4:]), "db list", int(4*count))
	if err != nil {
		return nil, err
	}
	var data []byte
	for i := range count {
		size := min(segment, n-int64(len(data)))
		part, err := h.cell(le.Uint32(list[4*i:]), "db data", int(size))
		if err != nil {
			return nil, err
		}
		data = append(data, part[:size]...)
	}
	return data, nil
}
