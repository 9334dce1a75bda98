package image_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"troy/image"
	"troy/internal/testing/imagetest"
	"troy/netfetch"
)

// TestHave cuts a Fetch off at a random write and goes on with another plan on the same disk,
// telling what it holds: what was held is neither asked for nor written, and the disk is right in
// the end.
func TestHave(t *testing.T) {
	skipped, copied := int64(0), int64(0)
	for seed := range uint64(imagetest.Soak(24)) {
		r := imagetest.Seeded(t, seed)
		s := imagetest.NewStore(t)
		states := imagetest.History(t, r, s, 3, 3000, seed%2 == 0)
		maps := imagetest.Maps(t, s, states)
		have, want := r.IntN(3), 3
		start := make([]byte, len(states[1].Data))
		if have > 0 {
			start = imagetest.Machine(r, states[have], maps[have])
		}
		load := []func(context.Context, image.Source, string, int, int) (*image.Plan, error){image.LoadPlan, image.LoadLocalPlan}[r.IntN(2)]
		p, err := load(t.Context(), s, "pc", have, want)
		if err != nil {
			t.Fatal(err)
		}
		local := bytes.NewReader(slices.Clone(start))
		cut := newCancelSink(start, int64(1+r.IntN(12)))
		o := image.FetchOptions{Workers: 3, RequestBytes: 1 << 20, Local: local}
		_, err = p.Fetch(cut.context(t), s, cut, &o)
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		// A page that was written and yet is not told of is written again: only what Have names may
		// stay away.
		told := map[int64]bool{}
		for off := range cut.Written {
			told[off] = r.IntN(20) > 0
		}
		st, k, n := resume(t, r, p, s, cut.Data, told, o)
		imagetest.CheckDefined(t, k.Data, states[want], maps[want])
		if st.HeldBytes+st.WrittenBytes != p.WriteBytes || st.HeldFetchBytes+st.FetchedBytes != p.FetchBytes || n != p.FetchBytes {
			t.Fatalf("stats %+v, progress %d; plan writes %d, fetches %d", st, n, p.WriteBytes, p.FetchBytes)
		}
		for off := range k.Written {
			if told[off] && !p.Partly(off, told) {
				t.Fatalf("page %d was held, with all that came with it, and written again", off/image.PageSize)
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
func resume(t *testing.T, r *rand.Rand, p *image.Plan, s *image.Store, disk []byte, told map[int64]bool, o image.FetchOptions) (image.Stats, *imagetest.Sink, int64) {
	t.Helper()
	for _, run := range p.Runs() { // what is not told may hold anything
		for off := run.Offset; off < run.Offset+run.Length; off += image.PageSize {
			if !told[off] {
				imagetest.Fill(r, disk[off:off+image.PageSize])
			}
		}
	}
	c, k := &imagetest.Counter{}, imagetest.NewSink(disk)
	o.Progress = c
	o.Have = func(off, n int64) bool {
		if off%image.PageSize != 0 || n <= 0 || n%image.PageSize != 0 {
			t.Errorf("Have is asked about %d+%d", off, n)
		}
		for ; n > 0; off, n = off+image.PageSize, n-image.PageSize {
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
	return st, k, c.N
}

// TestHaveAll: nothing at all moves when everything is held.
func TestHaveAll(t *testing.T) {
	r := imagetest.Seeded(t, 1)
	s := imagetest.NewStore(t)
	states := imagetest.History(t, r, s, 2, 900, false)
	p, err := image.LoadPlan(t.Context(), s, "pc", 0, 2)
	if err != nil {
		t.Fatal(err)
	}
	k, c := imagetest.NewSink(make([]byte, len(states[1].Data))), &imagetest.Counter{}
	st, err := p.Fetch(t.Context(), s, k, &image.FetchOptions{Have: func(int64, int64) bool { return true }, Progress: c})
	if want := (image.Stats{HeldBytes: p.WriteBytes, HeldFetchBytes: p.FetchBytes}); err != nil || st != want || k.Calls != 0 || c.N != p.FetchBytes {
		t.Fatalf("Fetch = %+v, %v; want %+v", st, err, want)
	}
}

// liar is a server that gives wrong bytes of some objects, and remembers who asked.
type liar struct {
	*imagetest.Flaky
	name string
	mu   sync.Mutex
	lies int
}

func (l *liar) String() string { return l.name }

func newLiar(s *image.Store, name, ending string) *liar {
	l := &liar{name: name}
	l.Flaky = &imagetest.Flaky{Store: s, Spoil: func(object string, _ int64, b []byte) ([]byte, error) {
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

// TestMirrorsThatLie: of several servers all but the last give wrong packs or tables; each is told
// of it, and the fetch ends well without asking one of them for all it has.
func TestMirrorsThatLie(t *testing.T) {
	for _, ending := range []string{".pack", ".table", "1.json", ".map"} {
		r := imagetest.Seeded(t, 1)
		s := imagetest.NewStore(t)
		states := imagetest.History(t, r, s, 3, 9000, true)
		maps := imagetest.Maps(t, s, states)
		a, b := newLiar(s, "a", ending), newLiar(s, "b", ending)
		m, err := netfetch.NewMirrors(nil, a, b, s)
		if err != nil {
			t.Fatal(err)
		}
		p, err := image.LoadPlan(t.Context(), m, "pc", 0, 3)
		if err != nil {
			t.Fatalf("%s: %v", ending, err)
		}
		if _, err := image.LoadMap(t.Context(), m, "pc", 3); err != nil {
			t.Fatalf("%s: %v", ending, err)
		}
		k := imagetest.NewSink(make([]byte, len(states[1].Data)))
		st, err := p.Fetch(t.Context(), m, k, &image.FetchOptions{Workers: 1})
		if err != nil {
			t.Fatalf("%s: %v", ending, err)
		}
		imagetest.CheckDefined(t, k.Data, states[3], maps[3])
		if lies := a.lies + b.lies; lies == 0 || lies > 12 {
			t.Errorf("%s: %d wrong answers, %+v", ending, lies, st)
		}
		t.Logf("%s: %d wrong answers, %+v", ending, a.lies+b.lies, st)
	}
}
