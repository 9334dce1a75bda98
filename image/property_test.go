package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"troy/internal/testing/needs"
)

// TestRemovedVersions makes random histories in which versions are removed and others made in their place. Every pair of versions that are there
// works; a machine with a removed version is told so, and comes to any version by its map; an index that keeps both branches is walked
// across, over the fork and back.
func TestRemovedVersions(t *testing.T) {
	needs.Time(t)
	forks := 0
	for seed := range uint64(soak(5)) {
		r := seeded(t, seed)
		s := newStore(t)
		const pages = 700
		filtered := seed%2 == 0
		states := map[int]*state{1: firstState(r, pages)}
		maps, parents := map[int]*Map{}, map[int]int{}
		stack, index := []int{}, &Index{}
		for n := range 9 {
			if len(stack) > 1 && r.IntN(3) == 0 {
				top := stack[len(stack)-1]
				if err := s.Remove(t.Context(), "pc", top); err != nil {
					t.Fatal(err)
				}
				stack = stack[:len(stack)-1]
				continue
			}
			now, before := firstState(r, pages), (*state)(nil)
			if n > 0 {
				before = states[stack[len(stack)-1]]
				now = mutate(r, before, n+1, filtered)
			}
			m := publish(t, s, "pc", now, before, &PublishOptions{}, filtered)
			states[m.Version], parents[m.Version] = now, m.Parent
			var err error
			if maps[m.Version], err = LoadMap(t.Context(), s, "pc", m.Version); err != nil {
				t.Fatal(err)
			}
			stack = append(stack, m.Version)
			x, err := LoadIndex(t.Context(), s, "pc")
			if err != nil {
				t.Fatal(err)
			}
			index.Versions = append(index.Versions, x.Versions[len(x.Versions)-1])
			index.Format, index.Image, index.Next = x.Format, x.Image, x.Next
		}
		pair := func(have, want int) {
			got := update(t, s, machine(r, states[have], maps[have].undefined), have, want)
			checkDefined(t, got, states[want], maps[want].undefined)
		}
		for have := range states {
			for _, want := range stack {
				if slices.Contains(stack, have) {
					pair(have, want)
					continue
				}
				if _, err := LoadLocalPlan(t.Context(), s, "pc", have, want); !errors.Is(err, ErrNotFound) {
					t.Fatalf("plan from version %d, which was removed: %v", have, err)
				}
				checkDefined(t, heal(t, s, maps[want], want, machine(r, states[have], maps[have].undefined), nil), states[want], maps[want].undefined)
			}
		}
		if len(index.Versions) == len(stack) {
			continue
		}
		forks++
		if err := s.putIndex(index); err != nil {
			t.Fatal(err)
		}
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

// heal repairs a disk by a version's map, and checks that only the regions named are written; nil: those that Verify names.
func heal(t *testing.T, s *Store, m *Map, version int, disk []byte, want []int64) []byte {
	t.Helper()
	bad, err := m.Verify(t.Context(), bytes.NewReader(disk), nil)
	if err != nil || want != nil && !slices.Equal(bad, want) {
		t.Fatalf("Verify = %v, %v, want %v", bad, err, want)
	}
	p, err := LoadHeal(t.Context(), s, "pc", version, bad)
	if err != nil {
		t.Fatal(err)
	}
	k := newSink(disk)
	if _, err := p.Fetch(t.Context(), s, k, nil); err != nil {
		t.Fatal(err)
	}
	for off := range k.written {
		if !slices.Contains(bad, off/RegionSize) {
			t.Fatalf("byte %d was written, only regions %v are damaged", off, bad)
		}
	}
	if bad, err = m.Verify(t.Context(), bytes.NewReader(k.data), nil); err != nil || len(bad) > 0 {
		t.Fatalf("after healing, Verify = %v, %v", bad, err)
	}
	return k.data
}

// TestHealAllSets damages every set of the regions of a disk, each by one bit somewhere in a defined page, while undefined pages hold anything.
func TestHealAllSets(t *testing.T) {
	for seed := range uint64(soak(2)) {
		r := seeded(t, seed)
		s := newStore(t)
		const pages = 5*pagesPerRegion + 100
		states := history(t, r, s, 3, pages, seed%2 == 0)
		maps := loadMaps(t, s, states)
		for set := range uint64(1) << maps[3].Regions() {
			disk := machine(r, states[3], maps[3].undefined)
			damaged := []int64{}
			for region := range maps[3].Regions() {
				first := region * pagesPerRegion
				p := first + r.Int64N(min(pagesPerRegion, pages-first))
				if set>>region&1 == 0 || maps[3].undefined.has(p) {
					continue
				}
				disk[p*PageSize+r.Int64N(PageSize)] ^= 1 << r.IntN(8)
				damaged = append(damaged, region)
			}
			checkDefined(t, heal(t, s, maps[3], 3, disk, damaged), states[3], maps[3].undefined)
		}
	}
}

// TestUnknownFormat: every document says its format, and one that this program does not know is refused by name, whatever else it holds.
func TestUnknownFormat(t *testing.T) {
	r := seeded(t, 1)
	s := newStore(t)
	history(t, r, s, 2, 300, true)
	for _, ending := range []string{"store.json", "versions.json", "2.json", ".table", ".map"} {
		name := files(t, s, ending)[0]
		path := filepath.Join(s.dir, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		next := bytes.Replace(good, []byte(`"format": 1`), []byte(`"format": 2`), 1)
		if !strings.HasSuffix(ending, "json") {
			next = bytes.Clone(good)
			binary.LittleEndian.PutUint32(next[8:], 2)
		}
		switch ending {
		case "store.json":
			err = errors.Join(os.WriteFile(path, next, 0o644), errOf(OpenStore(s.dir)))
		case "versions.json":
			_, err = ParseIndex(next, "pc")
			if e := os.WriteFile(path, next, 0o644); e != nil {
				t.Fatal(e)
			}
			if _, e := LoadPlan(t.Context(), s, "pc", 0, 1); !errors.Is(e, ErrUnsupported) || !strings.Contains(e.Error(), name) {
				t.Errorf("plan over %s: %v", name, e)
			}
		case "2.json":
			_, err = parseManifest(next, "pc", &Entry{Version: 2, Parent: 1})
		case ".table":
			_, err = parseTable(next)
		case ".map":
			_, err = parseMap(next)
		}
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "format 2") || !strings.Contains(err.Error(), "reads 1") {
			t.Errorf("%s of format 2: %v", ending, err)
		}
		if err := os.WriteFile(path, good, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func errOf(_ any, err error) error { return err }
