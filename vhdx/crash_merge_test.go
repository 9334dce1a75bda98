package vhdx

import (
	"context"
	"errors"
	"math/rand"
	"testing"

	"troy/internal/block"
)

// TestCrashMerge crashes at every step of merges: the child over the parent
// always reads the same, and the merge can be done again.
func TestCrashMerge(t *testing.T) {
	r := seeded(t)
	for round := range soak(4) {
		size := int64(6*mib - 4096)
		base := createMem(t, &CreateOptions{Size: size, BlockSize: 2 * mib, Kind: Kind(round % 2)})
		bf := openMem(t, base, true)
		play(t, chainOf(t, bf), r, 10)
		must(t, bf.Close())
		below := []*File{}
		if round%4 >= 2 { // merge into a differencing parent
			below = append(below, openMem(t, base, false))
			base = createMem(t, &CreateOptions{Kind: Differencing, Parent: below[0], ParentPath: "g", BlockSize: 2 * mib})
			bf = openMem(t, base, true)
			play(t, chainOf(t, bf, below[0]), r, 10)
			must(t, bf.Close())
		}
		childSize := size + []int64{0, 3*mib + 512, -mib - 512}[r.Intn(3)]
		child := createMem(t, &CreateOptions{Size: childSize, Kind: Differencing, Parent: openMem(t, base, false), ParentPath: "p", BlockSize: mib})
		cf := openMem(t, child, true)
		play(t, chainOf(t, append([]*File{cf, openMem(t, base, false)}, below...)...), r, 15)
		must(t, cf.Close())
		crashMerge(t, r, child, base, below)
	}
}

func crashMerge(t *testing.T, r *rand.Rand, child, base *memFile, below []*File) {
	t.Helper()
	cd, bd := newCrashDisk(child), newCrashDisk(base)
	cd.order = bd.order // one step after the other on both
	want := readAll(t, c0(t, child, append([]*File{openMem(t, base, false)}, below...)))
	states, tick := 0, 0
	step := func() {
		if tick++; tick%5 != 0 && len(bd.pending)+len(cd.pending) > 1 {
			return
		}
		states++
		c, b := cd.state(r), bd.state(r)
		got := readAll(t, c0(t, c, append([]*File{openMem(t, b, false)}, below...)))
		sameBytes(t, "the child over the half-merged parent", got, want)
		if states%7 == 0 {
			cf, bf := openMem(t, c, true), openMem(t, b, true)
			must(t, Merge(context.Background(), cf, bf, nil))
			must(t, cf.Close())
			must(t, bf.Close())
			sameBytes(t, "the parent after the second merge", readAll(t, c0(t, b, below)), want)
			checkClean(t, b, b.size)
		}
	}
	cd.step, bd.step = step, step
	cf, err := OpenStorage(cd, cd.size, &OpenOptions{Writable: true})
	must(t, err)
	bf, err := OpenStorage(bd, bd.size, &OpenOptions{Writable: true})
	must(t, err)
	must(t, Merge(context.Background(), cf, bf, nil))
	must(t, cf.Close())
	must(t, bf.Close())
	if states < 20 {
		t.Fatalf("only %d crash states", states)
	}
}

// TestCrashRelink: a locator is the old or the new one.
func TestCrashRelink(t *testing.T) {
	r := seeded(t)
	base := createMem(t, &CreateOptions{Size: 4 * mib, BlockSize: mib})
	pf := openMem(t, base, false)
	for range soak(20) {
		d := newCrashDisk(createMem(t, &CreateOptions{Kind: Differencing, Parent: pf, ParentPath: `.\old.vhdx`}))
		f, err := OpenStorage(d, d.size, &OpenOptions{Writable: true})
		must(t, err)
		long := string(make([]rune, 0))
		for range r.Intn(3000) { // may cross pages, may need another place
			long += "x"
		}
		seen := map[string]bool{}
		d.step = func() {
			st := d.state(r)
			f, err := NewFile(st, st.size)
			must(t, err)
			v, _ := f.Metadata().ParentLocator.Get(KeyRelativePath)
			if v != `.\old.vhdx` && v != `.\new.vhdx`+long {
				t.Fatalf("relative_path %q", v)
			}
			seen[v] = true
		}
		must(t, Relink(f, &RelinkOptions{RelativePath: "./new.vhdx" + long}))
		must(t, f.Close())
		if len(seen) != 2 {
			t.Fatalf("seen only %d locators", len(seen))
		}
	}
}

// TestCrashCreate: a disk that was not finished is no VHDX, or is empty and
// sound; what stood there before does not come back.
func TestCrashCreate(t *testing.T) {
	r := seeded(t)
	for _, kind := range []Kind{Dynamic, Fixed} {
		old := createMem(t, &CreateOptions{Size: 4 * mib, BlockSize: mib, Kind: Fixed})
		f := openMem(t, old, true)
		_, err := chainOf(t, f).WriteAt(randomBytes(r, 4*mib), 0)
		must(t, err)
		must(t, f.Close())
		d := newCrashDisk(old)
		complete := 0
		d.step = func() {
			st := d.state(r)
			f, err := NewFile(st, st.size)
			if errors.Is(err, ErrCorrupt) {
				return
			}
			must(t, err)
			if f.Creator() == "old" || f.geo.VirtualDiskSize == 4*mib {
				return // nothing has happened yet
			}
			complete++
			if !block.IsZero(readAll(t, chainOf(t, f))) {
				t.Fatal("a new disk shows old content")
			}
			checkNoErrors(t, st)
		}
		// Without Truncate: the space is what it is.
		f, err = CreateStorage(noTruncate{d}, &CreateOptions{Size: 3 * mib, BlockSize: mib, Kind: kind})
		must(t, err)
		if complete == 0 {
			t.Fatal("no complete state was seen")
		}
		if !block.IsZero(readAll(t, chainOf(t, f))) {
			t.Fatal("a new disk shows old content")
		}
	}
}

// noTruncate hides Truncate.
type noTruncate struct{ Storage }

func checkNoErrors(t testing.TB, m *memFile) {
	t.Helper()
	rep, err := Check(m, m.size, nil)
	must(t, err)
	for _, f := range rep.Findings {
		if f.Severity == Error {
			t.Fatalf("Check: %v", f)
		}
	}
}
