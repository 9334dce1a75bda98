package image

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// soak multiplies the counts of random tests when TROY_SOAK=1.
func soak(n int) int {
	if os.Getenv("TROY_SOAK") == "1" {
		return n * 10
	}
	return n
}

func seeded(t testing.TB, seed uint64) *rand.Rand {
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

func fill(r *rand.Rand, b []byte) {
	for i := 0; i < len(b); i += 8 {
		v := r.Uint64()
		for j := i; j < min(i+8, len(b)); j++ {
			b[j] = byte(v)
			v >>= 8
		}
	}
}

// text fills b with something that compresses.
func text(r *rand.Rand, b []byte) {
	for i := range b {
		b[i] = "abcdefgh"[r.IntN(8)]
	}
}

func guid(n int) string { return fmt.Sprintf("%08x-0000-4000-8000-000000000000", n) }

// state is one version as the tests know it.
type state struct {
	data []byte
	free spans   // what the filter says
	diff []Range // what the child names over the state before
	id   string
}

func (s *state) disk(parent *state) *Disk {
	d := &Disk{Reader: bytes.NewReader(s.data), Size: int64(len(s.data)), SectorSize: 512, DataWriteGUID: s.id}
	if parent != nil {
		d.Parents = []string{parent.id}
		d.Since = func(id string) (*Delta, error) {
			if id != parent.id {
				return nil, nil
			}
			return &Delta{Parent: bytes.NewReader(parent.data), ParentSize: int64(len(parent.data)), Changed: rangeSeq(s.diff)}, nil
		}
	}
	return d
}

func rangeSeq(l []Range) iter.Seq2[Range, error] {
	return func(yield func(Range, error) bool) {
		for _, r := range l {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// spanFilter is a Filter that knows the answer.
type spanFilter struct{ free spans }

func (f spanFilter) Unused(context.Context, io.ReaderAt, int64, uint32) ([]Range, []string, error) {
	var l []Range
	for _, s := range f.free {
		l = append(l, Range{s.lo * PageSize, (s.hi - s.lo) * PageSize})
	}
	return l, []string{"given by the test"}, nil
}

// mutate makes the next state: sector writes at boundaries and at random places, zeros, moved pages, equal rewrites.
func mutate(r *rand.Rand, old *state, n int, filtered bool) *state {
	s := &state{data: slices.Clone(old.data), id: guid(n), free: old.free}
	size := int64(len(s.data))
	name := func(off, n int64) {
		off = off &^ 511
		n = min((n+511)&^511, size-off)
		s.diff = append(s.diff, Range{off, n})
	}
	for range 3 + r.IntN(20) {
		off := r.Int64N(size)
		switch r.IntN(4) {
		case 0: // just before or at a page, chunk or region boundary
			unit := []int64{PageSize, RegionSize}[r.IntN(2)]
			off = min(max(0, off/unit*unit-512*r.Int64N(3)), size-512)
		case 1:
			off = []int64{0, size - 512, size - PageSize}[r.IntN(3)]
		}
		off &^= 511
		n := min(512*(1+r.Int64N([]int64{1, 8, 100, 700}[r.IntN(4)])), size-off)
		b := s.data[off : off+n]
		switch r.IntN(6) {
		case 0:
			clear(b)
		case 1: // named, and yet the same
		case 2, 3: // moved from elsewhere in the old state
			off, n = off&^4095, max(n&^4095, PageSize)
			n = min(n, size-off)
			src := r.Int64N((size-n)/PageSize+1) * PageSize
			copy(s.data[off:off+n], old.data[src:src+n])
		case 4:
			text(r, b)
		default:
			fill(r, b)
		}
		name(off, n)
	}
	slices.SortFunc(s.diff, func(a, b Range) int { return int(a.Offset - b.Offset) })
	if filtered {
		s.free = randomSpans(r, size/PageSize)
	}
	return s
}

func randomSpans(r *rand.Rand, pages int64) spans {
	var l []span
	for range r.IntN(8) {
		lo := r.Int64N(pages)
		l = append(l, span{lo, min(pages, lo+1+r.Int64N(200))})
	}
	return newSpans(l)
}

func firstState(r *rand.Rand, pages int64) *state {
	s := &state{data: make([]byte, pages*PageSize), id: guid(1)}
	for range 10 {
		off := r.Int64N(pages) * PageSize
		b := s.data[off:min(int64(len(s.data)), off+r.Int64N(400)*PageSize)]
		if r.IntN(2) == 0 {
			fill(r, b)
		} else {
			text(r, b)
		}
	}
	return s
}

// newStore makes a store that does not wait for the device: no test here cuts the power. TestChains and TestFullDevice use the real operations.
func newStore(t testing.TB) *Store {
	s, err := Init(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s.ops = unsynced
	return s
}

// unsynced is osOps without syncs.
var unsynced = fileOps{
	create: func(p string) (file, error) {
		f, err := osOps.create(p)
		return unsyncedFile{f}, err
	},
	rename: osOps.rename,
	mkdir:  osOps.mkdir,
	sync:   func(string) error { return nil },
}

type unsyncedFile struct{ file }

func (unsyncedFile) Sync() error { return nil }

// history publishes n random versions and returns the states, index 0 unused.
func history(t testing.TB, r *rand.Rand, s *Store, n int, pages int64, filtered bool) []*state {
	states := []*state{nil, firstState(r, pages)}
	if filtered {
		states[1].free = randomSpans(r, pages)
	}
	for v := 1; v <= n; v++ {
		if v > 1 {
			states = append(states, mutate(r, states[v-1], v, filtered))
		}
		publish(t, s, "pc", states[v], states[v-1], &PublishOptions{Workers: 1 + r.IntN(3), NoCopies: r.IntN(4) == 0}, filtered)
	}
	return states
}

func publish(t testing.TB, s *Store, name string, now, before *state, o *PublishOptions, filtered bool) *Manifest {
	t.Helper()
	if filtered {
		o.Filter = spanFilter{now.free}
	}
	var m *Manifest
	var err error
	if before == nil {
		m, err = s.Import(t.Context(), name, now.disk(nil), o)
	} else {
		m, err = s.Add(t.Context(), name, now.disk(before), o)
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

// sink is a disk that refuses what no sink may get: a page twice, half pages, bytes outside the plan.
type sink struct {
	mu      sync.Mutex
	data    []byte
	written map[int64]bool
	calls   int
}

func newSink(data []byte) *sink { return &sink{data: slices.Clone(data), written: map[int64]bool{}} }

func (s *sink) WriteAt(p []byte, off int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if len(p) == 0 || len(p)%PageSize != 0 || off%PageSize != 0 || off < 0 || off+int64(len(p)) > int64(len(s.data)) {
		return 0, fmt.Errorf("sink got %d bytes at %d", len(p), off)
	}
	for o := off; o < off+int64(len(p)); o += PageSize {
		if s.written[o] {
			return 0, fmt.Errorf("sink got page %d twice", o/PageSize)
		}
		s.written[o] = true
	}
	return copy(s.data[off:], p), nil
}

// checkRuns compares what was written with what the plan had said.
func (s *sink) checkRuns(t *testing.T, p *Plan) {
	t.Helper()
	var n int64
	for _, r := range p.Runs() {
		for o := r.Offset; o < r.Offset+r.Length; o += PageSize {
			if !s.written[o] {
				t.Fatalf("page %d is in the plan and was not written", o/PageSize)
			}
			if r.Zero && !zeros(s.data[o:o+PageSize]) {
				t.Fatalf("page %d is a zero run and holds data", o/PageSize)
			}
			n += PageSize
		}
	}
	if n != p.WriteBytes || n != int64(len(s.written))*PageSize {
		t.Fatalf("runs hold %d bytes, WriteBytes is %d, written were %d", n, p.WriteBytes, len(s.written)*PageSize)
	}
}

// counter is a Progress.
type counter struct {
	mu sync.Mutex
	n  int64
}

func (c *counter) Add(n int64) { c.mu.Lock(); c.n += n; c.mu.Unlock() }

// flaky is a Source whose answers a test may spoil.
type flaky struct {
	*Store
	spoil func(name string, off int64, b []byte) ([]byte, error)
}

func (f *flaky) String() string { return "flaky" }

func (f *flaky) ReadRange(ctx context.Context, name string, off, n int64) ([]byte, error) {
	b, err := f.Store.ReadRange(ctx, name, off, n)
	if err != nil {
		return nil, err
	}
	return f.spoil(name, off, b)
}

func pairName(have, want int) string { return strconv.Itoa(have) + "to" + strconv.Itoa(want) }

// tree returns the content of every file of a store but the lock.
func tree(t testing.TB, dir string) map[string]string {
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == lockName {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		files[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
