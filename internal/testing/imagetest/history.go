// Package imagetest makes random histories of images for tests, publishes them, and checks what a
// machine gets.
package imagetest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"troy/image"
	"troy/image/publish"
)

// Soak multiplies the counts of random tests when TROY_SOAK=1.
func Soak(n int) int {
	if os.Getenv("TROY_SOAK") == "1" {
		return n * 10
	}
	return n
}

// Seeded returns random numbers, and prints the seed.
func Seeded(t testing.TB, seed uint64) *rand.Rand {
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// Fill fills b with random bytes.
func Fill(r *rand.Rand, b []byte) {
	for i := 0; i < len(b); i += 8 {
		v := r.Uint64()
		for j := i; j < min(i+8, len(b)); j++ {
			b[j] = byte(v)
			v >>= 8
		}
	}
}

// Text fills b with something that compresses.
func Text(r *rand.Rand, b []byte) {
	for i := range b {
		b[i] = "abcdefgh"[r.IntN(8)]
	}
}

// GUID returns the n-th GUID.
func GUID(n int) string { return fmt.Sprintf("%08x-0000-4000-8000-000000000000", n) }

// PairName names a test of the way between two versions.
func PairName(have, want int) string { return strconv.Itoa(have) + "to" + strconv.Itoa(want) }

// State is one version as the tests know it.
type State struct {
	Data []byte
	Free []image.Range // what the filter says, whole pages
	Diff []image.Range // what the child names over the state before
	ID   string
}

// Disk returns the state as a disk to publish, on its parent or on nothing.
func (s *State) Disk(parent *State) *publish.Disk {
	d := &publish.Disk{Reader: bytes.NewReader(s.Data), Size: int64(len(s.Data)), SectorSize: 512, DataWriteGUID: s.ID}
	if parent == nil {
		return d
	}
	d.Parents = []string{parent.ID}
	d.Since = func(id string) (*publish.Delta, error) {
		if id != parent.ID {
			return nil, nil
		}
		return &publish.Delta{Parent: bytes.NewReader(parent.Data), ParentSize: int64(len(parent.Data)), Changed: RangeSeq(s.Diff)}, nil
	}
	return d
}

// isFree reports whether the filter says that a page is unused.
func (s *State) isFree(page int64) bool {
	return slices.ContainsFunc(s.Free, func(f image.Range) bool {
		return f.Offset <= page*image.PageSize && page*image.PageSize < f.Offset+f.Length
	})
}

// RangeSeq yields the ranges of a list.
func RangeSeq(l []image.Range) iter.Seq2[image.Range, error] {
	return func(yield func(image.Range, error) bool) {
		for _, r := range l {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// Filter is a publish.Filter that knows the answer.
type Filter struct{ Free []image.Range }

// Unused implements publish.Filter.
func (f Filter) Unused(context.Context, io.ReaderAt, int64, uint32) ([]image.Range, []string, error) {
	return f.Free, []string{"given by the test"}, nil
}

// First makes a first state: random, text, zeros.
func First(r *rand.Rand, pages int64) *State {
	s := &State{Data: make([]byte, pages*image.PageSize), ID: GUID(1)}
	for range 10 {
		off := r.Int64N(pages) * image.PageSize
		b := s.Data[off:min(int64(len(s.Data)), off+r.Int64N(400)*image.PageSize)]
		if r.IntN(2) == 0 {
			Fill(r, b)
		} else {
			Text(r, b)
		}
	}
	return s
}

// Mutate makes the next state: sector writes at boundaries and at random places, zeros, moved
// pages, equal rewrites.
func Mutate(r *rand.Rand, old *State, n int, filtered bool) *State {
	s := &State{Data: slices.Clone(old.Data), ID: GUID(n), Free: old.Free}
	for range 3 + r.IntN(20) {
		s.write(r, old)
	}
	slices.SortFunc(s.Diff, func(a, b image.Range) int { return cmp.Compare(a.Offset, b.Offset) })
	if filtered {
		s.Free = someFree(r, int64(len(s.Data))/image.PageSize)
	}
	return s
}

// write makes one change, and names it.
func (s *State) write(r *rand.Rand, old *State) {
	size := int64(len(s.Data))
	off := r.Int64N(size)
	switch r.IntN(4) {
	case 0: // just before or at a page, chunk or region boundary
		unit := []int64{image.PageSize, image.RegionSize}[r.IntN(2)]
		off = min(max(0, off/unit*unit-512*r.Int64N(3)), size-512)
	case 1:
		off = []int64{0, size - 512, size - image.PageSize}[r.IntN(3)]
	}
	off &^= 511
	n := min(512*(1+r.Int64N([]int64{1, 8, 100, 700}[r.IntN(4)])), size-off)
	b := s.Data[off : off+n]
	switch r.IntN(6) {
	case 0:
		clear(b)
	case 1: // named, and yet the same
	case 2, 3: // moved from elsewhere in the old state
		off, n = off&^4095, max(n&^4095, image.PageSize)
		n = min(n, size-off)
		src := r.Int64N((size-n)/image.PageSize+1) * image.PageSize
		copy(s.Data[off:off+n], old.Data[src:src+n])
	case 4:
		Text(r, b)
	default:
		Fill(r, b)
	}
	off = off &^ 511
	s.Diff = append(s.Diff, image.Range{Offset: off, Length: min((n+511)&^511, size-off)})
}

func someFree(r *rand.Rand, pages int64) (l []image.Range) {
	for range r.IntN(8) {
		lo := r.Int64N(pages)
		hi := min(pages, lo+1+r.Int64N(200))
		l = append(l, image.Range{Offset: lo * image.PageSize, Length: (hi - lo) * image.PageSize})
	}
	return l
}

// NewStore makes an empty store.
func NewStore(t testing.TB) *image.Store {
	t.Helper()
	s, err := publish.Init(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// History publishes n random versions of the image pc and returns the states, index 0 unused.
func History(t testing.TB, r *rand.Rand, s *image.Store, n int, pages int64, filtered bool) []*State {
	t.Helper()
	states := []*State{nil, First(r, pages)}
	if filtered {
		states[1].Free = someFree(r, pages)
	}
	for v := 1; v <= n; v++ {
		if v > 1 {
			states = append(states, Mutate(r, states[v-1], v, filtered))
		}
		Publish(t, s, states[v], states[v-1], &publish.Options{Workers: 1 + r.IntN(3), NoCopies: r.IntN(4) == 0}, filtered)
	}
	return states
}

// Publish publishes a state as the next version of the image pc.
func Publish(t testing.TB, s *image.Store, now, before *State, o *publish.Options, filtered bool) *image.Manifest {
	t.Helper()
	if filtered {
		o.Filter = Filter{now.Free}
	}
	var m *image.Manifest
	var err error
	if before == nil {
		m, err = publish.Import(t.Context(), s, "pc", now.Disk(nil), o)
	} else {
		m, err = publish.Add(t.Context(), s, "pc", now.Disk(before), o)
	}
	if err != nil {
		t.Fatal(err)
	}
	f := m.Figures
	if f.Changed != f.Equal+f.Zero+f.Undefined+f.Copied+f.Shipped {
		t.Fatalf("figures do not add up: %+v", f)
	}
	return m
}
