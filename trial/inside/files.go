package inside

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"troy/internal/durable"
)

// Files are the two files of a folder \Troy, open for reading and writing.
type Files struct {
	Records, Ballast *os.File
	Size             int64 // of the ballast
}

// OpenFiles opens the two files in a folder. Those that are missing are made, the ballast with size
// and stamp of the order: all of them is allocated and written.
func OpenFiles(dir string, o *Order) (*Files, error) {
	records := filepath.Join(dir, base(RecordFile))
	ballast := filepath.Join(dir, base(BallastFile))
	if err := makeFile(records, FileSize, func(f *durable.File) error {
		_, err := f.Write(make([]byte, FileSize))
		return err
	}); err != nil {
		return nil, err
	}
	size := int64(o.BallastMiB) << 20
	if err := makeFile(ballast, size, func(f *durable.File) error {
		return WriteBallast(f, size, o.Stamp)
	}); err != nil {
		return nil, err
	}
	return open(records, ballast)
}

// base is the name at the end of a path of Windows.
func base(path string) string { return path[strings.LastIndexByte(path, '\\')+1:] }

// makeFile makes a file of a size, unless there is one. It gets its clusters before its content, so
// that they lie in as few pieces as the volume allows.
func makeFile(path string, size int64, fill func(*durable.File) error) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := durable.Create(path, 0o644)
	if err != nil {
		return err
	}
	defer f.Abandon()
	if err := f.Truncate(size); err != nil {
		return err
	}
	if err := fill(f); err != nil {
		return err
	}
	return f.Commit()
}

func open(records, ballast string) (*Files, error) {
	r, err := openSized(records, FileSize)
	if err != nil {
		return nil, err
	}
	b, err := openSized(ballast, BlockSize)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	info, err := b.Stat()
	if err != nil {
		return nil, errors.Join(err, r.Close(), b.Close())
	}
	return &Files{Records: r, Ballast: b, Size: info.Size()}, nil
}

// openSized opens a file whose size is a multiple of unit.
func openSized(path string, unit int64) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (info.Size() == 0 || info.Size()%unit != 0) {
		err = fmt.Errorf("%s has %d bytes, want a multiple of %d", path, info.Size(), unit)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Close closes both.
func (f *Files) Close() error { return errors.Join(f.Records.Close(), f.Ballast.Close()) }
