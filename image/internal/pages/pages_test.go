package pages

import (
	"crypto/sha256"
	"math/rand/v2"
	"slices"
	"testing"

	"troy/internal/digest"
)

// TestSets compares random sets with lists of pages.
func TestSets(t *testing.T) {
	const total = 200
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		draw := func() (Set, []bool) {
			var list []Span
			has := make([]bool, total)
			for range r.IntN(10) {
				lo := r.Int64N(total)
				hi := min(total, lo+r.Int64N(30))
				list = append(list, Span{lo, hi})
				for p := lo; p < hi; p++ {
					has[p] = true
				}
			}
			return NewSet(list), has
		}
		a, inA := draw()
		b, inB := draw()
		lo := r.Int64N(total)
		hi := lo + r.Int64N(total)
		var part Set
		for s := range a.Within(lo, hi) {
			part.Push(s.Lo, s.Hi)
		}
		for name, c := range map[string]struct {
			got  Set
			want func(p int64) bool
		}{
			"set":      {a, func(p int64) bool { return inA[p] }},
			"union":    {Union(a, b), func(p int64) bool { return inA[p] || inB[p] }},
			"subtract": {Subtract(a, b), func(p int64) bool { return inA[p] && !inB[p] }},
			"within":   {part, func(p int64) bool { return inA[p] && lo <= p && p < hi }},
		} {
			check(t, seed, name, c.got, total, c.want)
		}
	}
}

func check(t *testing.T, seed uint64, name string, got Set, total int64, want func(p int64) bool) {
	t.Helper()
	n := int64(0)
	for p := range total {
		if got.Has(p) != want(p) {
			t.Fatalf("seed %d, %s: page %d in %v: %v", seed, name, p, got, got.Has(p))
		}
		if want(p) {
			n++
		}
	}
	if got.Count() != n {
		t.Errorf("seed %d, %s: %v has %d pages, want %d", seed, name, got, got.Count(), n)
	}
	touching := func(i int) bool { return i > 0 && got[i].Lo <= got[i-1].Hi }
	for i, s := range got {
		if s.Lo >= s.Hi || touching(i) {
			t.Errorf("seed %d, %s: %v is not sorted and disjoint", seed, name, got)
		}
	}
}

func TestSumWithout(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	p := make([]byte, 10*Size)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	before, masked := slices.Clone(p), slices.Clone(p)
	clear(masked[2*Size : 5*Size])
	clear(masked[9*Size:])
	set := Set{{0, 1}, {102, 105}, {109, 200}} // the first page of p has number 100
	if got := set.SumWithout(p, 100); got != digest.Sum(sha256.Sum256(masked)) || !slices.Equal(p, before) {
		t.Errorf("SumWithout = %s", got)
	}
}

func TestCheckDisk(t *testing.T) {
	for n, good := range map[int64]bool{0: false, -Size: false, Size: true, Size + 512: false, MaxDisk: true, MaxDisk + Size: false} {
		if err := CheckDisk(n); (err == nil) != good {
			t.Errorf("CheckDisk(%d) = %v", n, err)
		}
	}
}
