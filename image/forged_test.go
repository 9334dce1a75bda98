package image

import (
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"troy/internal/testing/needs"
)

// forge publishes a version anew with a table that nobody would write. It returns false if the table is refused when read.
func forge(t *testing.T, s *Store, version int, change func(*table)) bool {
	t.Helper()
	m, err := s.Show(t.Context(), "pc", version)
	if err != nil {
		t.Fatal(err)
	}
	l := loader{s, "pc"}
	tab, err := l.table(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	change(tab)
	b := tab.marshal()
	if _, err := parseTable(b); err != nil {
		wantClass(t, err)
		return false
	}
	x, err := l.index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if m.Table, err = s.putObject(kindTable, b); err != nil {
		t.Fatal(err)
	}
	before := *x
	before.Versions = x.Versions[:version-1]
	after := x.Versions[version:]
	if err := s.putManifest(&before, m); err != nil {
		t.Fatal(err)
	}
	if x, err = l.index(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.Versions = append(x.Versions, after...)
	x.Next = 100
	if err := s.putIndex(x); err != nil {
		t.Fatal(err)
	}
	return true
}

// twist changes one thing of a table.
func twist(r *rand.Rand, t *table) {
	if len(t.runs) == 0 {
		return
	}
	run := &t.runs[r.IntN(len(t.runs))]
	switch r.IntN(6) {
	case 0:
		run.kind = runKind(1 + r.IntN(4))
	case 1:
		run.page += r.Int64N(9) - 4
	case 2:
		run.count += uint32(r.IntN(3)) - 1
	case 3:
		if len(t.copies) > 0 {
			t.copies[r.IntN(len(t.copies))].source = r.Int64N(t.virtualSize / PageSize)
		}
	case 4:
		i := r.IntN(len(t.runs))
		t.runs = append(t.runs[:i:i], t.runs[i+1:]...)
	case 5:
		if run.kind == runZero {
			run.kind = runUndefined
		}
	}
}

// TestForgedTables follows tables that are spelled right, hashed right and wrong all the same: no panic, nothing outside the disk, no page twice,
// every error of a known class.
func TestForgedTables(t *testing.T) {
	needs.Time(t)
	forged, failed := 0, 0
	for seed := range uint64(soak(20)) {
		r := seeded(t, seed)
		s := newStore(t)
		states := history(t, r, s, 4, 500, true)
		for range 10 {
			if !forge(t, s, 1+r.IntN(4), func(tab *table) { twist(r, tab) }) {
				continue
			}
			forged++
			for have := range 5 {
				p, err := LoadLocalPlan(t.Context(), s, "pc", have, 1+r.IntN(4))
				if err == nil {
					_, err = p.Fetch(t.Context(), s, newSink(make([]byte, len(states[1].data))), &FetchOptions{Local: zeroDisk{}})
				}
				if err != nil {
					failed++
					if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrLocal) {
						t.Fatal(err)
					}
				}
			}
		}
	}
	if forged == 0 || failed == 0 {
		t.Fatalf("%d tables were forged, %d plans failed", forged, failed)
	}
	t.Logf("%d tables were forged, %d plans failed", forged, failed)
}

var _ io.ReaderAt = zeroDisk{}
