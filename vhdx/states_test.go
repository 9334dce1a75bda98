package vhdx

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/internal/block"
)

// TestPayloadStates reads every state in a base and in a differencing disk,
// at both sector sizes, stale bitmap bits included (MS-VHDX 2.5.1.1).
func TestPayloadStates(t *testing.T) {
	for _, lss := range []uint32{512, 4096} {
		t.Run(fmt.Sprint(lss), func(t *testing.T) { testPayloadStates(t, lss) })
	}
}

func testPayloadStates(t *testing.T, lss uint32) {
	r := seeded(t)
	const n = 8
	dir := t.TempDir()
	base := craft(t, &CreateOptions{Size: n*mib - 8192, BlockSize: mib, LogicalSectorSize: lss})
	want := make([]byte, n*mib)
	for b := range int64(n) {
		switch b {
		case 1: // the base's own odd states all read zero
			base.block(b, PayloadUndefined, nil)
		case 2:
			base.block(b, PayloadZero, nil)
		case 3:
			base.block(b, PayloadUnmapped, nil)
		case 4:
			base.block(b, PayloadUnmapped, randomBytes(r, mib)) // soft anchor
		default:
			c := randomBytes(r, mib)
			base.block(b, PayloadFullyPresent, c)
			copy(want[b*mib:], c)
		}
	}
	bf := openMem(t, base.m, false)
	sameBytes(t, "base", readAll(t, chainOf(t, bf)), want[:n*mib-8192])
	compareNaive(t, r, chainOf(t, bf), base.m)
	basePath := base.m.save(t, filepath.Join(dir, "base.vhdx"))
	sameBytes(t, "base by 7-Zip", sevenZip(t, basePath), want[:n*mib-8192])
	if lss == 512 {
		sameBytes(t, "base by QEMU", qemuRaw(t, basePath), want[:n*mib-8192])
	}

	child := craft(t, &CreateOptions{Kind: Differencing, Parent: bf, BlockSize: mib, ParentPath: `.\base.vhdx`})
	full := randomBytes(r, mib)
	per := int64(mib / lss)
	child.block(0, PayloadNotPresent, nil)
	child.bits(0, sectorsFrom(0, per)...) // stale: must not leak
	child.block(1, PayloadFullyPresent, full)
	copy(want[mib:], full) // all bits zero: must not be looked at
	child.block(2, PayloadFullyPresent, full)
	copy(want[2*mib:], full)
	child.block(5, PayloadZero, nil)
	child.bits(5, sectorsFrom(0, 20)...)
	child.block(6, PayloadUnmapped, randomBytes(r, mib))
	child.bits(6, sectorsFrom(3, 9)...)
	clear(want[5*mib : 7*mib])
	part := randomBytes(r, mib)
	child.block(7, PayloadPartiallyPresent, part)
	for _, s := range []int64{0, 1, 7, 8, 63, 64, 65, 100, per - 8192/int64(lss) - 1} {
		child.bits(7, s)
		copy(want[7*mib+s*int64(lss):7*mib+(s+1)*int64(lss)], part[s*int64(lss):])
	}
	child.bits(7, sectorsFrom(per-8192/int64(lss), 8192/int64(lss))...) // past the end, as Windows does
	cf := openMem(t, child.m, false)
	c := chainOf(t, cf, bf)
	sameBytes(t, "child", readAll(t, c), want[:n*mib-8192])
	compareNaive(t, r, c, child.m, base.m)
	extentsMatch(t, c, 0, c.Size())
	sameBytes(t, "child by 7-Zip", sevenZip(t, child.m.save(t, filepath.Join(dir, "child.vhdx"))), want[:n*mib-8192])
	checkClean(t, child.m, child.m.size)
	checkClean(t, base.m, base.m.size)
}

