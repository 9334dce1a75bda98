package imagetest

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"troy/image"
	"troy/internal/block"
)

// Maps reads the maps of the versions, and checks that what the filter did not name is defined.
func Maps(t testing.TB, s *image.Store, states []*State) []*image.Map {
	t.Helper()
	maps := make([]*image.Map, len(states))
	for v := 1; v < len(states); v++ {
		m, err := image.LoadMap(t.Context(), s, "pc", v)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range m.Undefined {
			for p := u.Lo; p < u.Hi; p++ {
				if !states[v].isFree(p) {
					t.Fatalf("version %d: page %d is undefined although it is in use", v, p)
				}
			}
		}
		maps[v] = m
	}
	return maps
}

// Machine is the state as a machine may hold it: random bytes wherever the version is undefined.
func Machine(r *rand.Rand, s *State, m *image.Map) []byte {
	data := bytes.Clone(s.Data)
	for _, u := range m.Undefined {
		Fill(r, data[u.Lo*image.PageSize:u.Hi*image.PageSize])
	}
	return data
}

// CheckDefined compares a disk with a state, but for the pages that are undefined in the map; nil:
// all are defined.
func CheckDefined(t testing.TB, got []byte, want *State, m *image.Map) {
	t.Helper()
	for p := int64(0); p < int64(len(want.Data))/image.PageSize; p++ {
		at := p * image.PageSize
		if (m == nil || !m.Undefined.Has(p)) && !bytes.Equal(got[at:at+image.PageSize], want.Data[at:at+image.PageSize]) {
			t.Fatalf("page %d differs", p)
		}
	}
}

// Update brings a disk from one version of the image pc to another, by a plan without and one with
// local copies, which must agree.
func Update(t testing.TB, s *image.Store, start []byte, have, want int) []byte {
	t.Helper()
	p, err := image.LoadPlan(t.Context(), s, "pc", have, want)
	if err != nil {
		t.Fatal(err)
	}
	l, err := image.LoadLocalPlan(t.Context(), s, "pc", have, want)
	if err != nil {
		t.Fatal(err)
	}
	if l.WriteBytes != p.WriteBytes || l.ZeroBytes != p.ZeroBytes || l.FetchBytes > p.FetchBytes || p.CopyBytes != 0 || !slices.Equal(l.Runs(), p.Runs()) {
		t.Fatalf("plans differ: %+v %+v", p, l)
	}
	a, b := follow(t, s, p, start), follow(t, s, l, start)
	if !bytes.Equal(a, b) {
		t.Fatal("local copies give another disk")
	}
	return a
}

func follow(t testing.TB, s *image.Store, p *image.Plan, start []byte) []byte {
	t.Helper()
	if p.Have == p.Want && !p.Empty() {
		t.Fatal("a plan to the version that is there is not empty")
	}
	k, c := NewSink(start), &Counter{}
	st, err := p.Fetch(t.Context(), s, k, &image.FetchOptions{Workers: 3, Progress: c, RequestBytes: 100 << 10, Local: bytes.NewReader(start)})
	if err != nil {
		t.Fatal(err)
	}
	k.CheckRuns(t, p)
	if st.FetchedBytes != p.FetchBytes || c.N != p.FetchBytes || st.WrittenBytes != p.WriteBytes || st.ZeroBytes != p.ZeroBytes || st.CopiedBytes != p.CopyBytes {
		t.Fatalf("stats %+v, progress %d, plan fetch %d write %d zero %d", st, c.N, p.FetchBytes, p.WriteBytes, p.ZeroBytes)
	}
	return k.Data
}

// Sink is a disk that refuses what no sink may get: a page twice, half pages, bytes outside the
// disk.
type Sink struct {
	mu      sync.Mutex
	Data    []byte
	Written map[int64]bool // by the offset of the page
	Calls   int
}

// NewSink returns a sink that holds a copy of data.
func NewSink(data []byte) *Sink { return &Sink{Data: slices.Clone(data), Written: map[int64]bool{}} }

// WriteAt implements io.WriterAt.
func (s *Sink) WriteAt(p []byte, off int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Calls++
	if len(p) == 0 || len(p)%image.PageSize != 0 || off%image.PageSize != 0 || off < 0 || off+int64(len(p)) > int64(len(s.Data)) {
		return 0, fmt.Errorf("sink got %d bytes at %d", len(p), off)
	}
	for o := off; o < off+int64(len(p)); o += image.PageSize {
		if s.Written[o] {
			return 0, fmt.Errorf("sink got page %d twice", o/image.PageSize)
		}
		s.Written[o] = true
	}
	return copy(s.Data[off:], p), nil
}

// CheckRuns compares what was written with what the plan had said.
func (s *Sink) CheckRuns(t testing.TB, p *image.Plan) {
	t.Helper()
	var n int64
	for _, r := range p.Runs() {
		for o := r.Offset; o < r.Offset+r.Length; o += image.PageSize {
			if !s.Written[o] {
				t.Fatalf("page %d is in the plan and was not written", o/image.PageSize)
			}
			if r.Zero && !block.IsZero(s.Data[o:o+image.PageSize]) {
				t.Fatalf("page %d is a zero run and holds data", o/image.PageSize)
			}
			n += image.PageSize
		}
	}
	if n != p.WriteBytes || n != int64(len(s.Written))*image.PageSize {
		t.Fatalf("runs hold %d bytes, WriteBytes is %d, written were %d", n, p.WriteBytes, len(s.Written)*image.PageSize)
	}
}

// Counter is a progress.Adder.
type Counter struct {
	mu sync.Mutex
	N  int64
}

// Add implements progress.Adder.
func (c *Counter) Add(n int64) { c.mu.Lock(); c.N += n; c.mu.Unlock() }

// Flaky is a source whose answers a test may spoil.
type Flaky struct {
	*image.Store
	Spoil func(name string, off int64, b []byte) ([]byte, error)
}

// String implements image.Source.
func (f *Flaky) String() string { return "flaky" }

// ReadRange implements image.Source.
func (f *Flaky) ReadRange(ctx context.Context, name string, off, n int64) ([]byte, error) {
	b, err := f.Store.ReadRange(ctx, name, off, n)
	if err != nil {
		return nil, err
	}
	return f.Spoil(name, off, b)
}

// Tree returns the content of every file of a store but the lock.
func Tree(t testing.TB, s *image.Store) map[string]string {
	t.Helper()
	files, dir := map[string]string{}, s.String()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ".lock" {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		files[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// SameTree fails if a file of a was changed, or if b has a new one that is not an object.
func SameTree(t testing.TB, a, b map[string]string) {
	t.Helper()
	for name := range b {
		if _, ok := a[name]; !ok && !strings.HasPrefix(name, "objects/") {
			t.Fatalf("%s is new", name)
		}
	}
	for name, content := range a {
		if b[name] != content {
			t.Fatalf("%s was changed", name)
		}
	}
}

// Files returns the names of the files of a store with an ending, sorted; there must be one.
func Files(t testing.TB, s *image.Store, ending string) []string {
	t.Helper()
	var l []string
	for name := range Tree(t, s) {
		if strings.HasSuffix(name, ending) {
			l = append(l, name)
		}
	}
	if len(l) == 0 {
		t.Fatalf("store has no %s", ending)
	}
	slices.Sort(l)
	return l
}
