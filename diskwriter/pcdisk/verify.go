package pcdisk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"troy/diskwriter/machine"
	"troy/internal/block"
	"troy/internal/progress"
	"troy/vhdx"
)

// CheckedFile is one file of a chain and what vhdx.Check found.
type CheckedFile struct {
	Name   string
	Report *vhdx.Report
}

// CheckChain checks the files of a machine's chain one by one, the boot child first. It writes
// nothing.
func CheckChain(f machine.Files) ([]CheckedFile, error) {
	chain, err := Chain(f)
	if err != nil {
		return nil, err
	}
	files := chain.Files()
	name, storage := machine.BootName, f.Boot
	var all []CheckedFile
	for i, file := range files {
		var parent *vhdx.File
		if i+1 < len(files) {
			parent = files[i+1]
		}
		rep, err := vhdx.Check(storage, storage.Size, &vhdx.CheckOptions{Parent: parent})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, CheckedFile{name, rep})
		if parent == nil {
			break
		}
		if name, storage, err = Parent(f, file); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Content is a disk that can be read whole.
type Content interface {
	io.ReaderAt
	Size() int64
}

// Piece is a stretch of a disk, in bytes.
type Piece struct{ Offset, Length int64 }

// Comparison is what Compare found.
type Comparison struct {
	Bytes     int64 // that were read
	SHA256    [sha256.Size]byte
	Different []Piece // whole pages of 4 KiB, ascending, at most DifferentMost
	More      bool    // some were left out
}

// DifferentMost bounds how many differing pieces a Comparison lists.
const DifferentMost = 100

// comparePiece is how many bytes are compared at once.
const comparePiece = 1 << 20

// Compare reads all of a disk, which finds what cannot be read, and compares it with want; nil =
// with nothing. p, which may be nil, is told the bytes read. Errors: machine.ErrOtherSize, and those of
// reading.
func Compare(ctx context.Context, have, want Content, p progress.Adder) (*Comparison, error) {
	if want != nil && want.Size() != have.Size() {
		return nil, fmt.Errorf("%w: %d bytes instead of %d", machine.ErrOtherSize, have.Size(), want.Size())
	}
	c := &Comparison{}
	hash := sha256.New()
	a, b := make([]byte, comparePiece), make([]byte, comparePiece)
	for off := int64(0); off < have.Size(); off += comparePiece {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n := min(comparePiece, have.Size()-off)
		if err := block.ReadFull(have, a[:n], off); err != nil {
			return nil, fmt.Errorf("read the disk at %d: %w", off, err)
		}
		hash.Write(a[:n])
		if want != nil {
			if err := block.ReadFull(want, b[:n], off); err != nil {
				return nil, fmt.Errorf("read what it should hold at %d: %w", off, err)
			}
			c.compare(a[:n], b[:n], off)
		}
		if p != nil {
			p.Add(n)
		}
	}
	c.Bytes = have.Size()
	hash.Sum(c.SHA256[:0])
	return c, nil
}

// compare notes the pages that differ.
func (c *Comparison) compare(a, b []byte, off int64) {
	if bytes.Equal(a, b) {
		return
	}
	const page = 4096
	for i := 0; i < len(a); i += page {
		end := min(i+page, len(a))
		if !bytes.Equal(a[i:end], b[i:end]) {
			c.differs(off+int64(i), int64(end-i))
		}
	}
}

func (c *Comparison) differs(off, n int64) {
	if last := len(c.Different) - 1; last >= 0 && c.Different[last].Offset+c.Different[last].Length == off {
		c.Different[last].Length += n
	} else if len(c.Different) < DifferentMost {
		c.Different = append(c.Different, Piece{off, n})
	} else {
		c.More = true
	}
}
