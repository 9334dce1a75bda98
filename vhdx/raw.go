package vhdx

import (
	"io"
	"iter"
	"os"
	"runtime"
	"sync"

	"troy/internal/errline"
)

// Source is a virtual disk that can be converted: a *Chain or a *Raw.
type Source interface {
	io.ReaderAt
	Size() int64                                        // bytes
	Extents(off, length int64) iter.Seq2[Extent, error] // all but Data reads zero
}

// Raw is a disk image without format, or a block device.
type Raw struct {
	mu   sync.Mutex // the file's seek offset
	f    *os.File
	size int64
}

// OpenRaw opens a raw image for reading.
func OpenRaw(path string) (*Raw, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, errline.Join(err, f.Close())
	}
	return &Raw{f: f, size: size}, nil
}

// OpenUnnamed opens a raw image that was made to be read once and takes its name away: it is gone
// when it is closed, whatever happens to the process.
func OpenUnnamed(path string) (*Raw, error) {
	r, err := OpenRaw(path)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil {
		return nil, errline.Join(err, r.Close())
	}
	return r, nil
}

// ReadAt implements io.ReaderAt.
func (r *Raw) ReadAt(p []byte, off int64) (int, error) { return r.f.ReadAt(p, off) }

// Size returns the bytes of the image.
func (r *Raw) Size() int64 { return r.size }

// Close closes the file.
func (r *Raw) Close() error { return r.f.Close() }

// Extents returns the parts of the file that hold data, and its holes as
// Absent, where the system tells them; elsewhere all is Data.
func (r *Raw) Extents(off, length int64) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		end := min(off+length, r.size)
		for at := off; at < end; {
			data, hole := r.dataAt(at, end)
			if data > at && !yield(Extent{Offset: at, Length: data - at, Kind: Absent}, nil) {
				return
			}
			if hole > data && !yield(Extent{Offset: data, Length: hole - data, FileOffset: data}, nil) {
				return
			}
			at = hole
		}
	}
}

// dataAt returns the first run of data at or behind at, both cut at end.
func (r *Raw) dataAt(at, end int64) (data, hole int64) {
	const seekData, seekHole = 3, 4 // lseek(2) of Linux and FreeBSD
	if runtime.GOOS != "linux" && runtime.GOOS != "freebsd" {
		return at, end
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	data, err := r.f.Seek(at, seekData)
	if err != nil {
		if isNoData(err) {
			return end, end
		}
		return at, end // the file system does not tell
	}
	hole, err = r.f.Seek(data, seekHole)
	if err != nil || hole <= data {
		hole = end
	}
	return min(data, end), min(hole, end)
}
