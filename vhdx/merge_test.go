package vhdx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"path/filepath"
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
			blockCases[7].put(parent, r, b) // bits past the end set, too
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
	blockCases[7].put(child, r, 1)
	blockCases[7].put(child, r, child.geo.Blocks()-1)
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

// TestMergeChain merges chains of four in one go, with every file of another
// size and block size, and reads the result with QEMU and 7-Zip, too.
func TestMergeChain(t *testing.T) {
	r := seeded(t)
	for round := range soak(6) {
		dir := t.TempDir()
		files := randomChain(t, r, dir, 4)
		c := chainOf(t, files...)
		want := readAll(t, c)
		if round%2 == 0 {
			must(t, MergeChain(context.Background(), c, nil))
		} else { // the same, one by one
			for i := range files[:3] {
				must(t, Merge(context.Background(), files[i], files[i+1], &MergeOptions{KeepIdentity: i == 1}))
			}
		}
		base := files[3]
		for _, f := range files {
			must(t, f.Close())
		}
		m, err := OpenChain(base.path, nil)
		must(t, err)
		sameBytes(t, "merged base", readAll(t, m), want)
		must(t, m.Close())
		sameBytes(t, "merged base by 7-Zip", sevenZip(t, base.path), want)
		qemuCheck(t, base.path)
		sameBytes(t, "merged base by QEMU", qemuRaw(t, base.path), want)
	}
}

// randomChain makes n files in dir, all open for writing, leaf first, and
// plays writes, zeros and trims into each.
func randomChain(t testing.TB, r *rand.Rand, dir string, n int) []*File {
	t.Helper()
	var files []*File
	for i := range n {
		// 7-Zip wants an even number of sectors.
		o := &CreateOptions{Size: 8*mib + r.Int63n(8*1024)*1024, BlockSize: 1 << (20 + r.Intn(3)), Kind: Kind(r.Intn(2))}
		if i > 0 {
			o.Kind, o.Parent, o.ParentPath = Differencing, files[0], fmt.Sprintf("%d.vhdx", i-1)
		}
		f, err := Create(filepath.Join(dir, fmt.Sprintf("%d.vhdx", i)), o)
		must(t, err)
		files = append([]*File{f}, files...)
		play(t, chainOf(t, files...), r, 25)
	}
	for i := len(files) - 2; i >= 0; i-- { // their parents changed after they were made
		must(t, Relink(files[i], &RelinkOptions{Parent: files[i+1], IgnoreMismatch: true}))
	}
	return files
}

// play carries out random changes.
func play(t testing.TB, c *Chain, r *rand.Rand, n int) {
	t.Helper()
	for range n {
		off := r.Int63n(c.Size())
		k := min(r.Int63n(2*mib), c.Size()-off)
		if r.Intn(3) == 0 {
			off, k = off&^4095, k&^4095
		}
		var err error
		switch r.Intn(5) {
		case 0:
			err = c.ZeroRange(off, min(2*k, c.Size()-off))
		case 1:
			err = c.TrimRange(off, min(2*k, c.Size()-off))
		default:
			_, err = c.WriteAt(randomBytes(r, int(k)), off)
		}
		must(t, err)
	}
}

// TestMergeGUIDs: note 12, siblings, and KeepIdentity.
func TestMergeGUIDs(t *testing.T) {
	r := seeded(t)
	base := createMem(t, &CreateOptions{Size: 4 * mib, BlockSize: mib})
	pf := openMem(t, base, true)
	g := pf.Header().DataWriteGUID
	mk := func() *memFile {
		return createMem(t, &CreateOptions{Kind: Differencing, Parent: pf, BlockSize: mib, ParentPath: "p"})
	}
	child, sibling := mk(), mk()
	cf := openMem(t, child, true)
	_, err := chainOf(t, cf, pf).WriteAt(randomBytes(r, 5000), 100)
	must(t, err)
	must(t, cf.Sync())
	grandchild := createMem(t, &CreateOptions{Kind: Differencing, Parent: cf, BlockSize: mib, ParentPath: "c"})

	must(t, Merge(context.Background(), cf, pf, nil))
	l := cf.Metadata().ParentLocator
	first, _ := l.Linkage()
	second, _ := l.Linkage2()
	if now := pf.Header().DataWriteGUID; first != g || second != now || now == g {
		t.Fatalf("linkage %v, linkage2 %v, parent was %v and is %v", first, second, g, now)
	}
	if _, err := NewChain(openMem(t, sibling, false), pf); !errors.Is(err, ErrChainMismatch) {
		t.Fatalf("a sibling is accepted: %v", err)
	}
	chainOf(t, cf, pf) // by linkage2

	// Again, as after a crash; then take over the child's place.
	must(t, Merge(context.Background(), cf, pf, &MergeOptions{KeepIdentity: true}))
	l = cf.Metadata().ParentLocator
	if first, _ = l.Linkage(); first != second {
		t.Fatalf("the second run does not link to what the first left: %v, want %v", first, second)
	}
	chainOf(t, openMem(t, grandchild, false), pf)
	if _, err := NewChain(cf, pf); !errors.Is(err, ErrChainMismatch) {
		t.Fatalf("the child still fits: %v", err)
	}
	for _, f := range []*File{cf, pf} {
		if h := f.Header(); !h.LogGUID.IsZero() {
			t.Fatal("a log is open after Merge")
		}
		must(t, f.Close())
	}
}

