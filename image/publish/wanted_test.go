package publish

import (
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

// TestWanted compares the search with a map.
func TestWanted(t *testing.T) {
	seeds := uint64(20)
	if os.Getenv("TROY_SOAK") == "1" {
		seeds *= 10
	}
	for seed := range seeds {
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 1))
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
