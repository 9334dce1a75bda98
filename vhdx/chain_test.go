package vhdx

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

// pair makes base.vhdx and child.vhdx in dir, with content, and returns what
// the child shows.
func pair(t *testing.T, dir string) []byte {
	t.Helper()
	r := seeded(t)
	base, err := Create(filepath.Join(dir, "base.vhdx"), &CreateOptions{Size: 4 * mib, BlockSize: mib})
	must(t, err)
	_, err = chainOf(t, base).WriteAt(randomBytes(r, 2*mib), 77)
	must(t, err)
	must(t, base.Sync())
	child, err := Create(filepath.Join(dir, "child.vhdx"), &CreateOptions{Kind: Differencing, Parent: base})
	must(t, err)
	c := chainOf(t, child, base)
	_, err = c.WriteAt(randomBytes(r, 5000), mib-100)
	must(t, err)
	must(t, c.Sync())
	b := readAll(t, c)
	must(t, c.Close())
	return b
}

// TestLinkage: a parent is accepted by either linkage, in any case of letters,
// and by nothing else.
func TestLinkage(t *testing.T) {
	base := sound(t)
	pf := openMem(t, base, false)
	g := pf.Header().DataWriteGUID
	for _, tc := range []struct {
		one, two string
		want     error
	}{
		{bracedGUID(g), "", nil},
		{strings.ToUpper(bracedGUID(g)), "", nil},
		{g.String(), "", nil},
		{bracedGUID(NewGUID()), bracedGUID(g), nil},
		{bracedGUID(NewGUID()), bracedGUID(GUID{}), ErrChainMismatch},
		{bracedGUID(NewGUID()), bracedGUID(NewGUID()), ErrChainMismatch},
		{"", bracedGUID(g), ErrCorrupt},
		{"{nonsense}", bracedGUID(g), ErrCorrupt},
		{bracedGUID(NewGUID()), "{nonsense}", ErrCorrupt},
	} {
		m := createMem(t, &CreateOptions{Kind: Differencing, Parent: pf, ParentPath: "p"})
		f := openMem(t, m, true)
		l := f.Metadata().ParentLocator
		l.Set(KeyParentLinkage, tc.one)
		l.Set(KeyParentLinkage2, tc.two)
		must(t, f.setLocator(l, false))
		if _, err := NewChain(f, pf); !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
			t.Errorf("%q, %q: %v, want %v", tc.one, tc.two, err, tc.want)
		}
	}
	// A zero linkage2 is none, even beside a parent whose GUID is zero.
	m := createMem(t, &CreateOptions{Kind: Differencing, Parent: pf, ParentPath: "p"})
	zero := base.clone()
	for _, off := range headerOffsets {
		editHeader(zero, off, func(b []byte) { clear(b[32:48]) })
	}
	if _, err := NewChain(openMem(t, m, false), openMem(t, zero, false)); !errors.Is(err, ErrChainMismatch) {
		t.Errorf("zero GUIDs: %v", err)
	}
}

