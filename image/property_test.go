package image_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"troy/image"
	"troy/image/internal/pages"
	"troy/image/publish"
	"troy/internal/testing/imagetest"
	"troy/internal/testing/needs"
)

// TestRemovedVersions makes random histories in which versions are removed and others made in their
// place. Every pair of versions that are there works; a machine with a removed version is told so,
// and comes to any version by its map; an index that keeps both branches is walked across, over the
// fork and back.
func TestRemovedVersions(t *testing.T) {
	needs.Time(t)
	forks := 0
	for seed := range uint64(imagetest.Soak(5)) {
		r := imagetest.Seeded(t, seed)
		s := imagetest.NewStore(t)
		const pages = 700
		filtered := seed%2 == 0
		states := map[int]*imagetest.State{1: imagetest.First(r, pages)}
		maps, parents := map[int]*image.Map{}, map[int]int{}
		stack, index := []int{}, &image.Index{}
		for n := range 9 {
			if len(stack) > 1 && r.IntN(3) == 0 {
				top := stack[len(stack)-1]
				if err := publish.Remove(t.Context(), s, "pc", top); err != nil {
					t.Fatal(err)
				}
				stack = stack[:len(stack)-1]
				continue
			}
			now, before := imagetest.First(r, pages), (*imagetest.State)(nil)
			if n > 0 {
				before = states[stack[len(stack)-1]]
				now = imagetest.Mutate(r, before, n+1, filtered)
			}
			m := imagetest.Publish(t, s, now, before, &publish.Options{}, filtered)
			states[m.Version], parents[m.Version] = now, m.Parent
			var err error
			if maps[m.Version], err = image.LoadMap(t.Context(), s, "pc", m.Version); err != nil {
				t.Fatal(err)
			}
			stack = append(stack, m.Version)
			x, err := image.LoadIndex(t.Context(), s, "pc")
			if err != nil {
				t.Fatal(err)
			}
			index.Versions = append(index.Versions, x.Versions[len(x.Versions)-1])
			index.Image, index.Next = x.Image, x.Next
		}
		pair := func(have, want int) {
			got := imagetest.Update(t, s, imagetest.Machine(r, states[have], maps[have]), have, want)
			imagetest.CheckDefined(t, got, states[want], maps[want])
		}
		for have := range states {
			for _, want := range stack {
				if slices.Contains(stack, have) {
					pair(have, want)
					continue
				}
				if _, err := image.LoadLocalPlan(t.Context(), s, "pc", have, want); !errors.Is(err, image.ErrNotFound) {
					t.Fatalf("plan from version %d, which was removed: %v", have, err)
				}
				imagetest.CheckDefined(t, heal(t, s, maps[want], want, imagetest.Machine(r, states[have], maps[have]), nil), states[want], maps[want])
			}
		}
		if len(index.Versions) == len(stack) {
			continue
		}
		forks++
		putIndex(t, s, index)
		for have := range states {
			for want := range states {
				pair(have, want)
			}
		}
	}
	if forks == 0 {
		t.Fatal("no history forked")
	}
}

// heal repairs a disk by a version's map, and checks that only the regions named are written; nil:
// those that Verify names.
func heal(t *testing.T, s *image.Store, m *image.Map, version int, disk []byte, want []int64) []byte {
	t.Helper()
	bad, err := m.Verify(t.Context(), bytes.NewReader(disk), nil)
	if err != nil || want != nil && !slices.Equal(bad, want) {
		t.Fatalf("Verify = %v, %v, want %v", bad, err, want)
	}
	p, err := image.LoadHeal(t.Context(), s, "pc", version, bad)
	if err != nil {
		t.Fatal(err)
	}
	k := imagetest.NewSink(disk)
	if _, err := p.Fetch(t.Context(), s, k, nil); err != nil {
		t.Fatal(err)
	}
	for off := range k.Written {
		if !slices.Contains(bad, off/image.RegionSize) {
			t.Fatalf("byte %d was written, only regions %v are damaged", off, bad)
		}
	}
	if bad, err = m.Verify(t.Context(), bytes.NewReader(k.Data), nil); err != nil || len(bad) > 0 {
		t.Fatalf("after healing, Verify = %v, %v", bad, err)
	}
	return k.Data
}

// TestHealAllSets damages every set of the regions of a disk, each by one bit somewhere in a
// defined page, while undefined pages hold anything.
func TestHealAllSets(t *testing.T) {
	for seed := range uint64(imagetest.Soak(2)) {
		r := imagetest.Seeded(t, seed)
		s := imagetest.NewStore(t)
		const count = 5*pages.PerRegion + 100
		states := imagetest.History(t, r, s, 3, count, seed%2 == 0)
		maps := imagetest.Maps(t, s, states)
		for set := range uint64(1) << len(maps[3].Sums) {
			disk := imagetest.Machine(r, states[3], maps[3])
			damaged := []int64{}
			for region := range int64(len(maps[3].Sums)) {
				first := region * pages.PerRegion
				p := first + r.Int64N(min(pages.PerRegion, count-first))
				if set>>region&1 == 0 || maps[3].Undefined.Has(p) {
					continue
				}
				disk[p*image.PageSize+r.Int64N(image.PageSize)] ^= 1 << r.IntN(8)
				damaged = append(damaged, region)
			}
			imagetest.CheckDefined(t, heal(t, s, maps[3], 3, disk, damaged), states[3], maps[3])
		}
	}
}
