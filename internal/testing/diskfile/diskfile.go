// Package diskfile looks at the image files of disks, which are large and hold little: what it does
// takes as long as there is content, not as the disk is large.
package diskfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"troy/internal/block"
)

// Range is a part of a disk, in bytes.
type Range struct{ Offset, Length int64 }

// Sum is one hash of all that a disk holds outside of some parts, and of its size. A hole and zeros
// are the same. Sums of two processes cannot be compared: it is a hash that costs little more than
// reading does.
func Sum(path string, without ...Range) (sum uint64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return sum, err
	}
	h := newHash(size)
	err = pieces(f, 0, size, func(b []byte, at int64) error {
		for _, r := range without {
			lo, hi := max(r.Offset-at, 0), min(r.Offset+r.Length-at, int64(len(b)))
			if lo < hi {
				clear(b[lo:hi])
			}
		}
		h.add(b, at)
		return nil
	})
	return h.Sum64(), err
}

// SumOf is the Sum of a file with the content of r.
func SumOf(r io.ReaderAt, size int64) (sum uint64, err error) {
	h, buf := newHash(size), make([]byte, 256*page)
	for at := int64(0); at < size; at += int64(len(buf)) {
		b := buf[:min(int64(len(buf)), size-at)]
		if err := block.ReadFull(r, b, at); err != nil {
			return sum, err
		}
		h.add(b, at)
	}
	return h.Sum64(), nil
}

var seed = maphash.MakeSeed()

// sparse is a hash of pages that are not zero, and of where they are.
type sparse struct{ maphash.Hash }

func newHash(size int64) *sparse {
	h := &sparse{}
	h.SetSeed(seed)
	fmt.Fprintln(h, size)
	return h
}

// add adds what stands at an offset, a multiple of a page.
func (h *sparse) add(b []byte, at int64) {
	for n := 0; n < len(b); n += page {
		if p := b[n:min(n+page, len(b))]; !block.IsZero(p) {
			h.Write(binary.LittleEndian.AppendUint64(nil, uint64(at)+uint64(n)))
			h.Write(p)
		}
	}
}

// Copy copies a part of a disk into another file, which it makes or makes longer if need be. Holes
// become holes.
func Copy(to string, at int64, from string, part Range) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer dst.Close()
	info, err := dst.Stat()
	if err == nil && info.Size() < at+part.Length {
		err = dst.Truncate(at + part.Length)
	}
	if err == nil {
		err = unix.Fallocate(int(dst.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, part.Length)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", to, err)
	}
	return pieces(src, part.Offset, part.Offset+part.Length, func(b []byte, off int64) error {
		_, err := dst.WriteAt(b, at+off-part.Offset)
		return err
	})
}

const page = 4096

// pieces hands out what a file holds from an offset, a multiple of a page, to another. It leaves
// out holes.
func pieces(f *os.File, at, end int64, do func(b []byte, at int64) error) error {
	buf := make([]byte, 256*page)
	for at < end {
		data, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && data >= end {
			return nil // there are only holes behind it
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
		at = data - data%page
		b := buf[:min(int64(len(buf)), end-at)]
		if err := block.ReadFull(f, b, at); err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
		if err := do(b, at); err != nil {
			return err
		}
		at += int64(len(b))
	}
	return nil
}