// TestChainShapes: what is no chain.
func TestChainShapes(t *testing.T) {
	a, b := openMem(t, sound(t), false), openMem(t, sound(t), false)
	big := openMem(t, createMem(t, &CreateOptions{Size: 4 * mib, LogicalSectorSize: 4096}), false)
	child := openMem(t, createMem(t, &CreateOptions{Kind: Differencing, Parent: a, ParentPath: "p"}), true)
	must(t, Relink(child, &RelinkOptions{Parent: a, IgnoreMismatch: true}))
	big.hdr.DataWriteGUID = a.hdr.DataWriteGUID
	for name, files := range map[string][]*File{
		"nothing": {}, "two bases": {a, b}, "parent missing": {child}, "wrong parent": {child, b},
		"other sectors": {child, big}, "more below a base": {child, a, b}, "itself": {child, child},
	} {
		if _, err := NewChain(files...); !errors.Is(err, ErrChainMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Relink(child, &RelinkOptions{Parent: big, IgnoreMismatch: true}); !errors.Is(err, ErrChainMismatch) {
		t.Errorf("relink to other sectors: %v", err)
	}
	if err := Relink(child, &RelinkOptions{Parent: b}); !errors.Is(err, ErrChainMismatch) {
		t.Errorf("relink to another parent: %v", err)
	}
	if err := Relink(a, nil); !errors.Is(err, ErrChainMismatch) {
		t.Errorf("relink of a base: %v", err)
	}
	circle := func(*File) (*File, error) { return child, nil }
	child.hdr.DataWriteGUID, _ = child.Metadata().ParentLocator.Linkage()
	if _, err := ResolveChain(child, circle); !errors.Is(err, ErrChainMismatch) {
		t.Errorf("a circle: %v", err)
	}
}

// TestRelinkDataWriteGUID: a new path keeps the child's identity, another
// parent does not.
func TestRelinkDataWriteGUID(t *testing.T) {
	a, b := openMem(t, sound(t), false), openMem(t, sound(t), false)
	m := createMem(t, &CreateOptions{Kind: Differencing, Parent: a, ParentPath: "p"})
	f := openMem(t, m, true)
	g, g2 := f.Header().DataWriteGUID, NewGUID()
	must(t, Relink(f, &RelinkOptions{Parent: a, RelativePath: "dir/q.vhdx", AbsolutePath: `C:\dir\q.vhdx`, VolumePath: `\\?\Volume{x}\q.vhdx`, Linkage2: g2}))
	if f.Header().DataWriteGUID != g {
		t.Error("a new path changed the DataWriteGuid")
	}
	l := f.Metadata().ParentLocator
	for k, want := range map[string]string{KeyRelativePath: `dir\q.vhdx`, KeyAbsoluteWin32Path: `C:\dir\q.vhdx`, KeyVolumePath: `\\?\Volume{x}\q.vhdx`, KeyParentLinkage2: bracedGUID(g2)} {
		if v, _ := l.Get(k); v != want {
			t.Errorf("%s = %q, want %q", k, v, want)
		}
	}
	must(t, Relink(f, &RelinkOptions{Parent: b, IgnoreMismatch: true}))
	if f.Header().DataWriteGUID == g {
		t.Error("another parent kept the DataWriteGuid")
	}
	must(t, f.Close())
	chainOf(t, openMem(t, m, false), b)
	checkClean(t, m, m.size)
}

// TestReaderAt: the contract of io.ReaderAt and io.WriterAt at the ends.
func TestReaderAt(t *testing.T) {
	dir := t.TempDir()
	want := pair(t, dir)
	c, err := OpenChain(filepath.Join(dir, "child.vhdx"), &ChainOptions{Parents: &Parents{}, Writable: true})
	must(t, err)
	if err := iotest.TestReader(io.NewSectionReader(c, mib-50_000, 150_000), want[mib-50_000:mib+100_000]); err != nil {
		t.Error(err)
	}
	size := c.Size()
	b := make([]byte, 10)
	for _, tc := range []struct {
		off int64
		n   int
		err error
	}{{0, 10, nil}, {size - 10, 10, nil}, {size - 4, 4, io.EOF}, {size, 0, io.EOF}, {size + 5, 0, io.EOF}} {
		if n, err := c.ReadAt(b, tc.off); n != tc.n || err != tc.err {
			t.Errorf("ReadAt(%d) = %d, %v; want %d, %v", tc.off, n, err, tc.n, tc.err)
		}
	}
	if _, err := c.ReadAt(b, -1); err == nil {
		t.Error("ReadAt(-1) is accepted")
	}
	if n, err := c.WriteAt(b, size-4); n != 4 || err != io.ErrShortWrite {
		t.Errorf("WriteAt over the end = %d, %v", n, err)
	}
	if _, err := c.WriteAt(b, -1); err == nil {
		t.Error("WriteAt(-1) is accepted")
	}
	for _, r := range [][2]int64{{-1, 5}, {0, -5}, {size - 1, 2}, {size + 1, 0}} {
		if err := c.ZeroRange(r[0], r[1]); err == nil {
			t.Errorf("ZeroRange(%d, %d) is accepted", r[0], r[1])
		}
	}
	if got := slices.Collect(keys(c.Extents(size-5, 100))); len(got) != 1 || got[0].Length != 5 {
		t.Errorf("extents over the end: %+v", got)
	}
	must(t, c.Close())
	must(t, c.Close())
	for name, err := range map[string]error{
		"ReadAt": second(c.ReadAt(b, 0)), "WriteAt": second(c.WriteAt(b, 0)), "Sync": c.Sync(), "ZeroRange": c.ZeroRange(0, 1),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	c, err = OpenChain(filepath.Join(dir, "base.vhdx"), nil)
	must(t, err)
	for name, err := range map[string]error{"WriteAt": second(c.WriteAt(b, 0)), "ZeroRange": c.ZeroRange(0, 1), "TrimRange": c.TrimRange(0, 1)} {
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s on a file open for reading: %v", name, err)
		}
	}
	must(t, c.Sync())
	must(t, c.Close())
}

func second(_ int, err error) error { return err }

func keys[K, V any](seq func(func(K, V) bool)) func(func(K) bool) {
	return func(yield func(K) bool) {
		seq(func(k K, _ V) bool { return yield(k) })
	}
}

// TestConcurrent reads and writes from many goroutines at once, each in its
// own part of the disk.
func TestConcurrent(t *testing.T) {
	r := seeded(t)
	base := createMem(t, &CreateOptions{Size: 32 * mib, BlockSize: mib})
	pf := openMem(t, base, false)
	m := createMem(t, &CreateOptions{Kind: Differencing, Parent: pf, ParentPath: "p", BlockSize: mib})
	c := chainOf(t, openMem(t, m, true), pf)
	var wg sync.WaitGroup
	errs := make(chan error, 100)
	want := make([]byte, c.Size())
	const part = 4*mib + 1536
	for g := range int64(7) {
		b := randomBytes(r, part)
		copy(want[g*part:], b)
		wg.Go(func() {
			for at := int64(0); at < part; at += 7000 {
				p := b[at:min(at+7000, part)]
				if _, err := c.WriteAt(p, g*part+at); err != nil {
					errs <- err
					return
				}
				got := make([]byte, len(p))
				if _, err := c.ReadAt(got, g*part+at); err != nil || string(got) != string(p) {
					errs <- fmt.Errorf("at %#x: %v", g*part+at, err)
					return
				}
				if at%70_000 == 0 {
					if err := c.Sync(); err != nil {
						errs <- err
					}
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	must(t, c.Close())
	sameBytes(t, "disk", readAll(t, chainOf(t, openMem(t, m, false), openMem(t, base, false))), want)
	checkClean(t, m, m.size)
}
