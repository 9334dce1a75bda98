package winpc

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"

	"troy/gates/testdisk"
	"troy/internal/errline"
)

// Functions of virtdisk.dll. They are looked for when they are called.
var (
	virtdisk        = windows.NewLazySystemDLL("virtdisk.dll")
	openDisk        = virtdisk.NewProc("OpenVirtualDisk")
	attachDisk      = virtdisk.NewProc("AttachVirtualDisk")
	detachDisk      = virtdisk.NewProc("DetachVirtualDisk")
	mergeDisk       = virtdisk.NewProc("MergeVirtualDisk")
	diskInformation = virtdisk.NewProc("GetVirtualDiskInformation")
	physicalPath    = virtdisk.NewProc("GetVirtualDiskPhysicalPath")
)

// Constants of virtdisk.h.
const (
	deviceVHDX = 3

	accessAttachRO = 0x00010000
	accessAttachRW = 0x00020000
	accessDetach   = 0x00040000
	accessGetInfo  = 0x00080000
	accessMetaOps  = 0x00200000

	attachReadOnly      = 0x1
	attachNoDriveLetter = 0x2

	infoSize = 1

	errLimitation = windows.Errno(0xC03A001A) // ERROR_VIRTUAL_DISK_LIMITATION
)

// storageType is VIRTUAL_STORAGE_TYPE.
type storageType struct {
	device uint32
	vendor windows.GUID
}

// vendorMicrosoft is VIRTUAL_STORAGE_TYPE_VENDOR_MICROSOFT.
var vendorMicrosoft = windows.GUID{Data1: 0xec984aec, Data2: 0xa0f9, Data3: 0x47e9, Data4: [8]byte{0x90, 0x1f, 0x71, 0x41, 0x5a, 0x66, 0x34, 0x5b}}

// openParameters is OPEN_VIRTUAL_DISK_PARAMETERS of version 1, as long as that of version 2.
type openParameters struct {
	version uint32
	rwDepth uint32 // files from the leaf on that are opened for writing
	_       [20]byte
}

// attachParameters is ATTACH_VIRTUAL_DISK_PARAMETERS of version 1, as long as that of version 2.
type attachParameters struct {
	version uint32
	_       uint32
	_       [16]byte
}

// mergeParameters is MERGE_VIRTUAL_DISK_PARAMETERS of version 1, as long as that of version 2.
type mergeParameters struct {
	version uint32
	depth   uint32
	_       uint32
}

// information is GET_VIRTUAL_DISK_INFO of version 1 (SIZE). Other versions are longer.
type information struct {
	version      uint32
	_            uint32
	virtualSize  uint64
	physicalSize uint64
	blockSize    uint32
	sectorSize   uint32
	_            [512]byte
}

// Disks is the virtual disk API.
type Disks struct{}

// call calls a function of virtdisk.dll, which returns a Win32 error.
func call(p *windows.LazyProc, args ...uintptr) error {
	if err := p.Find(); err != nil {
		return fmt.Errorf("%w: virtdisk.dll lacks %s", testdisk.ErrNoAPI, p.Name)
	}
	code, _, _ := p.Call(args...)
	switch e := windows.Errno(code); e {
	case 0:
		return nil
	case windows.ERROR_CALL_NOT_IMPLEMENTED, windows.ERROR_NOT_SUPPORTED:
		return fmt.Errorf("%w: virtdisk.dll lacks %s: %w", testdisk.ErrNoAPI, p.Name, e)
	case errLimitation:
		return fmt.Errorf("%s: %w", p.Name, testdisk.ErrPlace)
	default:
		return fmt.Errorf("%s: %w (0x%08X)", p.Name, e, uint32(code))
	}
}

// open opens a chain; depth is how many of its files are opened for writing.
func open(leaf string, access, depth uint32) (windows.Handle, error) {
	name, err := windows.UTF16PtrFromString(leaf)
	if err != nil {
		return 0, err
	}
	kind := storageType{deviceVHDX, vendorMicrosoft}
	with := openParameters{version: 1, rwDepth: depth}
	var h windows.Handle
	err = call(openDisk, uintptr(unsafe.Pointer(&kind)), uintptr(unsafe.Pointer(name)), uintptr(access), 0,
		uintptr(unsafe.Pointer(&with)), uintptr(unsafe.Pointer(&h)))
	return h, err
}

