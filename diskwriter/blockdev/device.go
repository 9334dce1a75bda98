package blockdev

import (
	"fmt"
	"io"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"troy/internal/block"
)

const (
	bufferSize  = 1 << 20 // one piece of a request that has to be copied
	bufferAlign = 4096    // satisfies every medium that is handled
)

// Options says how to open a device. The zero value is read and write, direct where
// possible, shared with other users of the disk.
type Options struct {
	// ReadOnly opens for reading; WriteAt then returns ErrReadOnly.
	ReadOnly bool
	// buffered goes through the page cache even where direct I/O is possible: for comparison.
	buffered bool
	// Exclusive refuses a block device of which a partition is mounted or which
	// another program holds exclusively (O_EXCL). It has no meaning for an image
	// file. It also keeps others, this process included, from mounting one of its
	// partitions, so it is not the default.
	Exclusive bool
	// SectorSize overrides the logical sector size of an image file: 512 or 4096.
	// 0 takes it from where the partition table lies, or 512. Block devices know
	// theirs.
	SectorSize int
}

// Device is an open disk or image file. Its methods may be called concurrently.
type Device struct {
	f        *os.File
	size     int64
	logical  int
	physical int
	ioAlign  int // offsets and lengths of direct requests; 1 when buffered
	memAlign int
	readOnly bool
	block    bool
	pool     sync.Pool
}

// Open opens the block device or image file at path. nil options are the zero value.
func Open(path string, o *Options) (*Device, error) {
	if o == nil {
		o = &Options{}
	}
	f, direct, err := openFile(path, o)
	if err != nil {
		return nil, err
	}
	d := &Device{f: f, readOnly: o.ReadOnly, logical: 512, physical: 512, ioAlign: 1, memAlign: 1}
	d.pool.New = func() any { b := block.Aligned(bufferSize); return &b }
	if err := d.inspect(o, direct); err != nil {
		f.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return d, nil
}

func openFile(path string, o *Options) (f *os.File, direct bool, err error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, false, err
	}
	isBlock := st.Mode()&os.ModeDevice != 0 && st.Mode()&os.ModeCharDevice == 0
	if !isBlock && !st.Mode().IsRegular() {
		return nil, false, fmt.Errorf("%s: neither a block device nor a file", path)
	}
	flags := os.O_RDWR
	if o.ReadOnly {
		flags = os.O_RDONLY
	}
	if o.Exclusive && isBlock {
		flags |= os.O_EXCL
	}
	if !o.buffered {
		if f, err = os.OpenFile(path, flags|unix.O_DIRECT, 0); err == nil {
			return f, true, nil
		}
	}
	f, err = os.OpenFile(path, flags, 0)
	return f, false, err
}

// inspect finds size, sector sizes and what direct I/O asks for.
func (d *Device) inspect(o *Options, direct bool) error {
	st, err := d.f.Stat()
	if err != nil {
		return err
	}
	d.block = !st.Mode().IsRegular()
	if d.block {
		err = d.inspectBlock()
	} else {
		d.size = st.Size()
	}
	if err != nil {
		return err
	}
	if direct {
		d.findAlignment()
	}
	if !d.block {
		return d.inspectImage(o)
	}
	return nil
}

func (d *Device) inspectBlock() error {
	var err error
	if d.size, err = d.f.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	fd := int(d.f.Fd())
	if d.logical, err = unix.IoctlGetInt(fd, unix.BLKSSZGET); err != nil {
		return fmt.Errorf("logical sector size: %w", err)
	}
	phys, err := unix.IoctlGetUint32(fd, unix.BLKPBSZGET)
	if err != nil {
		return fmt.Errorf("physical sector size: %w", err)
	}
	d.physical = max(int(phys), d.logical)
	return checkSectorSize(d.logical)
}

func checkSectorSize(n int) error {
	if n != 512 && n != 4096 {
		return fmt.Errorf("logical sectors of %d bytes are not supported (512 or 4096)", n)
	}
	return nil
}

// findAlignment asks the kernel what direct requests on this file must look like;
// kernels before 6.1 do not say, then the sector size of a device and 4 KiB pages
// for a file are safe.
func (d *Device) findAlignment() {
	d.ioAlign, d.memAlign = bufferAlign, bufferAlign
	if d.block {
		d.ioAlign = d.logical
	}
	var st unix.Statx_t
	err := unix.Statx(int(d.f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	if err == nil && st.Mask&unix.STATX_DIOALIGN != 0 &&
		st.Dio_offset_align > 0 && st.Dio_offset_align <= bufferAlign &&
		st.Dio_mem_align > 0 && st.Dio_mem_align <= bufferAlign {
		d.ioAlign, d.memAlign = int(st.Dio_offset_align), int(st.Dio_mem_align)
	}
}

func (d *Device) inspectImage(o *Options) error {
	if o.SectorSize != 0 {
		d.logical = o.SectorSize
	} else {
		d.logical = guessSectorSize(d)
	}
	d.physical = d.logical
	if err := checkSectorSize(d.logical); err != nil {
		return err
	}
	if d.ioAlign <= d.logical {
		return nil
	}
	// Whole sectors of this image are too small for direct I/O on this medium.
	return d.dropDirect()
}

// dropDirect continues through the page cache.
func (d *Device) dropDirect() error {
	flags, err := unix.FcntlInt(d.f.Fd(), unix.F_GETFL, 0)
	if err == nil {
		_, err = unix.FcntlInt(d.f.Fd(), unix.F_SETFL, flags&^unix.O_DIRECT)
	}
	d.ioAlign, d.memAlign = 1, 1
	return err
}

// Path returns the name the device was opened by.
func (d *Device) Path() string { return d.f.Name() }

// Size returns the size in bytes.
func (d *Device) Size() int64 { return d.size }

// SectorSize returns the logical sector size in bytes: the unit of LBAs.
func (d *Device) SectorSize() int { return d.logical }

// PhysicalSectorSize returns the physical sector size in bytes, at least SectorSize.
func (d *Device) PhysicalSectorSize() int { return d.physical }

// Sync flushes: what WriteAt accepted before is durable when Sync returns nil.
func (d *Device) Sync() error { return d.f.Sync() }

// Close closes the device. It does not flush.
func (d *Device) Close() error { return d.f.Close() }

func aligned(p []byte, align int) bool {
	return align <= 1 || uintptr(unsafe.Pointer(unsafe.SliceData(p)))%uintptr(align) == 0
}