// TestUndefinedOpaque: UNDEFINED in a child hides its parent.
func TestUndefinedOpaque(t *testing.T) {
	r := seeded(t)
	base := craft(t, &CreateOptions{Size: 2 * mib, BlockSize: mib})
	base.block(0, PayloadFullyPresent, randomBytes(r, mib))
	bf := openMem(t, base.m, false)
	child := craft(t, &CreateOptions{Kind: Differencing, Parent: bf, BlockSize: mib})
	child.block(0, PayloadUndefined, nil)
	c := chainOf(t, openMem(t, child.m, false), bf)
	if !block.IsZero(readAll(t, c)) {
		t.Fatal("the parent shines through an UNDEFINED block")
	}
	for e, err := range c.Extents(0, 1) {
		must(t, err)
		if e.Kind != Undefined || e.Layer != 0 {
			t.Fatalf("extent %+v", e)
		}
	}
}

// TestManyChunks reads a differencing disk of three chunks, where the
// interleaved bitmap entries shift everything, beside 7-Zip and the naive
// reader, and lets the package write another.
func TestManyChunks(t *testing.T) {
	r := seeded(t)
	const size = 9*gib + 3*mib
	base := craft(t, &CreateOptions{Size: size, BlockSize: 256 * mib})
	child0 := &CreateOptions{Kind: Differencing, BlockSize: 2 * mib, ParentPath: "base.vhdx"}
	for _, b := range []int64{0, 15, 16, 36} {
		off := base.block(b, PayloadFullyPresent, []byte{1})
		base.m.WriteAt(randomBytes(r, 3*mib), off)
	}
	bf := openMem(t, base.m, false)
	compareNaive(t, r, chainOf(t, bf), base.m)
	child0.Parent = bf
	child := craft(t, child0)
	cr := child.geo.ChunkRatio()
	for _, b := range []int64{0, cr - 1, cr, 2*cr - 1, 2 * cr, child.geo.Blocks() - 1} {
		child.block(b, PayloadPartiallyPresent, randomBytes(r, 2*mib))
		child.bits(b, 0, 5, 6, 7, 2047)
	}
	c := chainOf(t, openMem(t, child.m, false), bf)
	compareNaive(t, r, c, child.m, base.m)
	extentsMatch(t, c, 0, size)

	w := createMem(t, child0)
	wf := openMem(t, w, true)
	wc := chainOf(t, wf, bf)
	var offs []int64
	for _, at := range []int64{4*gib - 7, 8*gib - 300, size - 4000, 4*gib + 1, 12345} {
		_, err := wc.WriteAt(randomBytes(r, 3000), at)
		must(t, err)
		offs = append(offs, at)
	}
	must(t, wf.Close())
	wf = openMem(t, w, false)
	wc = chainOf(t, wf, bf)
	compareNaive(t, r, wc, w, base.m)
	checkClean(t, w, w.size)
	for _, at := range offs {
		got := make([]byte, 9000)
		n, _ := wc.ReadAt(got, max(at-3000, 0))
		leaf, parent := mustNaive(t, w), mustNaive(t, base.m)
		leaf.parent = parent
		want, err := leaf.read(uint64(max(at-3000, 0)), uint64(n))
		must(t, err)
		sameBytes(t, "around a write", got[:n], want)
	}
}

// TestTwoChunks7Zip compares a differencing disk of two chunks with 7-Zip.
func TestTwoChunks7Zip(t *testing.T) {
	r := seeded(t)
	dir := t.TempDir()
	const size = 4*gib + 64*mib
	base, err := Create(filepath.Join(dir, "base.vhdx"), &CreateOptions{Size: size})
	must(t, err)
	bc := chainOf(t, base)
	child, err := Create(filepath.Join(dir, "child.vhdx"), &CreateOptions{Kind: Differencing, Parent: base, ParentPath: "base.vhdx"})
	must(t, err)
	for _, at := range []int64{5000, 4*gib - 5000, 4*gib + 33*mib, size - 9000} {
		_, err := bc.WriteAt(randomBytes(r, 9000), at)
		must(t, err)
	}
	must(t, Relink(child, &RelinkOptions{Parent: base, IgnoreMismatch: true}))
	c := chainOf(t, child, base)
	for _, at := range []int64{7000, 4*gib - 300, 4*gib + 40*mib, size - 700} {
		_, err := c.WriteAt(randomBytes(r, 700), at)
		must(t, err)
	}
	must(t, c.Sync())
	// 7-Zip's stream against ours, without holding either.
	must(t, c.Close())
	c, err = OpenChain(filepath.Join(dir, "child.vhdx"), &ChainOptions{Parents: &Parents{}})
	must(t, err)
	defer c.Close()
	stream(t, filepath.Join(dir, "child.vhdx"), c)
}

