package image

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"troy/internal/testing/needs"
	"troy/netfetch"
)

// TestHave cuts a Fetch off at a random write and goes on with another plan on the same disk, telling what it holds: what was held is neither asked
// for nor written, and the disk is right in the end.
func TestHave(t *testing.T) {
	needs.Time(t)
	skipped, copied := int64(0), int64(0)
	for seed := range uint64(soak(24)) {
		r := seeded(t, seed)
		s := newStore(t)
		states := history(t, r, s, 3, 3000, seed%2 == 0)
		maps := loadMaps(t, s, states)
		have, want := r.IntN(3), 3
		start := make([]byte, len(states[1].data))
		if have > 0 {
			start = machine(r, states[have], maps[have].undefined)
		}
		load := []func(context.Context, Source, string, int, int) (*Plan, error){LoadPlan, LoadLocalPlan}[r.IntN(2)]
		p, err := load(t.Context(), s, "pc", have, want)
		if err != nil {
			t.Fatal(err)
		}
		local := bytes.NewReader(slices.Clone(start))
		ctx, cancel := context.WithCancel(t.Context())
		cut := &cancelSink{newSink(start), 1 + r.IntN(12), cancel}
		o := FetchOptions{Workers: 3, RequestBytes: 1 << 20, Local: local}
		_, err = p.Fetch(ctx, s, cut, &o)
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		// A page that was written and yet is not told of is written again: only what Have names may stay away.
		told := map[int64]bool{}
		for off := range cut.written {
			told[off] = r.IntN(20) > 0
		}
		st, k, n := resume(t, r, p, s, cut.data, told, o)
		checkDefined(t, k.data, states[want], maps[want].undefined)
		if st.HeldBytes+st.WrittenBytes != p.WriteBytes || st.HeldFetchBytes+st.FetchedBytes != p.FetchBytes || n != p.FetchBytes {
			t.Fatalf("stats %+v, progress %d; plan writes %d, fetches %d", st, n, p.WriteBytes, p.FetchBytes)
		}
		for off := range k.written {
			if told[off] && !p.partly(off, told) {
				t.Fatalf("page %d was held, with all that came with it, and written again", off/PageSize)
			}
		}
		skipped, copied = skipped+st.HeldFetchBytes, copied+st.CopiedBytes
	}
	if skipped == 0 || copied == 0 {
		t.Fatalf("%d bytes were not fetched, %d copied", skipped, copied)
	}
	t.Logf("%d bytes were not fetched, %d copied", skipped, copied)
}

// resume fetches onto a disk that holds the told pages of the plan.
func resume(t *testing.T, r *rand.Rand, p *Plan, s *Store, disk []byte, told map[int64]bool, o FetchOptions) (Stats, *sink, int64) {
	t.Helper()
	for _, run := range p.Runs() { // what is not told may hold anything
		for off := run.Offset; off < run.Offset+run.Length; off += PageSize {
			if !told[off] {
				fill(r, disk[off:off+PageSize])
			}
		}
	}
	c, k := &counter{}, newSink(disk)
	o.Progress = c
	o.Have = func(off, n int64) bool {
		if off%PageSize != 0 || n <= 0 || n%PageSize != 0 {
			t.Errorf("Have is asked about %d+%d", off, n)
		}
		for ; n > 0; off, n = off+PageSize, n-PageSize {
			if !told[off] {
				return false
			}
		}
		return true
	}
	st, err := p.Fetch(t.Context(), s, k, &o)
	if err != nil {
		t.Fatal(err)
	}
	return st, k, c.n
}

