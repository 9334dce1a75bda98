package testdisk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math/rand/v2"

	"troy/internal/block"
	"troy/internal/digest"
)

const (
	kib = 1 << 10
	mib = 1 << 20

	unit = 4 * kib // of the pattern
)

// content is a virtual disk as pieces of patterns.
type content struct {
	size   int64
	pieces []Piece
}

// ReadAt implements io.ReaderAt.
func (c *content) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 || off >= c.size {
		return 0, io.EOF
	}
	if int64(len(p)) > c.size-off {
		p, err = p[:c.size-off], io.EOF
	}
	clear(p)
	for _, piece := range c.pieces {
		from, to := max(off, piece.Offset), min(off+int64(len(p)), piece.Offset+piece.Length)
		if from < to {
			piece.fill(p[from-off:to-off], from-piece.Offset)
		}
	}
	return len(p), err
}

// fill makes p the pattern of the piece from the byte at off of it.
func (p Piece) fill(b []byte, off int64) {
	if p.Seed == 0 {
		clear(b)
		return
	}
	var one [unit]byte
	for len(b) > 0 {
		rnd := rand.New(rand.NewPCG(p.Seed, uint64(off/unit)))
		for i := 0; i < unit; i += 8 {
			binary.LittleEndian.PutUint64(one[i:], rnd.Uint64())
		}
		n := copy(b, one[off%unit:])
		b, off = b[n:], off+int64(n)
	}
}

// bytes returns the pattern of the whole piece.
func (p Piece) bytes() []byte {
	b := make([]byte, p.Length)
	p.fill(b, 0)
	return b
}

// sum is the hash of the first bytes of r.
func sum(ctx context.Context, r io.ReaderAt, size int64) (s digest.Sum, err error) {
	h := sha256.New()
	b := make([]byte, mib)
	for off := int64(0); off < size; off += mib {
		p := b[:min(mib, size-off)]
		if err := ctx.Err(); err != nil {
			return s, err
		}
		if err := block.ReadFull(r, p, off); err != nil {
			return s, err
		}
		h.Write(p)
	}
	return digest.Sum(h.Sum(nil)), nil
}

// differs returns the first byte in which two disks differ; -1: none.
func differs(ctx context.Context, a, b io.ReaderAt, size int64) (int64, error) {
	pa, pb := make([]byte, mib), make([]byte, mib)
	for off := int64(0); off < size; off += mib {
		n := min(mib, size-off)
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if err := block.ReadFull(a, pa[:n], off); err != nil {
			return 0, err
		}
		if err := block.ReadFull(b, pb[:n], off); err != nil {
			return 0, err
		}
		if bytes.Equal(pa[:n], pb[:n]) {
			continue
		}
		for i := range n {
			if pa[i] != pb[i] {
				return off + i, nil
			}
		}
	}
	return -1, nil
}
