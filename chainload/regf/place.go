package regf

import (
	"encoding/binary"

	"troy/internal/block"
)

// Place is a value and where it stands in the file of its hive, for overwriting it there: that needs
// no other change, because the checksum of a hive covers its base block only.
type Place struct {
	Value
	// At is the first byte of the data, Room how many bytes can stand there.
	At, Room int64
	// SizeAt is where the length of the data is kept, four bytes. It is 0 for data inside the cell of
	// the value itself, up to four bytes: their length stays.
	SizeAt int64
}

// Parts of a vk cell, counted from the start of the cell.
const (
	cellHead = 4 // the size of the cell
	vkSize   = cellHead + 4
	vkData   = cellHead + 8
)

// Place finds the value of that name in the key at a path as Value does, and where it stands. The
// cells that would be written have to be cells of their bin: a hive in which one reaches into
// another is ErrCorrupt. Data that is split into several cells is ErrUnsupported.
func (h *Reader) Place(path, name string) (*Place, error) {
	off, c, v, err := h.vk(path, name)
	if err != nil {
		return nil, err
	}
	if err := h.bounded(off, "vk"); err != nil {
		return nil, err
	}
	n, data, err := v.inside(c, off)
	if err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(c[4:])&inline != 0 {
		return &Place{Value: *v, At: fileOffset(off) + vkData, Room: int64(len(v.Data))}, nil
	}
	if n > bigData && h.base.minor >= 4 {
		return nil, unsupported("value %q at byte %#x: data of %d bytes is split", v.Name, fileOffset(off), n)
	}
	p := &Place{SizeAt: fileOffset(off) + vkSize}
	if n > 0 {
		cell, err := h.cell(data, "value data", int(min(n, maxCell+1)))
		if err == nil {
			err = h.bounded(data, "value data")
		}
		if err != nil {
			return nil, err
		}
		v.Data, p.At, p.Room = cell[:n], fileOffset(data)+cellHead, int64(len(cell))
	}
	p.Value = *v
	return p, nil
}

// bounded returns ErrCorrupt unless a cell begins at off when the cells of its bin are counted from
// its start.
func (h *Reader) bounded(off uint32, what string) error {
	at, end, err := h.bin(off)
	if err != nil {
		return err
	}
	b := make([]byte, end-at)
	if err := block.ReadFull(h.r, b, fileOffset(at)); err != nil {
		return err
	}
	for i := int64(binHead); i <= int64(len(b))-cellHead; {
		size := int64(int32(binary.LittleEndian.Uint32(b[i:])))
		if size < 0 {
			size = -size
		}
		if size < 8 || size%8 != 0 || size > int64(len(b))-i {
			break
		}
		if int64(at)+i == int64(off) {
			return nil
		}
		i += size
	}
	return corrupt(what, fileOffset(off), "the cells of its bin do not lead to it")
}

// maxBin bounds the bin of a cell that is written, in bytes.
const maxBin = 16 << 20

// bin returns the first byte of the bin that holds the cell at off, and the byte behind it.
func (h *Reader) bin(off uint32) (at, end uint32, err error) {
	head := make([]byte, binHead)
	for at := int64(off) &^ (binAlign - 1); at >= 0 && int64(off)-at < maxBin; at -= binAlign {
		if err := block.ReadFull(h.r, head, fileOffset(uint32(at))); err != nil {
			return 0, 0, err
		}
		le := binary.LittleEndian
		size := int64(le.Uint32(head[8:]))
		if string(head[:4]) != "hbin" || int64(le.Uint32(head[4:])) != at {
			continue
		}
		if size%binAlign != 0 || size > maxBin || at+size > h.base.bins || int64(off) >= at+size {
			break
		}
		return uint32(at), uint32(at + size), nil
	}
	return 0, 0, corrupt("hbin", fileOffset(off), "no bin holds the cell here")
}
