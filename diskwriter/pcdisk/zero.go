package pcdisk

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// zeroer makes ranges of a disk read as zeros by the fastest way that is certain: a hole in an
// image file; on a block device what the kernel makes of BLKZEROOUT, which is the disk's own
// command or, where it has none, writing.
type zeroer struct {
	f     *os.File
	block bool
}

// newZeroer opens the disk or image file at path. The caller closes it.
func newZeroer(path string) (*zeroer, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &zeroer{f: f, block: !st.Mode().IsRegular()}, nil
}

// Zero makes n bytes at off read as zeros; both are multiples of the sector size. They are durable
// after a flush of the disk.
func (z *zeroer) Zero(off, n int64) error {
	if n <= 0 {
		return nil
	}
	if !z.block {
		if err := unix.Fallocate(int(z.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n); err != nil {
			return fmt.Errorf("zero %d bytes at %d of %s: %w", n, off, z.f.Name(), err)
		}
		return nil
	}
	span := [2]uint64{uint64(off), uint64(n)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, z.f.Fd(), unix.BLKZEROOUT, uintptr(unsafe.Pointer(&span)))
	if errno != 0 {
		return fmt.Errorf("zero %d bytes at %d of %s: %w", n, off, z.f.Name(), errno)
	}
	return nil
}

// Reread asks the kernel to look at the partition table again; without effect on an image file or
// while a partition is in use.
func (z *zeroer) Reread() {
	if z.block {
		unix.IoctlSetInt(int(z.f.Fd()), unix.BLKRRPART, 0) // the table is on the disk whether the kernel looks or not
	}
}

// Close closes the disk.
func (z *zeroer) Close() error { return z.f.Close() }
