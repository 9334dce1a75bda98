package ntfs

import (
	"errors"
	"fmt"
)

// Why a volume is not read at all, or must not be written to by anybody now.
var (
	// ErrNotNTFS is returned by Open when the boot sector is not that of NTFS.
	ErrNotNTFS = errors.New("not an NTFS volume")
	// ErrBitLocker is returned by Open for a volume that BitLocker encrypts.
	ErrBitLocker = errors.New("the volume is encrypted by BitLocker")
	// ErrCorrupt is the class of every contradiction found on the volume.
	ErrCorrupt = errors.New("NTFS structure is damaged")
	// ErrTooLarge is returned by Open for a volume that goes on behind the end of its partition.
	ErrTooLarge = errors.New("the volume is larger than its partition")
	// ErrUnsupported is returned for what NTFS allows and this reader does not read.
	ErrUnsupported = errors.New("not supported by this NTFS reader")
	// ErrNotExist is returned by Lookup when the path names nothing.
	ErrNotExist = errors.New("no such file on the NTFS volume")
	// ErrHibernated means that hiberfil.sys holds a sleeping Windows.
	ErrHibernated = errors.New("a hibernated Windows owns the volume")
	// ErrSecondWindows means that a Windows is installed on the volume itself.
	ErrSecondWindows = errors.New("a second Windows is installed on the volume")
)

// Why a file's clusters must not be written directly. Map returns them inside a
// FileError, before anything was written.
var (
	ErrResident    = errors.New("content lies inside the MFT record")
	ErrSparse      = errors.New("file is sparse")
	ErrCompressed  = errors.New("file is compressed")
	ErrEncrypted   = errors.New("file is encrypted")
	ErrReparse     = errors.New("file is a reparse point")
	ErrDirectory   = errors.New("it is a directory")
	ErrValidLength = errors.New("file was not written to its end")
	ErrNotUsed     = errors.New("clusters are marked free in $Bitmap")
	ErrOverlap     = errors.New("clusters belong to two owners")
	ErrPartialPage = errors.New("size is not a multiple of 4 KiB")
	ErrMisaligned  = errors.New("clusters do not start on physical sectors of the disk")
	ErrHardLinks   = errors.New("file has more than one name")
	// ErrMoved means that a file is not where the journal recorded it.
	ErrMoved = errors.New("file is not where it was recorded")
	// ErrPage is returned for writes that are not whole 4 KiB pages inside the file.
	ErrPage = errors.New("write is not made of whole 4 KiB pages inside the file")
)

// FormatError is a contradiction on the volume: Structure names what was read,
// Offset where (bytes inside that structure; -1 when it has no one place). It unwraps
// to ErrCorrupt.
type FormatError struct {
	Structure string
	Offset    int64
	Reason    string
}

// Error names structure, place and reason.
func (e *FormatError) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("%v: %s: %s", ErrCorrupt, e.Structure, e.Reason)
	}
	return fmt.Sprintf("%v: %s at byte %d: %s", ErrCorrupt, e.Structure, e.Offset, e.Reason)
}

// Unwrap returns ErrCorrupt.
func (e *FormatError) Unwrap() error { return ErrCorrupt }

func corrupt(structure string, off int, format string, a ...any) error {
	return &FormatError{Structure: structure, Offset: int64(off), Reason: fmt.Sprintf(format, a...)}
}

// FileError says which file cannot be used and why; Err is one of the sentinels.
type FileError struct {
	Path   string
	Err    error
	Detail string // numbers, may be empty
}

// Error names the file, the reason and the numbers.
func (e *FileError) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("%s: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("%s: %v (%s)", e.Path, e.Err, e.Detail)
}

// Unwrap returns the sentinel.
func (e *FileError) Unwrap() error { return e.Err }
