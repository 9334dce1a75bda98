package bcd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"troy/chainload/internal/utf16z"
)

// decodeWhole reads a descriptor that fills b.
func decodeWhole(b []byte, depth int) (device, error) {
	d, n, err := decodePrefix(b, depth)
	if err == nil && n != len(b) {
		return nil, fmt.Errorf("%w: device of %d bytes in a place of %d", ErrCorrupt, n, len(b))
	}
	return d, err
}

// decodePrefix reads the descriptor at the start of b and returns its size.
// What it understands it can write again byte for byte; all else is an opaqueDevice.
func decodePrefix(b []byte, depth int) (device, int, error) {
	if len(b) < headSize {
		return nil, 0, fmt.Errorf("%w: device header needs %d bytes, %d are left", ErrCorrupt, headSize, len(b))
	}
	size := int64(binary.LittleEndian.Uint32(b[8:]))
	switch {
	case size < headSize || size > int64(len(b)):
		return nil, 0, fmt.Errorf("%w: device says %d bytes, %d are left", ErrCorrupt, size, len(b))
	case depth > maxDeviceNest:
		return nil, 0, fmt.Errorf("%w: devices nest deeper than %d", ErrCorrupt, maxDeviceNest)
	}
	b = b[:size]
	d, err := decodeBody(binary.LittleEndian.Uint32(b), b[headSize:], depth)
	if err != nil {
		return nil, 0, err
	}
	if d == nil || !bytes.Equal(d.appendTo(nil), b) {
		d = opaqueDevice{Raw: slices.Clone(b)}
	}
	return d, int(size), nil
}

// decodeBody returns nil for what it does not know.
func decodeBody(kind uint32, body []byte, depth int) (device, error) {
	switch kind {
	case typeBoot:
		return bootDevice{}, nil
	case typePartition:
		return decodePartition(body, depth)
	case typeLocate:
		return decodeLocate(body, depth)
	case typeDisk:
		return decodeDisk(body, depth)
	}
	return nil, nil
}

func decodePartition(body []byte, depth int) (device, error) {
	if len(body) < 40 {
		return nil, fmt.Errorf("%w: partition of %d bytes", ErrCorrupt, len(body))
	}
	p := partitionDevice{
		ID:    GUID(body[:16]),
		Table: partitionTable(binary.LittleEndian.Uint32(body[20:])),
		Disk:  GUID(body[24:40]),
	}
	switch binary.LittleEndian.Uint32(body[16:]) {
	case localHardDisk:
		return p, nil
	case localVirtual:
		var err error
		p.On, err = decodeWhole(body[40:], depth+1)
		return p, err
	}
	return nil, nil
}

func decodeLocate(body []byte, depth int) (device, error) {
	if len(body) < 14 {
		return nil, fmt.Errorf("%w: locate of %d bytes", ErrCorrupt, len(body))
	}
	l := locateDevice{Element: elementType(binary.LittleEndian.Uint32(body[4:]))}
	path, n, ok := utf16z.Cut(body[12:])
	if !ok {
		return nil, fmt.Errorf("%w: path of locate has no end", ErrCorrupt)
	}
	l.Path = path
	if binary.LittleEndian.Uint32(body[8:]) == 0 {
		return l, nil
	}
	var err error
	l.Parent, err = decodeWhole(body[12+n:], depth+1)
	return l, err
}

func decodeDisk(body []byte, depth int) (device, error) {
	if len(body) < 4 {
		return nil, fmt.Errorf("%w: disk of %d bytes", ErrCorrupt, len(body))
	}
	switch kind := binary.LittleEndian.Uint32(body); {
	case kind == localVirtual && len(body) >= 24:
		parent, err := decodeWhole(body[24:], depth+1)
		return virtualDisk{Parent: parent}, err
	case kind == localFile && len(body) >= 16:
		return decodeFile(body[4:], depth)
	}
	return nil, nil
}

func decodeFile(path []byte, depth int) (device, error) {
	if binary.LittleEndian.Uint32(path) != pathVersion || binary.LittleEndian.Uint32(path[8:]) != pathDevice {
		return nil, nil
	}
	on, n, err := decodePrefix(path[12:], depth+1)
	if err != nil {
		return nil, err
	}
	name, _, ok := utf16z.Cut(path[12+n:])
	if !ok {
		return nil, fmt.Errorf("%w: name of file has no end", ErrCorrupt)
	}
	return fileDevice{On: on, Path: name}, nil
}