func mustNaive(t testing.TB, m *memFile) *naiveDisk {
	t.Helper()
	d, err := openNaive(m)
	must(t, err)
	return d
}

// TestRefusedStates: what breaks a MUST is an error where it is met, and
// nowhere else.
func TestRefusedStates(t *testing.T) {
	for _, tc := range []struct {
		name  string
		entry func(c *crafted) BATEntry
	}{
		{"state 4", func(c *crafted) BATEntry { return NewBATEntry(4, c.space(mib)) }},
		{"reserved bits", func(c *crafted) BATEntry { return NewBATEntry(6, c.space(mib)) | 8 }},
		{"partial in base", func(c *crafted) BATEntry { return NewBATEntry(7, c.space(mib)) }},
		{"past the end", func(c *crafted) BATEntry { return NewBATEntry(6, 1<<40) }},
		{"negative", func(c *crafted) BATEntry { return BATEntry(6) | 1<<63 }},
		{"in the header section", func(c *crafted) BATEntry { return NewBATEntry(6, 0) }},
		{"on the log", func(c *crafted) BATEntry { return NewBATEntry(6, mib) }},
		{"on the metadata", func(c *crafted) BATEntry { return NewBATEntry(6, 2*mib) }},
		{"on the BAT", func(c *crafted) BATEntry { return NewBATEntry(6, 3*mib) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := craft(t, &CreateOptions{Size: 4 * mib, BlockSize: mib})
			c.block(0, PayloadFullyPresent, bytes.Repeat([]byte{7}, mib))
			c.entry(c.geo.PayloadIndex(1), tc.entry(c))
			f := openMem(t, c.m, true)
			ch := chainOf(t, f)
			b := make([]byte, mib)
			if _, err := ch.ReadAt(b, 0); err != nil || b[0] != 7 {
				t.Fatalf("the good block before it: %v", err)
			}
			var fe *FormatError
			if _, err := ch.ReadAt(b, mib); !errors.As(err, &fe) || !errors.Is(err, ErrCorrupt) || fe.Offset != c.bat+8 {
				t.Fatalf("reading: %v", err)
			}
			if _, err := ch.WriteAt(b, mib); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("writing: %v", err)
			}
			found := false
			rep, err := Check(c.m, c.m.size, nil)
			must(t, err)
			for _, f := range rep.Findings {
				found = found || f.Severity == Error && f.Offset == c.bat+8
			}
			if !found {
				t.Fatalf("Check: %v", rep.Findings)
			}
		})
	}
}

