package vhdx

import (
	"bytes"
	"math/rand"
	"testing"

	"troy/internal/block"
)

// crafted is a disk whose BAT and bitmaps a test sets by hand, to get what no
// program here writes.
type crafted struct {
	t   testing.TB
	m   *memFile
	bat int64
	geo Geometry
}

// craft makes an empty disk for setting by hand.
func craft(t testing.TB, o *CreateOptions) *crafted {
	t.Helper()
	m := createMem(t, o)
	f := openMem(t, m, false)
	r, _ := f.Regions().Find(RegionBAT)
	return &crafted{t, m, r.Offset, f.Geometry()}
}

// entry sets a BAT entry.
func (c *crafted) entry(index int64, e BATEntry) {
	c.m.WriteAt(le.AppendUint64(nil, uint64(e)), c.bat+8*index)
}

// space appends n bytes to the file.
func (c *crafted) space(n int64) int64 {
	off := block.RoundUp(c.m.size, mib)
	must(c.t, c.m.Truncate(off+n))
	return off
}

// block gives a block a state and, if content is not nil, a place with it.
func (c *crafted) block(b int64, s BlockState, content []byte) int64 {
	off := int64(0)
	if content != nil {
		off = c.space(int64(c.geo.BlockSize))
		c.m.WriteAt(content, off)
	}
	c.entry(c.geo.PayloadIndex(b), NewBATEntry(s, off))
	return off
}

// bits sets sector bits of a block, giving its chunk a bitmap if need be.
func (c *crafted) bits(b int64, sectors ...int64) {
	cr := c.geo.ChunkRatio()
	i := c.geo.BitmapIndex(b / cr)
	e := make([]byte, 8)
	c.m.ReadAt(e, c.bat+8*i)
	off := BATEntry(le.Uint64(e)).FileOffset()
	if off == 0 {
		off = c.space(mib)
		c.entry(i, NewBATEntry(BitmapPresent, off))
	}
	per := int64(c.geo.BlockSize) / int64(c.geo.LogicalSectorSize)
	for _, s := range sectors {
		n := b%cr*per + s
		one := make([]byte, 1)
		c.m.ReadAt(one, off+n/8)
		one[0] |= 1 << (n % 8)
		c.m.WriteAt(one, off+n/8)
	}
}

// sectorsFrom lists n sectors from first on.
func sectorsFrom(first, n int64) (s []int64) {
	for i := range n {
		s = append(s, first+i)
	}
	return s
}

// compareNaive reads ranges of a chain with the package and with the naive
// reader; files are leaf first.
func compareNaive(t testing.TB, r *rand.Rand, c *Chain, files ...*memFile) {
	t.Helper()
	var leaf *naiveDisk
	for i := len(files) - 1; i >= 0; i-- {
		d, err := openNaive(files[i])
		must(t, err)
		d.parent, leaf = leaf, d
	}
	size := c.Size()
	if uint64(size) != leaf.size {
		t.Fatalf("size %d, naive reader says %d", size, leaf.size)
	}
	bs := int64(c.files[0].geo.BlockSize)
	var at []int64
	for b := int64(0); b < size; b += bs { // around every block border of small disks
		if len(at) < 64 {
			at = append(at, b, b-1000)
		}
	}
	for range 40 {
		at = append(at, r.Int63n(size))
	}
	at = append(at, size-5000, size-1)
	for _, off := range at {
		off = max(off, 0)
		n := min(int64(r.Intn(70_000)+1), size-off)
		got := make([]byte, n)
		if k, err := c.ReadAt(got, off); int64(k) != n {
			t.Fatalf("ReadAt(%#x, %d) = %d, %v", off, n, k, err)
		}
		want, err := leaf.read(uint64(off), uint64(n))
		must(t, err)
		if !bytes.Equal(got, want) {
			t.Fatalf("ReadAt(%#x, %d) differs from the naive reader", off, n)
		}
	}
}

// extentsMatch checks that the extents of a range are gapless and that each
// tells what ReadAt shows.
func extentsMatch(t testing.TB, c *Chain, off, n int64) {
	t.Helper()
	at := off
	for e, err := range c.Extents(off, n) {
		must(t, err)
		if e.Offset != at || e.Length <= 0 {
			t.Fatalf("extent %+v, expected to start at %#x", e, at)
		}
		at += e.Length
		k := min(e.Length, 64*kib) // both ends of long ones
		for _, p := range []int64{0, e.Length - k} {
			got, want := make([]byte, k), make([]byte, k)
			c.ReadAt(got, e.Offset+p)
			if e.Kind == Data {
				c.files[e.Layer].r.ReadAt(want, e.FileOffset+p)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("extent %+v does not tell what the disk shows", e)
			}
		}
	}
	if at != min(off+n, c.Size()) {
		t.Fatalf("extents end at %#x, want %#x", at, min(off+n, c.Size()))
	}
}
