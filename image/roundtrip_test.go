package image

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// machine is the state as a machine may hold it: random bytes wherever the version is undefined.
func machine(r *rand.Rand, s *state, undefined spans) []byte {
	data := bytes.Clone(s.data)
	for _, u := range undefined {
		fill(r, data[u.lo*PageSize:u.hi*PageSize])
	}
	return data
}

func loadMaps(t *testing.T, s *Store, states []*state) []*Map {
	maps := make([]*Map, len(states))
	for v := 1; v < len(states); v++ {
		m, err := LoadMap(t.Context(), s, "pc", v)
		if err != nil {
			t.Fatal(err)
		}
		if extra := subtract(m.undefined, states[v].free); len(extra) > 0 {
			t.Fatalf("version %d: pages %v are undefined although they are in use", v, extra)
		}
		maps[v] = m
	}
	return maps
}

func checkDefined(t *testing.T, got []byte, want *state, undefined spans) {
	t.Helper()
	for p := int64(0); p < int64(len(want.data))/PageSize; p++ {
		if !undefined.has(p) && !bytes.Equal(got[p*PageSize:(p+1)*PageSize], want.data[p*PageSize:(p+1)*PageSize]) {
			t.Fatalf("page %d differs", p)
		}
	}
}

// TestHistories plans and fetches between every pair of versions of random histories, older ones and none included, on machines that hold
// random bytes wherever a version is undefined.
func TestHistories(t *testing.T) {
	for seed := range uint64(soak(16)) {
		r := seeded(t, seed)
		s := newStore(t)
		pages := []int64{1, 256, 257, 700, 1024}[seed%5]
		filtered := seed%2 == 1
		states := history(t, r, s, 1+int(seed%6), pages, filtered)
		maps := loadMaps(t, s, states)
		for have := range states {
			for want := 1; want < len(states); want++ {
				t.Run(pairName(have, want), func(t *testing.T) {
					start := make([]byte, pages*PageSize)
					fill(r, start)
					if have > 0 {
						start = machine(r, states[have], maps[have].undefined)
					}
					got := update(t, s, start, have, want)
					checkDefined(t, got, states[want], maps[want].undefined)
					if bad, err := maps[want].Verify(t.Context(), bytes.NewReader(got), nil); err != nil || len(bad) != 0 {
						t.Fatalf("Verify = %v, %v, want nothing damaged", bad, err)
					}
				})
			}
		}
	}
}

// update brings a disk from one version to another, by a plan without and one with local copies, which must agree.
func update(t *testing.T, s *Store, start []byte, have, want int) []byte {
	t.Helper()
	p, err := LoadPlan(t.Context(), s, "pc", have, want)
	if err != nil {
		t.Fatal(err)
	}
	l, err := LoadLocalPlan(t.Context(), s, "pc", have, want)
	if err != nil {
		t.Fatal(err)
	}
	if l.WriteBytes != p.WriteBytes || l.ZeroBytes != p.ZeroBytes || l.FetchBytes > p.FetchBytes || p.CopyBytes != 0 || !slices.Equal(l.Runs(), p.Runs()) {
		t.Fatalf("plans differ: %+v %+v", p, l)
	}
	a, b := run(t, s, p, start), run(t, s, l, start)
	if !bytes.Equal(a, b) {
		t.Fatal("local copies give another disk")
	}
	return a
}

func run(t *testing.T, s *Store, p *Plan, start []byte) []byte {
	t.Helper()
	have, want := p.Have, p.Want
	if have == want && !p.Empty() {
		t.Fatal("a plan to the version that is there is not empty")
	}
	k, c := newSink(start), &counter{}
	st, err := p.Fetch(t.Context(), s, k, &FetchOptions{Workers: 3, Progress: c, RequestBytes: 100 << 10, Local: bytes.NewReader(start)})
	if err != nil {
		t.Fatal(err)
	}
	k.checkRuns(t, p)
	if st.FetchedBytes != p.FetchBytes || c.n != p.FetchBytes || st.WrittenBytes != p.WriteBytes || st.ZeroBytes != p.ZeroBytes || st.CopiedBytes != p.CopyBytes {
		t.Fatalf("stats %+v, progress %d, plan fetch %d write %d zero %d", st, c.n, p.FetchBytes, p.WriteBytes, p.ZeroBytes)
	}
	return k.data
}

