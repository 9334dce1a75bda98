package bcd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"troy/chainload/internal/utf16z"
	"troy/internal/guid"
)

// GUID is a GUID in its on-disk byte order.
type GUID = guid.GUID

// ErrCorrupt is the class of stores and device elements that break their
// format. Errors of the hive below wrap regf.ErrCorrupt instead.
var ErrCorrupt = errors.New("bcd: corrupt store")

// device is a device descriptor: bootDevice, partitionDevice, locateDevice,
// virtualDisk, fileDevice, optionDevice or opaqueDevice.
type device interface {
	appendTo(b []byte) []byte
}

// bootDevice is the partition that the firmware started the boot manager from.
type bootDevice struct{}

// partitionTable says how a disk is partitioned.
type partitionTable uint32

// Kinds of partition table.
const (
	tableGPT partitionTable = 0
	tableMBR partitionTable = 1
)

// partitionDevice is a partition of a hard disk or of a virtual disk.
type partitionDevice struct {
	ID    GUID // GPT: the unique partition GUID; MBR: 8 bytes of byte offset
	Table partitionTable
	Disk  GUID   // GPT: the disk GUID; MBR: 4 bytes of signature
	On    device // what the virtual disk comes from; nil for a hard disk
}

// locateDevice is the partition of Parent that holds the file which an element names.
type locateDevice struct {
	Element elementType // 0 when Path is used
	Path    string
	Parent  device // nil: any device
}

// virtualDisk is the disk inside a VHD or VHDX.
type virtualDisk struct{ Parent device }

// fileDevice is a file used as a device.
type fileDevice struct {
	On   device // the partition that holds it
	Path string // from the root of that partition, with backslashes
}

// optionDevice is a device with an object of further options. Such a device is at the top of an
// element only.
type optionDevice struct {
	Options GUID // the object
	Device  device
}

// opaqueDevice is a descriptor of a kind that this package keeps but does not look
// into; Raw has its header too.
type opaqueDevice struct{ Raw []byte }

const (
	typeDisk      = 0
	typeBoot      = 5
	typePartition = 6
	typeLocate    = 8

	localHardDisk = 0
	localFile     = 5
	localVirtual  = 6

	pathVersion = 1
	pathDevice  = 5 // a path that begins with a device descriptor

	headSize      = 16
	plainSize     = 0x48 // boot, or a partition of a hard disk
	locateParent  = 0x1e // where the parent stands when the path is empty
	maxDeviceNest = 8
)

// encodeDevice returns the data of a device element.
func encodeDevice(d device) []byte {
	if o, ok := d.(optionDevice); ok {
		return o.Device.appendTo(bytes.Clone(o.Options[:]))
	}
	return d.appendTo(make([]byte, 16))
}

// decodeDevice reads the data of a device element. The error wraps ErrCorrupt.
func decodeDevice(b []byte) (device, error) {
	if len(b) < 16 {
		return nil, fmt.Errorf("%w: device element of %d bytes", ErrCorrupt, len(b))
	}
	d, err := decodeWhole(b[16:], 0)
	if err != nil {
		return nil, err
	}
	if options := GUID(b[:16]); !options.IsZero() {
		return optionDevice{options, d}, nil
	}
	return d, nil
}

// appendHead opens a descriptor; seal fills in its size.
func appendHead(b []byte, kind uint32) []byte {
	b = binary.LittleEndian.AppendUint32(b, kind)
	return append(b, make([]byte, headSize-4)...)
}

func seal(b []byte, start int) []byte {
	binary.LittleEndian.PutUint32(b[start+8:], uint32(len(b)-start))
	return b
}

func appendWords(b []byte, words ...uint32) []byte {
	for _, w := range words {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

func (bootDevice) appendTo(b []byte) []byte {
	start := len(b)
	return seal(append(appendHead(b, typeBoot), make([]byte, plainSize-headSize)...), start)
}

func (p partitionDevice) appendTo(b []byte) []byte {
	start, local := len(b), uint32(localHardDisk)
	if p.On != nil {
		local = localVirtual
	}
	b = append(appendHead(b, typePartition), p.ID[:]...)
	b = append(appendWords(b, local, uint32(p.Table)), p.Disk[:]...)
	if p.On == nil {
		return seal(append(b, make([]byte, 16)...), start)
	}
	return seal(p.On.appendTo(b), start)
}

func (l locateDevice) appendTo(b []byte) []byte {
	start, kind, parent := len(b), uint32(0), uint32(0)
	if l.Path != "" {
		kind = 1
	}
	name := utf16z.Append(nil, l.Path)
	if l.Parent != nil {
		parent = uint32(locateParent - 2 + len(name))
	}
	b = append(appendWords(appendHead(b, typeLocate), kind, uint32(l.Element), parent), name...)
	if l.Parent != nil {
		b = l.Parent.appendTo(b)
	}
	return seal(b, start)
}

func (v virtualDisk) appendTo(b []byte) []byte {
	start := len(b)
	b = append(appendWords(appendHead(b, typeDisk), localVirtual, 0), make([]byte, 16)...)
	return seal(v.Parent.appendTo(b), start)
}

func (f fileDevice) appendTo(b []byte) []byte {
	start := len(b)
	b = appendWords(appendHead(b, typeDisk), localFile)
	path := len(b)
	b = appendWords(b, pathVersion, 0, pathDevice)
	b = utf16z.Append(f.On.appendTo(b), f.Path)
	binary.LittleEndian.PutUint32(b[path+4:], uint32(len(b)-path))
	return seal(b, start)
}

func (o optionDevice) appendTo(b []byte) []byte { return o.Device.appendTo(b) }

func (o opaqueDevice) appendTo(b []byte) []byte { return append(b, o.Raw...) }
