package machine

import (
	"bytes"
	"fmt"
	"io"

	"troy/internal/testing/crashdisk"
	"troy/vhdx"
)

// checker tells which of a few versions a crashed disk shows, byte for byte, by two readers.
// Stretches of files that nothing was written to since the beginning of the recording are compared
// once and remembered.
type checker struct {
	origin   *crashdisk.Disk
	versions [][]byte
	memo     map[piece]uint
	buf      []byte
	states   int // checked so far
}

func newChecker(origin *crashdisk.Disk, versions ...[]byte) *checker {
	return &checker{origin: origin, versions: versions, memo: map[piece]uint{}}
}

// match returns the set of versions (bit i for versions[i]) that the disk shows; 0 is a mixture.
func (c *checker) match(d *crashdisk.Disk) (uint, error) {
	c.states++
	chain, err := naiveChain(BootName, func(name string) (io.ReaderAt, int64) {
		f := d.File(name)
		if f == nil {
			return nil, 0
		}
		return f, f.Size()
	})
	if err != nil {
		return 0, err
	}
	virtual := int64(len(c.versions[0]))
	byNaive, err := naivePieces(chain, 0, virtual, nil)
	if err != nil {
		return 0, err
	}
	byVHDX, err := vhdxPieces(d)
	if err != nil {
		return 0, err
	}
	one, two := c.pieces(d, byNaive), c.pieces(d, byVHDX)
	if one != two {
		return 0, fmt.Errorf("the naive reader sees versions %b, package vhdx %b", one, two)
	}
	if c.states%64 == 1 { // the reader itself, not only its map
		if err := c.readAll(d, two); err != nil {
			return 0, err
		}
	}
	return one, nil
}

func (c *checker) pieces(d *crashdisk.Disk, ps []piece) uint {
	all := uint(1)<<len(c.versions) - 1
	var end int64
	for _, p := range ps {
		if p.virtual != end {
			return 0
		}
		end += p.length
		all &= c.piece(d, p)
	}
	if end != int64(len(c.versions[0])) {
		return 0
	}
	return all
}

func (c *checker) piece(d *crashdisk.Disk, p piece) uint {
	changed := p.file != "" && d.File(p.file).Changed(c.origin, p.off, p.length)
	if !changed {
		if m, ok := c.memo[p]; ok {
			return m
		}
	}
	if int64(len(c.buf)) < p.length {
		c.buf = make([]byte, p.length)
	}
	b := c.buf[:p.length]
	if p.file == "" {
		clear(b)
	} else {
		if n, _ := d.File(p.file).ReadAt(b, p.off); int64(n) < p.length {
			return 0
		}
	}
	var m uint
	for i, v := range c.versions {
		if bytes.Equal(b, v[p.virtual:p.virtual+p.length]) {
			m |= 1 << i
		}
	}
	if !changed {
		c.memo[p] = m
	}
	return m
}

func vhdxPieces(d *crashdisk.Disk) (out []piece, err error) {
	c, err := vhdxChain(d)
	if err != nil {
		return nil, err
	}
	// The files of the chain by name, for a layer is only a number.
	layers := []string{BootName}
	for _, f := range c.Files()[:len(c.Files())-1] {
		layers = append(layers, f.ParentName())
	}
	for e, err := range c.Extents(0, c.Size()) {
		if err != nil {
			return nil, err
		}
		p := piece{virtual: e.Offset, length: e.Length}
		if e.Kind == vhdx.Data {
			p.file, p.off = layers[e.Layer], e.FileOffset
		}
		out = append(out, p.split()...)
	}
	return out, nil
}

// split cuts a long piece, so that what is remembered of it can be used again when another part
// changes.
func (p piece) split() (out []piece) {
	for at := int64(0); at < p.length; {
		q := p
		q.virtual += at
		q.length = min(p.length-at, mib-q.virtual%mib)
		if q.file != "" {
			q.off += at
		}
		out = append(out, q)
		at += q.length
	}
	return out
}

func (c *checker) readAll(d *crashdisk.Disk, want uint) error {
	b, err := view(d, int64(len(c.versions[0])))
	if err != nil {
		return err
	}
	var m uint
	for i, v := range c.versions {
		if bytes.Equal(b, v) {
			m |= 1 << i
		}
	}
	if m != want {
		return fmt.Errorf("package vhdx reads versions %b, its extents say %b", m, want)
	}
	return nil
}

// clean tells whether no file has a log to replay, so that readers that know no logs can be asked.
func clean(d *crashdisk.Disk) bool {
	for _, name := range names[:4] {
		h, _, err := vhdx.ReadHeaders(d.File(name))
		if err != nil || !h.LogGUID.IsZero() {
			return false
		}
	}
	return true
}
