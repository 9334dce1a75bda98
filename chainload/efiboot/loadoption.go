package efiboot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"troy/chainload/internal/utf16z"
	"troy/internal/guid"
)

// GUID is a GUID in its on-disk byte order.
type GUID = guid.GUID

// ErrCorrupt is the class of variables that break their format.
var ErrCorrupt = errors.New("efiboot: corrupt EFI variable")

// Active is the attribute of a load option that the firmware may start
// (LOAD_OPTION_ACTIVE).
const Active uint32 = 1

// LoadOption is an EFI_LOAD_OPTION: the content of a Boot#### variable.
type LoadOption struct {
	Attributes   uint32
	Description  string
	Path         []Node // the first device path, without its end node
	Rest         []byte // further device paths of the list, as bytes
	OptionalData []byte
}

// Node is one node of a device path.
type Node struct {
	Type, SubType byte
	Data          []byte // after the four bytes of the header
}

const (
	typeMessaging = 0x03
	subMAC        = 0x0b
	subIPv4       = 0x0c
	subIPv6       = 0x0d
	subURI        = 0x18
	typeMedia     = 0x04
	typeEnd       = 0x7f
	subHardDrive  = 0x01
	subFilePath   = 0x04
	subEndEntire  = 0xff
	nodeHead      = 4
	hardDriveSize = 38
)

// ParseLoadOption reads the content of a Boot#### variable. The error wraps
// ErrCorrupt.
func ParseLoadOption(b []byte) (*LoadOption, error) {
	if len(b) < 6 {
		return nil, fmt.Errorf("%w: load option of %d bytes", ErrCorrupt, len(b))
	}
	o := &LoadOption{Attributes: binary.LittleEndian.Uint32(b)}
	listLen := int(binary.LittleEndian.Uint16(b[4:]))
	description, n, ok := utf16z.Cut(b[6:])
	if !ok {
		return nil, fmt.Errorf("%w: description of a load option has no end", ErrCorrupt)
	}
	o.Description = description
	b = b[6+n:]
	if listLen > len(b) {
		return nil, fmt.Errorf("%w: device path of %d bytes, %d are left", ErrCorrupt, listLen, len(b))
	}
	o.OptionalData = bytes.Clone(b[listLen:])
	var err error
	o.Path, o.Rest, err = parsePath(b[:listLen])
	return o, err
}

// parsePath reads nodes up to the end node and returns what follows it.
func parsePath(b []byte) (nodes []Node, rest []byte, err error) {
	for len(b) >= nodeHead {
		size := int(binary.LittleEndian.Uint16(b[2:]))
		if size < nodeHead || size > len(b) {
			return nil, nil, fmt.Errorf("%w: device path node of %d bytes, %d are left", ErrCorrupt, size, len(b))
		}
		n := Node{Type: b[0], SubType: b[1], Data: bytes.Clone(b[nodeHead:size])}
		b = b[size:]
		if n.Type == typeEnd && n.SubType == subEndEntire {
			return nodes, bytes.Clone(b), nil
		}
		nodes = append(nodes, n)
	}
	return nil, nil, fmt.Errorf("%w: device path has no end node", ErrCorrupt)
}

// Marshal returns the content of the variable. The error wraps ErrCorrupt
// when the device path does not fit its 16-bit length.
func (o *LoadOption) Marshal() ([]byte, error) {
	var path []byte
	for _, n := range o.Path {
		if nodeHead+len(n.Data) > 0xffff {
			return nil, fmt.Errorf("%w: device path node of %d bytes", ErrCorrupt, nodeHead+len(n.Data))
		}
		path = append(path, n.Type, n.SubType)
		path = binary.LittleEndian.AppendUint16(path, uint16(nodeHead+len(n.Data)))
		path = append(path, n.Data...)
	}
	path = append(path, typeEnd, subEndEntire, nodeHead, 0)
	path = append(path, o.Rest...)
	if len(path) > 0xffff {
		return nil, fmt.Errorf("%w: device path of %d bytes", ErrCorrupt, len(path))
	}
	b := binary.LittleEndian.AppendUint32(nil, o.Attributes)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(path)))
	b = append(b, utf16z.Append(nil, o.Description)...)
	b = append(b, path...)
	return append(b, o.OptionalData...), nil
}

// HardDrive is a GPT partition as a device path names it. All but GUID are
// hints for the firmware.
type HardDrive struct {
	Number   uint32 // of the partition, from 1
	StartLBA uint64 // in logical sectors of the disk
	Sectors  uint64 // size in logical sectors
	GUID     GUID   // unique partition GUID
}

// Node returns the HD() node.
func (h HardDrive) Node() Node {
	b := binary.LittleEndian.AppendUint32(nil, h.Number)
	b = binary.LittleEndian.AppendUint64(b, h.StartLBA)
	b = binary.LittleEndian.AppendUint64(b, h.Sectors)
	b = append(b, h.GUID[:]...)
	return Node{Type: typeMedia, SubType: subHardDrive, Data: append(b, 2, 2)}
}

// HardDrive reads an HD() node that names a GPT partition.
func (n Node) HardDrive() (HardDrive, bool) {
	b := n.Data
	if n.Type != typeMedia || n.SubType != subHardDrive || len(b) != hardDriveSize || b[36] != 2 || b[37] != 2 {
		return HardDrive{}, false
	}
	return HardDrive{
		Number:   binary.LittleEndian.Uint32(b),
		StartLBA: binary.LittleEndian.Uint64(b[4:]),
		Sectors:  binary.LittleEndian.Uint64(b[12:]),
		GUID:     GUID(b[20:36]),
	}, true
}

// FilePath returns the File() node of a path with backslashes.
func FilePath(path string) Node {
	return Node{Type: typeMedia, SubType: subFilePath, Data: utf16z.Append(nil, path)}
}

// FilePath reads a File() node.
func (n Node) FilePath() (string, bool) {
	if n.Type != typeMedia || n.SubType != subFilePath {
		return "", false
	}
	s, _, ok := utf16z.Cut(n.Data)
	return s, ok
}

// Starts tells whether the option starts that file of that partition. Case in
// paths does not matter. A path may be split over several File() nodes, which
// the firmware joins.
func (o *LoadOption) Starts(partition GUID, path string) bool {
	file, ok := o.On(partition)
	return ok && strings.EqualFold(strings.Trim(file, `\`), strings.Trim(path, `\`))
}