// Size implements testdisk.API.
func (Disks) Size(leaf string) (int64, error) {
	h, err := open(leaf, accessGetInfo, 0)
	if err != nil {
		return 0, err
	}
	info := information{version: infoSize}
	length := uint32(unsafe.Sizeof(info))
	err = call(diskInformation, uintptr(h), uintptr(unsafe.Pointer(&length)), uintptr(unsafe.Pointer(&info)), 0)
	return int64(info.virtualSize), errline.Join(err, windows.CloseHandle(h))
}

// Merge implements testdisk.API.
func (Disks) Merge(leaf string) error {
	h, err := open(leaf, accessMetaOps|accessGetInfo, 2)
	if err != nil {
		return err
	}
	with := mergeParameters{version: 1, depth: 1}
	err = call(mergeDisk, uintptr(h), 0, uintptr(unsafe.Pointer(&with)), 0)
	return errline.Join(err, windows.CloseHandle(h))
}

// Attach implements testdisk.API.
func (Disks) Attach(leaf string, write bool) (testdisk.Attached, error) {
	access, depth, flags, rights := uint32(accessAttachRO), uint32(0), uintptr(attachReadOnly|attachNoDriveLetter), uint32(windows.GENERIC_READ)
	if write {
		access, depth, flags, rights = accessAttachRW, 1, attachNoDriveLetter, windows.GENERIC_READ|windows.GENERIC_WRITE
	}
	h, err := open(leaf, access|accessDetach|accessGetInfo, depth)
	if err != nil {
		return nil, err
	}
	with := attachParameters{version: 1}
	if err := call(attachDisk, uintptr(h), 0, flags, 0, uintptr(unsafe.Pointer(&with)), 0); err != nil {
		return nil, errline.Join(err, windows.CloseHandle(h))
	}
	a := &attached{chain: h, disk: windows.InvalidHandle}
	if err := a.open(rights); err != nil {
		return nil, errline.Join(err, a.Close())
	}
	return a, nil
}

// attached is a chain that is attached, and its disk.
type attached struct{ chain, disk windows.Handle }

func (a *attached) open(rights uint32) error {
	name := make([]uint16, windows.MAX_PATH)
	length := uint32(len(name) * 2) // bytes
	if err := call(physicalPath, uintptr(a.chain), uintptr(unsafe.Pointer(&length)), uintptr(unsafe.Pointer(&name[0]))); err != nil {
		return err
	}
	disk, err := windows.CreateFile(&name[0], rights, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE, nil, windows.OPEN_EXISTING, 0, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", windows.UTF16ToString(name), err)
	}
	a.disk = disk
	return nil
}

// place is where an operation on the disk is.
func place(off int64) *windows.Overlapped {
	return &windows.Overlapped{Offset: uint32(off), OffsetHigh: uint32(off >> 32)}
}

// ReadAt implements io.ReaderAt, for whole sectors.
func (a *attached) ReadAt(p []byte, off int64) (int, error) {
	var n uint32
	err := windows.ReadFile(a.disk, p, &n, place(off))
	return int(n), at(off, err)
}

// WriteAt implements io.WriterAt, for whole sectors.
func (a *attached) WriteAt(p []byte, off int64) (int, error) {
	var n uint32
	err := windows.WriteFile(a.disk, p, &n, place(off))
	return int(n), at(off, err)
}

func at(off int64, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("byte %d of the disk: %w", off, err)
}

// Close flushes and closes the disk, and detaches it.
func (a *attached) Close() error {
	var errs []error
	if a.disk != windows.InvalidHandle {
		if err := windows.FlushFileBuffers(a.disk); err != nil && !errors.Is(err, windows.ERROR_ACCESS_DENIED) {
			errs = append(errs, err) // a disk that is only read refuses to be flushed
		}
		errs = append(errs, windows.CloseHandle(a.disk))
	}
	errs = append(errs, call(detachDisk, uintptr(a.chain), 0, 0), windows.CloseHandle(a.chain))
	return errline.Join(errs...)
}
