package foreign

import (
	"encoding/binary"
	"fmt"
)

// readQCOW2 reads the header (QEMU, docs/interop/qcow2.rst).
func readQCOW2(f *file) (*Image, error) {
	const dataFile, corrupt = 1 << 2, 1 << 1
	b, err := f.bytes(0, 80)
	if err != nil {
		return nil, err
	}
	be := binary.BigEndian
	version, features := be.Uint32(b[4:]), be.Uint64(b[72:])
	if version == 2 { // its header ends before the features
		features = 0
	}
	switch {
	case version != 2 && version != 3:
		return nil, fmt.Errorf("%w: %s is QCOW version %d, not 2 or 3: qemu-img convert makes one of those", ErrUnsupported, f.path, version)
	case be.Uint64(b[8:]) != 0:
		return nil, fmt.Errorf("%w: %s stands on a backing file: qemu-img convert makes one disk of the two", ErrNotWhole, f.path)
	case features&dataFile != 0:
		return nil, fmt.Errorf("%w: %s keeps its data in another file: qemu-img convert makes one file of the two", ErrNotWhole, f.path)
	case features&corrupt != 0:
		return nil, fmt.Errorf("%w: %s is marked as corrupt: qemu-img check says more", ErrDamaged, f.path)
	case be.Uint32(b[32:]) != 0:
		return nil, fmt.Errorf("%w: %s is encrypted: qemu-img convert with its key makes a plain one", ErrUnsupported, f.path)
	}
	return &Image{Size: int64(be.Uint64(b[24:])), driver: "qcow2"}, nil
}

// readVDI reads the header of VirtualBox.
func readVDI(f *file) (*Image, error) {
	b, err := f.bytes(0, 0x1c8)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if kind, parent := le.Uint32(b[0x4c:]), [16]byte(b[0x1a8:]); kind != 1 && kind != 2 || parent != [16]byte{} {
		return nil, fmt.Errorf("%w: %s is a differencing VDI: VBoxManage clonemedium makes one disk of the chain", ErrNotWhole, f.path)
	}
	return &Image{Size: int64(le.Uint64(b[0x170:])), driver: "vdi"}, nil
}
