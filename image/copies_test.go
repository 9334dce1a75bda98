package image

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// lookalike returns another page with the same weak hash: both halves differ by a pattern that their CRC does not see.
func lookalike(t *testing.T, page []byte) []byte {
	t.Helper()
	half := PageSize / 2
	zero := weak(make([]byte, PageSize))
	// Of 40 one-bit changes some sum leaves 32 bits of CRC as they were: Gauss finds it.
	type row struct{ crc, bits uint64 }
	var basis []row
	for bit := range 40 {
		p := make([]byte, PageSize)
		p[half+100+bit/8] = 1 << (bit % 8)
		r := row{weak(p) ^ zero, 1 << bit}
		for _, b := range basis {
			if r.crc^b.crc < r.crc {
				r.crc, r.bits = r.crc^b.crc, r.bits^b.bits
			}
		}
		if r.crc != 0 {
			basis = append(basis, r)
			slices.SortFunc(basis, func(a, b row) int { return int(b.crc>>1) - int(a.crc>>1) })
			continue
		}
		other := bytes.Clone(page)
		for i := range 40 {
			other[100+i/8] ^= byte(r.bits>>i&1) << (i % 8)
			other[half+100+i/8] ^= byte(r.bits>>i&1) << (i % 8)
		}
		if bytes.Equal(other, page) || weak(other) != weak(page) {
			t.Fatalf("no lookalike: %x and %x", weak(other), weak(page))
		}
		return other
	}
	t.Fatal("no lookalike")
	return nil
}

// TestLookalikes: pages that only have the weak hash of a page below in common with it are shipped, those beside them copied.
func TestLookalikes(t *testing.T) {
	r := seeded(t, 1)
	s := newStore(t)
	v1 := &state{data: make([]byte, 900*PageSize), id: guid(1)}
	fill(r, v1.data[:600*PageSize])
	publish(t, s, "pc", v1, nil, &PublishOptions{}, false)
	v2 := &state{data: bytes.Clone(v1.data), id: guid(2), diff: []Range{{700 * PageSize, 4 * PageSize}}}
	copy(v2.data[700*PageSize:], v1.data[30*PageSize:34*PageSize])
	copy(v2.data[702*PageSize:], lookalike(t, v1.data[32*PageSize:33*PageSize]))
	f := publish(t, s, "pc", v2, v1, &PublishOptions{}, false).Figures
	if f.Copied != 3*PageSize || f.Shipped != PageSize {
		t.Fatalf("figures %+v", f)
	}
	checkDefined(t, update(t, s, v1.data, 1, 2), v2, nil)
	if m := publish(t, s, "pc", mutate(r, v2, 3, false), v2, &PublishOptions{NoCopies: true}, false); m.Figures.Copied != 0 {
		t.Fatalf("without copies: %+v", m.Figures)
	}
}

// TestChangedSource: a parent that was changed without a new GUID is found where it serves as a source, even if the child names nothing near.
func TestChangedSource(t *testing.T) {
	r := seeded(t, 2)
	s := newStore(t)
	v1 := &state{data: make([]byte, 900*PageSize), id: guid(1)}
	fill(r, v1.data)
	publish(t, s, "pc", v1, nil, &PublishOptions{}, false)
	forged := &state{data: bytes.Clone(v1.data), id: v1.id}
	forged.data[77*PageSize] ^= 1
	v2 := &state{data: bytes.Clone(forged.data), id: guid(2), diff: []Range{{800 * PageSize, PageSize}}}
	copy(v2.data[800*PageSize:], v1.data[30*PageSize:31*PageSize])
	before := tree(t, s.dir)
	_, err := s.Add(t.Context(), "pc", v2.disk(forged), nil)
	var pe *ParentError
	if !errors.As(err, &pe) || pe.Region != 0 || pe.Image != "pc" {
		t.Fatalf("Add = %v", err)
	}
	sameTree(t, before, tree(t, s.dir))
}

// TestWanted compares the search with a map.
func TestWanted(t *testing.T) {
	for seed := range uint64(soak(20)) {
		r := seeded(t, seed)
		var list []wanted
		pages := map[uint64][]int64{}
		for i := range r.IntN(3000) {
			h := r.Uint64() >> r.IntN(64) << r.IntN(40)
			list = append(list, wanted{h, int64(i)})
			pages[h] = append(pages[h], int64(i))
		}
		w := newWant(list)
		for h := range pages {
			if !w.has(h) {
				t.Fatalf("%x is not found", h)
			}
			if x := h ^ 1<<r.IntN(64); w.has(x) != (pages[x] != nil) {
				t.Fatalf("%x: %v", x, w.has(x))
			}
			c := w.take(wanted{h, 7}, nil)
			c = w.take(wanted{h, 9}, c) // comes too late
			var got []int64
			for _, p := range c {
				if p.source != 7 {
					t.Fatalf("%+v", p)
				}
				got = append(got, p.page)
			}
			if !slices.Equal(got, pages[h]) {
				t.Fatalf("%x: pages %v, want %v", h, got, pages[h])
			}
		}
	}
}
