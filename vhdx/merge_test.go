package vhdx

import (
	"context"
	"fmt"
	"math/rand"
	"testing"
)

// blockCase is a state of a block in the table of merge rules.
type blockCase struct {
	name  string
	state BlockState
	space bool // has content in the file, or keeps its place
	diff  bool // only in a differencing disk
}

var blockCases = []blockCase{
	{"NOT_PRESENT", PayloadNotPresent, false, false},
	{"UNDEFINED", PayloadUndefined, false, false},
	{"UNDEFINED anchored", PayloadUndefined, true, false},
	{"ZERO", PayloadZero, false, false},
	{"UNMAPPED", PayloadUnmapped, false, false},
	{"UNMAPPED anchored", PayloadUnmapped, true, false},
	{"UNMAPPED of old drafts", draftUnmapped, true, false},
	{"FULLY", PayloadFullyPresent, true, false},
	{"PARTIALLY", PayloadPartiallyPresent, true, true},
}

// put makes a block of a crafted disk such a case, with stale bits where bits
// mean nothing.
func (bc blockCase) put(c *crafted, r *rand.Rand, block int64) {
	var content []byte
	if bc.space {
		content = randomBytes(r, int(c.geo.BlockSize))
	}
	c.block(block, bc.state, content)
	if !c.geo.Differencing {
		return
	}
	per := int64(c.geo.BlockSize) / int64(c.geo.LogicalSectorSize)
	for range 30 {
		c.bits(block, sectorsFrom(r.Int63n(per-8), 8)...)
	}
}

// TestMergeTable merges every state of a child into every state of a parent:
// child blocks smaller, as large, and larger than the parent's; parents that
// are dynamic, fixed, or differencing themselves.
func TestMergeTable(t *testing.T) {
	r := seeded(t)
	for _, bs := range [][2]uint32{{mib, 2 * mib}, {mib, mib}, {2 * mib, mib}} {
		for _, kind := range []Kind{Dynamic, Fixed, Differencing} {
			t.Run(fmt.Sprintf("%d into %v %d", bs[0]/mib, kind, bs[1]/mib), func(t *testing.T) {
				testMergeTable(t, r, bs[0], bs[1], kind)
			})
		}
	}
}

func testMergeTable(t *testing.T, r *rand.Rand, childBS, parentBS uint32, kind Kind) {
	step := int64(max(childBS, parentBS))
	var pairs [][2]blockCase
	for _, pc := range blockCases {
		if pc.diff && kind != Differencing || kind == Fixed && pc.state != PayloadFullyPresent && pc.state != PayloadZero {
			continue
		}
		for _, cc := range blockCases {
			pairs = append(pairs, [2]blockCase{pc, cc})
		}
	}
	size := step*int64(len(pairs)) - 3*4096 // the last block is not whole
	lss := []uint32{512, 4096}[r.Intn(2)]

	grand := craft(t, &CreateOptions{Size: size, BlockSize: mib, LogicalSectorSize: lss})
	for b := range grand.geo.Blocks() {
		grand.block(b, PayloadFullyPresent, randomBytes(r, mib))
	}
	gf := openMem(t, grand.m, false)
	po := &CreateOptions{Size: size, Kind: Dynamic, BlockSize: parentBS, LogicalSectorSize: lss}
	if kind == Differencing {
		po.Kind, po.Parent, po.ParentPath = Differencing, gf, "g"
	}
	parent := craft(t, po)
	if kind == Fixed {
		parent.m = setFixed(t, parent.m)
	}
	co := &CreateOptions{Kind: Differencing, BlockSize: childBS, Parent: openMem(t, parent.m, false), ParentPath: "p"}
	child := craft(t, co)
	for i, p := range pairs {
		for b := int64(i) * step / int64(parentBS); b < min(int64(i+1)*step/int64(parentBS), parent.geo.Blocks()); b++ {
			p[0].put(parent, r, b)
		}
		for b := int64(i) * step / int64(childBS); b < min(int64(i+1)*step/int64(childBS), child.geo.Blocks()); b++ {
			if b%2 == 1 && step > int64(childBS) && r.Intn(2) == 0 {
				continue // only half of the parent's block
			}
			p[1].put(child, r, b)
		}
	}
	below := []*memFile{}
	if kind == Differencing {
		below = append(below, grand.m)
	}
	mergeAndCompare(t, r, child.m, parent.m, below...)
}

// setFixed sets LeaveBlockAllocated in a closed file.
func setFixed(t *testing.T, m *memFile) *memFile {
	t.Helper()
	m.WriteAt([]byte{flagLeaveAllocated}, 2*mib+metadataTableSize+4)
	if !openMem(t, m, false).Metadata().LeaveBlockAllocated {
		t.Fatal("the flag was not set")
	}
	return m
}