// TestDraftState: state 5 was UNMAPPED in drafts of the format. It reads zero, hides the parent,
// keeps its space, and stays until the block is written to.
func TestDraftState(t *testing.T) {
	for _, tc := range []struct {
		name  string
		diff  bool
		space bool
	}{{"base", false, false}, {"base, anchored", false, true}, {"child", true, false}, {"child, anchored", true, true}} {
		t.Run(tc.name, func(t *testing.T) {
			r := seeded(t)
			o := &CreateOptions{Size: 4 * mib, BlockSize: mib}
			below, files := []*memFile{}, []*File{}
			if tc.diff {
				base := craft(t, o)
				base.block(1, PayloadFullyPresent, randomBytes(r, mib))
				below, files = append(below, base.m), append(files, openMem(t, base.m, false))
				o = &CreateOptions{Kind: Differencing, Parent: files[0], BlockSize: mib, ParentPath: "p"}
			}
			c := craft(t, o)
			var content []byte
			if tc.space {
				content = randomBytes(r, mib)
			}
			for _, b := range []int64{1, 2} {
				c.block(b, draftUnmapped, content)
			}
			f := openMem(t, c.m, true)
			ch := chainOf(t, append([]*File{f}, files...)...)
			compareNaive(t, r, ch, append([]*memFile{c.m}, below...)...)
			want := make([]byte, 4*mib)
			sameBytes(t, "before", readAll(t, ch), want)
			must(t, ch.TrimRange(mib, 2*mib)) // is done already
			copy(want[2*mib+5000:], "written")
			_, err := ch.WriteAt([]byte("written"), 2*mib+5000)
			must(t, err)
			must(t, f.Close())
			ch = chainOf(t, append([]*File{openMem(t, c.m, false)}, files...)...)
			sameBytes(t, "after a write", readAll(t, ch), want)
			e, err := ch.files[0].batEntry(c.geo.PayloadIndex(1))
			must(t, err)
			if BlockState(e&7) != draftUnmapped {
				t.Errorf("the untouched block has the entry %#x", e)
			}
			rep, err := Check(c.m, c.m.size, nil)
			must(t, err)
			if len(rep.Findings) != 1 || rep.Findings[0].Severity != Note || !strings.Contains(rep.Findings[0].Text, "state 5") {
				t.Errorf("Check: %v", rep.Findings)
			}
		})
	}
}

// TestSmallerAndLargerChild: past the end of a parent a child reads zero, and
// nothing of a larger grandparent shows.
func TestSmallerAndLargerChild(t *testing.T) {
	r := seeded(t)
	dir := t.TempDir()
	sizes := []int64{6 * mib, 3*mib + 1024, 5 * mib} // base, middle, leaf; 7-Zip refuses odd numbers of sectors
	var files []*File
	var mems []*memFile
	for i, size := range sizes {
		m := newMemFile()
		o := &CreateOptions{Size: size, BlockSize: uint32(1+i%2) * mib}
		if i > 0 {
			o.Kind, o.Parent, o.ParentPath = Differencing, files[0], fmt.Sprintf("%d.vhdx", i-1)
		}
		f, err := CreateStorage(m, o)
		must(t, err)
		if i == 0 {
			_, err = chainOf(t, f).WriteAt(randomBytes(r, int(size)), 0)
			must(t, err)
		}
		files, mems = append([]*File{f}, files...), append([]*memFile{m}, mems...)
	}
	must(t, files[1].Close()) // so that the bytes are complete
	must(t, files[2].Close())
	must(t, files[0].Close())
	for i, m := range mems {
		m.save(t, filepath.Join(dir, fmt.Sprintf("%d.vhdx", len(mems)-1-i)))
		files[i] = openMem(t, m, false)
	}
	relinkTest(t, mems)
	c := chainOf(t, files[2])
	want := make([]byte, 5*mib)
	_, err := c.ReadAt(want[:3*mib+1024], 0)
	must(t, err)
	for i, m := range mems {
		files[i] = openMem(t, m, false)
	}
	c = chainOf(t, files...)
	sameBytes(t, "leaf", readAll(t, c), want)
	compareNaive(t, r, c, mems...)
	extentsMatch(t, c, 0, c.Size())
	mid := chainOf(t, files[1:]...)
	dirMid := filepath.Join(dir, "mid")
	must(t, os.Mkdir(dirMid, 0o755))
	mems[2].save(t, filepath.Join(dirMid, "0.vhdx"))
	sameBytes(t, "smaller child by 7-Zip", sevenZip(t, mems[1].save(t, filepath.Join(dirMid, "1.vhdx"))), readAll(t, mid))
}

// relinkTest gives every child of closed files the linkage its parent has now.
func relinkTest(t testing.TB, leafFirst []*memFile) {
	t.Helper()
	for i := len(leafFirst) - 2; i >= 0; i-- {
		f := openMem(t, leafFirst[i], true)
		must(t, Relink(f, &RelinkOptions{Parent: openMem(t, leafFirst[i+1], false), IgnoreMismatch: true}))
		must(t, f.Close())
	}
}
