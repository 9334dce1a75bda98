// Package foreign recognises virtual disks of other programs (VHD, VMDK, VDI, QCOW2) by their
// content, refuses those that are not whole by themselves, and says how qemu-img reads them.
//
// # Promises
//
// Nothing is opened by a name that a file holds unless that is a plain name of a regular file in
// the folder of the image: no backing file, no external data file, no path, no address. What
// qemu-img gets is the format that was found here and the path as a file, so it guesses neither.
//
// Sizes are those that the headers say. QEMU takes the size of most VHD files from their geometry,
// which is smaller than the disk; it is told to take the disk's.
//
// # Known gaps
//
//   - A differencing VHD is read by 7zz, because qemu-img takes it for a disk of its own. Its
//     parents have to lie in its folder under the names that the children hold.
//   - QCOW version 1, VMDK snapshots and differencing VDI are refused: the program that made them
//     writes them as one disk.
package foreign

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Errors of Recognise.
var (
	// ErrNotWhole: parts of the disk lie in files that are not read.
	ErrNotWhole = errors.New("the file is not the whole disk")
	// ErrDamaged: the headers contradict themselves.
	ErrDamaged = errors.New("the image is damaged")
	// ErrUnsupported: the format is known, this use of it is not.
	ErrUnsupported = errors.New("not supported")
)

// Image is a disk in another program's format.
type Image struct {
	Path string
	Kind string // "VHD", "differencing VHD", "VMDK", "VDI", "QCOW2"
	Size int64  // of the virtual disk in bytes
	// Files are all files that are read, Path first.
	Files []string

	driver string // what qemu-img calls the format; "" for what 7zz reads
}

// format is one format: recognised by a mark, then read.
type format struct {
	kind string
	mark func(f *file) bool
	read func(f *file) (*Image, error)
}

var formats = []format{
	{"QCOW2", func(f *file) bool { return f.at(0, "QFI\xfb") }, readQCOW2},
	{"VDI", func(f *file) bool { return f.at(0x40, "\x7f\x10\xda\xbe") }, readVDI},
	{"VMDK", isVMDK, readVMDK},
	{"VHD", func(f *file) bool { return f.footer() >= 0 }, readVHD},
}

// file is an image while it is looked at.
type file struct {
	io.ReaderAt
	path string
	size int64
}

// at tells whether the file has these bytes there.
func (f *file) at(off int64, mark string) bool {
	b := make([]byte, len(mark))
	n, _ := f.ReadAt(b, off)
	return n == len(b) && string(b) == mark
}

// bytes reads n bytes at off.
func (f *file) bytes(off int64, n int) ([]byte, error) {
	b := make([]byte, n)
	if got, err := f.ReadAt(b, off); got < n {
		if err == io.EOF {
			return nil, fmt.Errorf("%w: %s ends at byte %d, in the middle of its header", ErrDamaged, f.path, f.size)
		}
		return nil, err
	}
	return b, nil
}

// Recognise tells what the file at path is; nil: none of these formats. The error is one of the
// package's, or that of reading.
func Recognise(path string) (*Image, error) {
	o, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	size, err := o.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	return recognise(&file{o, path, size})
}

func recognise(f *file) (*Image, error) {
	for _, format := range formats {
		if !format.mark(f) {
			continue
		}
		i, err := format.read(f)
		if err != nil {
			return nil, err
		}
		if i.Size <= 0 || i.Size%512 != 0 {
			return nil, fmt.Errorf("%w: %s has a disk of %d bytes", ErrDamaged, f.path, i.Size)
		}
		if i.Kind == "" {
			i.Kind = format.kind
		}
		i.Path, i.Files = f.path, append([]string{f.path}, i.Files...)
		return i, nil
	}
	return nil, nil
}

// beside returns the path of a file that the image at path of names, if it is in that one's folder.
func beside(of, name string) (string, error) {
	if name == "" || strings.ContainsAny(name, `/\:`) || name == "." || name == ".." {
		return "", fmt.Errorf("%w: %s names the file %q, and only files in its own folder are read", ErrNotWhole, of, name)
	}
	path := filepath.Join(filepath.Dir(of), name)
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("%w: %s is missing, which %s names", ErrNotWhole, path, of)
	case err != nil:
		return "", err
	case !st.Mode().IsRegular():
		return "", fmt.Errorf("%w: %s, which %s names, is no regular file", ErrNotWhole, path, of)
	}
	return path, nil
}
