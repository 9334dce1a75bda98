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

// TestMergeChain merges chains of four in one go, with every file of another
// size and block size, and also reads the result with QEMU and 7-Zip.
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
	c, err := OpenChain(files[0].path, &ChainOptions{Parents: &Parents{Named: []string{files[1].path}}, Writable: true, WritableParents: true})
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

// TestMergeItemsTogether: items of two sound files that do not go together refuse the merge before
// anything is announced; where they stand does not matter.
func TestMergeItemsTogether(t *testing.T) {
	item := func(n int, user, disk bool, length int) MetadataItem {
		return MetadataItem{ID: GUID{1, byte(n >> 8), byte(n)}, IsUser: user, IsVirtualDisk: disk, Data: bytes.Repeat([]byte{byte(n)}, length)}
	}
	many := func(from, n int, user, disk bool, length int) (list []MetadataItem) {
		for i := range n {
			list = append(list, item(from+i, user, disk, length))
		}
		return list
	}
	for _, tc := range []struct {
		name          string
		parent, child []MetadataItem
		far           bool // the parent's items are at the end of its region
		want          error
	}{
		{"together", many(0, 600, true, false, 1), many(1000, 424, true, true, 1), false, nil},
		{"same id", many(1, 1, true, false, 6), many(1, 1, true, true, 6), false, ErrUnsupported},
		{"same id, once the user's", many(1, 1, true, false, 6), many(1, 1, false, true, 6), false, nil},
		{"too many of the user", many(0, 600, true, false, 1), many(1000, 600, true, true, 1), false, ErrUnsupported},
		{"too many", many(0, 1100, false, false, 1), many(2000, 1000, false, true, 1), false, ErrUnsupported},
		{"no room in the region", many(0, 9, true, false, 60*kib), many(20, 9, true, true, 60*kib), false, ErrUnsupported},
		{"no room in the log", many(0, 1, true, false, 200*kib), many(20, 1, true, true, 300*kib), false, ErrUnsupported},
		{"far behind", many(0, 1, true, false, 5), many(20, 1, true, true, 5), true, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := seeded(t)
			base := createMem(t, &CreateOptions{Size: 4 * mib, BlockSize: mib, Items: tc.parent})
			if tc.far {
				moveItem(t, base)
			}
			pf := openMem(t, base, true)
			child := createMem(t, &CreateOptions{Kind: Differencing, Parent: pf, BlockSize: mib, Items: tc.child})
			must(t, pf.Close())
			if tc.far {
				moveItem(t, child)
			}
			beforeP, beforeC := base.clone(), child.clone()
			if tc.want == nil {
				mergeAndCompare(t, r, child, base)
				f := openMem(t, base, false)
				if n := len(f.Metadata().Items); n != len(tc.parent)+len(tc.child) {
					t.Fatalf("%d items, want %d", n, len(tc.parent)+len(tc.child))
				}
				for _, it := range f.Metadata().Items {
					b, err := f.MetadataItem(it)
					must(t, err)
					if !bytes.Equal(b, bytes.Repeat([]byte{it.ID[2]}, len(b))) {
						t.Fatalf("item %v has another content", it.ID)
					}
				}
				return
			}
			pf, cf := openMem(t, base, true), openMem(t, child, true)
			if err := Merge(context.Background(), cf, pf, nil); !errors.Is(err, tc.want) {
				t.Fatalf("Merge: %v, want %v", err, tc.want)
			}
			must(t, cf.Close())
			must(t, pf.Close())
			if !sameFile(beforeP, base) || !sameFile(beforeC, child) {
				t.Fatal("a file was changed")
			}
		})
	}
}

// moveItem puts the last item of a file at the end of the metadata region.
func moveItem(t *testing.T, m *memFile) {
	t.Helper()
	f := openMem(t, m, false)
	r, _ := f.Regions().Find(RegionMetadata)
	items := f.Metadata().Items
	it := items[len(items)-1]
	at, old, err := f.metadataEntry(it.ID, it.IsUser)
	must(t, err)
	b, err := f.MetadataItem(it)
	must(t, err)
	to := r.Length - old.Length
	m.WriteAt(b, r.Offset+to)
	m.WriteAt(le.AppendUint32(nil, uint32(to)), at+16)
}