// partly says that what is brought in one piece with a page is not all told.
func (p *Plan) partly(off int64, told map[int64]bool) bool {
	all := func(lo, n int64) bool {
		for ; n > 0; lo, n = lo+1, n-1 {
			if !told[lo*PageSize] {
				return false
			}
		}
		return true
	}
	page := off / PageSize
	for i := range p.jobs {
		mine, whole := false, true
		for _, c := range p.jobs[i].pieces {
			mine = mine || c.dst <= page && page < c.dst+int64(c.count)
			whole = whole && all(c.dst, int64(c.count))
		}
		if mine {
			return !whole
		}
	}
	for _, c := range p.local {
		if n := c.keys.count(); c.dst <= page && page < c.dst+n {
			lo := c.dst + (page-c.dst)/copyPages*copyPages
			return !all(lo, min(copyPages, c.dst+n-lo))
		}
	}
	for _, z := range p.runs {
		if z.Zero && z.Offset <= off && off < z.Offset+z.Length {
			lo := z.Offset + (off-z.Offset)/RegionSize*RegionSize
			return !all(lo/PageSize, min(RegionSize, z.Offset+z.Length-lo)/PageSize)
		}
	}
	return true
}

// TestHaveAll: nothing at all moves when everything is held.
func TestHaveAll(t *testing.T) {
	r := seeded(t, 1)
	s := newStore(t)
	states := history(t, r, s, 2, 900, false)
	p, err := LoadPlan(t.Context(), s, "pc", 0, 2)
	if err != nil {
		t.Fatal(err)
	}
	k, c := newSink(make([]byte, len(states[1].data))), &counter{}
	st, err := p.Fetch(t.Context(), s, k, &FetchOptions{Have: func(int64, int64) bool { return true }, Progress: c})
	if want := (Stats{HeldBytes: p.WriteBytes, HeldFetchBytes: p.FetchBytes}); err != nil || st != want || k.calls != 0 || c.n != p.FetchBytes {
		t.Fatalf("Fetch = %+v, %v; want %+v", st, err, want)
	}
}

// liar is a server that gives wrong bytes of some objects, and remembers who asked.
type liar struct {
	*flaky
	name string
	mu   sync.Mutex
	lies int
}

func (l *liar) String() string { return l.name }

func newLiar(s *Store, name, ending string) *liar {
	l := &liar{name: name}
	l.flaky = &flaky{Store: s, spoil: func(object string, _ int64, b []byte) ([]byte, error) {
		if !strings.HasSuffix(object, ending) {
			return b, nil
		}
		l.mu.Lock()
		l.lies++
		l.mu.Unlock()
		b[len(b)/2] ^= 1
		return b, nil
	}}
	return l
}

// TestMirrorsThatLie: of several servers all but the last give wrong packs or tables; each is told of it, and the fetch ends well without asking one of
// them for all it has.
func TestMirrorsThatLie(t *testing.T) {
	for _, ending := range []string{".pack", ".table", "1.json", ".map"} {
		r := seeded(t, 1)
		s := newStore(t)
		states := history(t, r, s, 3, 9000, true)
		maps := loadMaps(t, s, states)
		a, b := newLiar(s, "a", ending), newLiar(s, "b", ending)
		m, err := netfetch.NewMirrors(nil, a, b, s)
		if err != nil {
			t.Fatal(err)
		}
		p, err := LoadPlan(t.Context(), m, "pc", 0, 3)
		if err != nil {
			t.Fatalf("%s: %v", ending, err)
		}
		if _, err := LoadMap(t.Context(), m, "pc", 3); err != nil {
			t.Fatalf("%s: %v", ending, err)
		}
		k := newSink(make([]byte, len(states[1].data)))
		st, err := p.Fetch(t.Context(), m, k, &FetchOptions{Workers: 1})
		if err != nil {
			t.Fatalf("%s: %v", ending, err)
		}
		checkDefined(t, k.data, states[3], maps[3].undefined)
		if lies := a.lies + b.lies; lies == 0 || lies > 12 {
			t.Errorf("%s: %d wrong answers, %+v", ending, lies, st)
		}
		t.Logf("%s: %d wrong answers, %+v", ending, a.lies+b.lies, st)
	}
}