// mergeAndCompare merges child into parent and checks all that a merge
// promises. below are the files that the parent stands on.
func mergeAndCompare(t *testing.T, r *rand.Rand, child, parent *memFile, below ...*memFile) {
	t.Helper()
	open := func(writable int, ms ...*memFile) []*File {
		var fs []*File
		for i, m := range ms {
			fs = append(fs, openMem(t, m, i < writable))
		}
		return fs
	}
	all := append([]*memFile{child, parent}, below...)
	before := chainOf(t, open(0, all...)...)
	want := readAll(t, before)
	compareNaive(t, r, before, all...)
	cm := before.files[0].Metadata()

	fs := open(2, all...)
	must(t, Merge(context.Background(), fs[0], fs[1], nil))
	must(t, fs[0].Close())
	must(t, fs[1].Close())

	after := chainOf(t, open(0, all[1:]...)...)
	sameBytes(t, "the parent after merge", readAll(t, after), want)
	compareNaive(t, r, after, all[1:]...)
	extentsMatch(t, after, 0, after.Size())
	masked := chainOf(t, open(0, all...)...)
	sameBytes(t, "the child over the merged parent", readAll(t, masked), want)
	pm := after.files[0].Metadata()
	if pm.VirtualDiskID != cm.VirtualDiskID || pm.VirtualDiskSize != cm.VirtualDiskSize || pm.PhysicalSectorSize != cm.PhysicalSectorSize {
		t.Fatalf("the parent's metadata are not the child's: %+v, want %+v", pm, cm)
	}
	checkClean(t, parent, parent.size)
}

// TestMergeSizes: larger and smaller children, a last block that is not whole
// and holds garbage past the end, and a BAT that has to move.
func TestMergeSizes(t *testing.T) {
	r := seeded(t)
	for _, diff := range []bool{false, true} {
		for _, fixed := range []bool{false, true} {
			for _, sizes := range [][2]int64{{5*mib + 512*3, 9*mib + 512}, {9*mib + 512, 5*mib + 512*3}, {5*mib + 512, 6 * mib}, {5*mib - 512, 5 * mib}, {3 * mib, 200*gib + 512}} {
				if fixed && (diff || sizes[1] > gib) {
					continue
				}
				t.Run(fmt.Sprintf("diff %v fixed %v %d to %d", diff, fixed, sizes[0], sizes[1]), func(t *testing.T) {
					testMergeSizes(t, r, diff, fixed, sizes[0], sizes[1])
				})
			}
		}
	}
}

func testMergeSizes(t *testing.T, r *rand.Rand, diff, fixed bool, from, to int64) {
	grand := craft(t, &CreateOptions{Size: 12 * mib, BlockSize: mib})
	for b := range int64(12) {
		grand.block(b, PayloadFullyPresent, randomBytes(r, mib))
	}
	gf := openMem(t, grand.m, false)
	po := &CreateOptions{Size: from, BlockSize: mib}
	if fixed {
		po.Kind = Fixed
	}
	if diff {
		po.Kind, po.Parent, po.ParentPath = Differencing, gf, "g"
	}
	parent := craft(t, po)
	for b := range parent.geo.Blocks() {
		switch last := b == parent.geo.Blocks()-1; {
		case diff && last:
			blockCases[len(blockCases)-1].put(parent, r, b) // also bits past the end set
			parent.bits(b, sectorsFrom(1000, 1048)...)
		case last || !diff:
			parent.block(b, PayloadFullyPresent, randomBytes(r, mib)) // garbage past the end
		}
	}
	// Garbage where new entries will stand, as old QEMU left it.
	for b := parent.geo.Blocks(); b < parent.geo.Blocks()+20; b++ {
		parent.entry(parent.geo.PayloadIndex(b), 2)
	}
	child := craft(t, &CreateOptions{Kind: Differencing, Size: to, BlockSize: 2 * mib, Parent: openMem(t, parent.m, false), ParentPath: "p"})
	blockCases[len(blockCases)-1].put(child, r, 1)
	blockCases[len(blockCases)-1].put(child, r, child.geo.Blocks()-1)
	if to < gib {
		below := []*memFile{}
		if diff {
			below = append(below, grand.m)
		}
		mergeAndCompare(t, r, child.m, parent.m, below...)
		return
	}
	mergeLarge(t, r, child.m, parent.m, grand.m, diff)
}

// mergeLarge is mergeAndCompare for disks that do not fit into memory.
func mergeLarge(t *testing.T, r *rand.Rand, child, parent, grand *memFile, diff bool) {
	t.Helper()
	c0, p0 := child.clone(), parent.clone()
	below := []*memFile{}
	if diff {
		below = append(below, grand)
	}
	cf, pf := openMem(t, child, true), openMem(t, parent, true)
	oldBAT := pf.bat
	must(t, MergeChain(context.Background(), chainOfUnchecked(cf, pf), nil))
	must(t, cf.Close())
	must(t, pf.Close())
	var fs []*File
	for _, m := range append([]*memFile{parent}, below...) {
		fs = append(fs, openMem(t, m, false))
	}
	if fs[0].bat == oldBAT {
		t.Fatal("the BAT should have moved")
	}
	after := chainOf(t, fs...)
	var leaf *naiveDisk
	for i, m := range append([]*memFile{c0, p0}, below...) {
		d := mustNaive(t, m)
		if i == 0 {
			leaf = d
			continue
		}
		at := leaf
		for at.parent != nil {
			at = at.parent
		}
		at.parent = d
	}
	for _, off := range []int64{0, 2 * mib, 3*mib - 2000, 3 * mib, 5 * mib, 4 * gib, 100 * gib, after.Size() - 2*mib, after.Size() - 5000} {
		got := make([]byte, 5000)
		_, err := after.ReadAt(got, off)
		must(t, err)
		want, err := leaf.read(uint64(off), 5000)
		must(t, err)
		sameBytes(t, fmt.Sprintf("at %#x", off), got, want)
	}
	compareNaive(t, r, after, append([]*memFile{parent}, below...)...)
	checkClean(t, parent, parent.size)
}

// chainOfUnchecked is a chain whose last file may have a parent.
func chainOfUnchecked(fs ...*File) *Chain { return &Chain{files: fs} }