// TestHeal damages random regions of a machine and repairs exactly those.
func TestHeal(t *testing.T) {
	for seed := range uint64(soak(8)) {
		r := seeded(t, seed)
		s := newStore(t)
		states := history(t, r, s, 4, 1500, seed%2 == 0)
		maps := loadMaps(t, s, states)
		want := 1 + r.IntN(4)
		disk := machine(r, states[want], maps[want].undefined)
		damaged := map[int64]bool{}
		for range r.IntN(12) {
			p := r.Int64N(1500)
			if maps[want].undefined.has(p) {
				continue
			}
			disk[p*PageSize+r.Int64N(PageSize)] ^= 1 << r.IntN(8)
			damaged[p/pagesPerRegion] = true
		}
		bad, err := maps[want].Verify(t.Context(), bytes.NewReader(disk), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range bad {
			if !damaged[b] {
				t.Fatalf("region %d is called damaged and is not", b)
			}
		}
		p, err := LoadHeal(t.Context(), s, "pc", want, bad)
		if err != nil {
			t.Fatal(err)
		}
		k := newSink(disk)
		if _, err := p.Fetch(t.Context(), s, k, nil); err != nil {
			t.Fatal(err)
		}
		k.checkRuns(t, p)
		checkDefined(t, k.data, states[want], maps[want].undefined)
	}
}

// TestDeterminism publishes the same history into two stores with other numbers of workers: every file must be the same.
func TestDeterminism(t *testing.T) {
	r := seeded(t, 7)
	a, b := newStore(t), newStore(t)
	before := (*state)(nil)
	now := firstState(r, 3000)
	for v := 1; v <= 4; v++ {
		publish(t, a, "pc", now, before, &PublishOptions{Workers: 1}, v%2 == 0)
		publish(t, b, "pc", now, before, &PublishOptions{Workers: 7}, v%2 == 0)
		before, now = now, mutate(r, now, v+1, true)
	}
	fa, fb := tree(t, a.dir), tree(t, b.dir)
	if len(fa) < 4*4 || len(fa) != len(fb) {
		t.Fatalf("stores have %d and %d files", len(fa), len(fb))
	}
	for name, content := range fa {
		if fb[name] != content {
			t.Errorf("%s differs", name)
		}
	}
}

// TestSkipZeros leaves zero runs to the sink.
func TestSkipZeros(t *testing.T) {
	r := seeded(t, 1)
	s := newStore(t)
	states := history(t, r, s, 1, 900, false)
	p, err := LoadPlan(t.Context(), s, "pc", 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	k := newSink(make([]byte, len(states[1].data)))
	st, err := p.Fetch(t.Context(), s, k, &FetchOptions{SkipZeros: true})
	if err != nil || st.ZeroBytes != 0 || st.WrittenBytes != p.WriteBytes-p.ZeroBytes || p.ZeroBytes == 0 {
		t.Fatalf("Fetch = %+v, %v; plan has %d bytes of zeros", st, err, p.ZeroBytes)
	}
	if !bytes.Equal(k.data, states[1].data) {
		t.Fatal("disk differs")
	}
}

// TestShipsOnlyWhatChanged pins the figures of a small known history.
func TestShipsOnlyWhatChanged(t *testing.T) {
	r := seeded(t, 3)
	s := newStore(t)
	v1 := &state{data: make([]byte, 1000*PageSize), id: guid(1)}
	fill(r, v1.data[:600*PageSize])
	if f := publish(t, s, "pc", v1, nil, &PublishOptions{}, false).Figures; f.Shipped != 600*PageSize || f.Zero != 400*PageSize {
		t.Fatalf("version 1: %+v", f)
	}
	v2 := &state{data: bytes.Clone(v1.data), id: guid(2)}
	fill(r, v2.data[10*PageSize:11*PageSize])                      // new
	clear(v2.data[20*PageSize : 22*PageSize])                      // zero
	copy(v2.data[700*PageSize:], v1.data[30*PageSize:33*PageSize]) // moved
	v2.diff = []Range{{10*PageSize + 512, 512}, {20 * PageSize, 5 * PageSize}, {700 * PageSize, 3 * PageSize}}
	f := publish(t, s, "pc", v2, v1, &PublishOptions{}, false).Figures
	want := Figures{Scanned: 2 * RegionSize, Changed: 9 * PageSize, Equal: 3 * PageSize, Zero: 2 * PageSize, Copied: 3 * PageSize, Shipped: PageSize, Packed: f.Packed, Table: f.Table}
	if f != want {
		t.Fatalf("version 2: %+v, want %+v", f, want)
	}
	p, err := LoadPlan(context.Background(), s, "pc", 1, 2)
	if err != nil || p.WriteBytes != 6*PageSize || p.ZeroBytes != 2*PageSize {
		t.Fatalf("plan = %+v, %v", p, err)
	}
	l, err := LoadLocalPlan(t.Context(), s, "pc", 1, 2)
	if err != nil || l.CopyBytes != 3*PageSize || l.FetchBytes > PageSize {
		t.Fatalf("local plan = %+v, %v", l, err)
	}
	disk := bytes.Clone(v1.data)
	disk[31*PageSize+5] ^= 1 // in the middle of what is copied
	k := newSink(disk)
	_, err = l.Fetch(t.Context(), s, k, &FetchOptions{Local: bytes.NewReader(disk)})
	if !errors.Is(err, ErrLocal) || k.written[701*PageSize] {
		t.Fatalf("copy of a damaged page: %v", err)
	}
	if _, err = l.Fetch(t.Context(), s, k, nil); !errors.Is(err, ErrInvalid) {
		t.Fatalf("copies without a disk: %v", err)
	}
}