// TestMergeRefused: nothing is touched when a merge cannot be done.
func TestMergeRefused(t *testing.T) {
	base := createMem(t, &CreateOptions{Size: 4 * mib, BlockSize: mib})
	other := createMem(t, &CreateOptions{Size: 4 * mib, BlockSize: mib})
	child := createMem(t, &CreateOptions{Kind: Differencing, Parent: openMem(t, base, false), BlockSize: mib})
	for _, tc := range []struct {
		name          string
		child, parent *File
		want          error
	}{
		{"wrong parent", openMem(t, child, true), openMem(t, other, true), ErrChainMismatch},
		{"no child", openMem(t, base, true), openMem(t, other, true), ErrChainMismatch},
		{"parent read-only", openMem(t, child, true), openMem(t, base, false), ErrReadOnly},
		{"child read-only", openMem(t, child, false), openMem(t, base, true), ErrReadOnly},
	} {
		a, b := child.clone(), base.clone()
		if err := Merge(context.Background(), tc.child, tc.parent, nil); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if !sameFile(a, child) || !sameFile(b, base) {
			t.Errorf("%s: a file was changed", tc.name)
		}
	}
}

// TestMergeCancelled: a merge that was stopped leaves a chain that reads the
// same, closed cleanly, and can be merged again.
func TestMergeCancelled(t *testing.T) {
	r := seeded(t)
	files := randomChain(t, r, t.TempDir(), 2)
	c := chainOf(t, files...)
	want := readAll(t, c)
	ctx, cancel := context.WithCancel(context.Background())
	stop := &stopper{cancel: cancel, after: 2}
	if err := Merge(ctx, files[0], files[1], &MergeOptions{Progress: stop}); !errors.Is(err, context.Canceled) {
		t.Fatalf("Merge: %v", err)
	}
	for _, f := range files {
		must(t, f.Close())
	}
	c, err := OpenChain(files[0].path, &ChainOptions{Resolve: PathsResolver(files[1].path), Writable: true, WritableParents: true})
	must(t, err)
	for _, f := range c.Files() {
		if f.LogPending() {
			t.Error("a log was left")
		}
	}
	sameBytes(t, "half merged", readAll(t, c), want)
	must(t, MergeChain(context.Background(), c, nil))
	sameBytes(t, "merged", readAll(t, chainOf(t, c.files[1])), want)
	must(t, c.Close())
}

// stopper cancels after some progress.
type stopper struct {
	cancel func()
	after  int
}

func (s *stopper) Add(int64) {
	if s.after--; s.after == 0 {
		s.cancel()
	}
}

// TestMergeItems: further metadata that describe the disk come from the child,
// others stay the parent's.
func TestMergeItems(t *testing.T) {
	id := func(n byte) GUID { return GUID{1, 2, 3, 15: n} }
	item := func(n byte, disk bool, text string) MetadataItem {
		return MetadataItem{ID: id(n), IsUser: true, IsVirtualDisk: disk, Data: []byte(text)}
	}
	base := createMem(t, &CreateOptions{Size: 4 * mib, BlockSize: mib, Items: []MetadataItem{item(1, true, "old disk"), item(2, false, "the file's")}})
	pf := openMem(t, base, true)
	child := createMem(t, &CreateOptions{Kind: Differencing, Parent: pf, BlockSize: mib, Items: []MetadataItem{item(3, true, "new disk")}})
	cf := openMem(t, child, true)
	if n := len(cf.Metadata().Items); n != 2 {
		t.Fatalf("the child has %d items, want its own and one of its parent", n)
	}
	must(t, Merge(context.Background(), cf, pf, nil))
	must(t, pf.Close())
	pf = openMem(t, base, false)
	got := map[GUID]string{}
	for _, it := range pf.Metadata().Items {
		b, err := pf.MetadataItem(it)
		must(t, err)
		got[it.ID] = string(b)
	}
	want := map[GUID]string{id(1): "old disk", id(2): "the file's", id(3): "new disk"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("items %v, want %v", got, want)
	}
	if !bytes.Equal(readAll(t, chainOf(t, pf)), make([]byte, 4*mib)) {
		t.Fatal("content changed")
	}
}
