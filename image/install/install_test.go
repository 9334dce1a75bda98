package install

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"troy/image"
	"troy/image/publish"
)

const size = 40<<20 + 4096

// source counts what is read of a store.
type source struct {
	*image.Store
	mu    sync.Mutex
	reads map[string]int // of each object and document
	bytes int64          // of packs
}

func (s *source) count(name string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads[name]++
	if strings.Contains(name, "pack") {
		s.bytes += n
	}
}

func (s *source) ReadRange(ctx context.Context, name string, off, n int64) ([]byte, error) {
	s.count(name, n)
	return s.Store.ReadRange(ctx, name, off, n)
}

func (s *source) Get(ctx context.Context, name string, max int64) ([]byte, error) {
	s.count(name, 0)
	return s.Store.Get(ctx, name, max)
}

// memory is a disk; bad gives back another byte there, whatever was written, if it is not negative.
type memory struct {
	mu  sync.Mutex
	b   []byte
	bad int64
	put int64
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, m.b[off:])
	if i := m.bad - off; m.bad >= 0 && i >= 0 && i < int64(n) {
		p[i] ^= 1
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put += int64(len(p))
	return copy(m.b[off:], p), nil
}

// newSource makes a store with an image whose parts are random and zero.
func newSource(t *testing.T) (*source, []byte) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	disk := make([]byte, size)
	for range 30 {
		off, n := r.IntN(size-3<<20), r.IntN(3<<20)
		for i := off; i < off+n; i++ {
			disk[i] = byte(r.Uint32())
		}
	}
	s, err := publish.Init(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	d := &publish.Disk{Reader: bytes.NewReader(disk), Size: size, SectorSize: 512, DataWriteGUID: "00000000-0000-4000-8000-000000000001"}
	if _, err := publish.Import(t.Context(), s, "win", d, nil); err != nil {
		t.Fatal(err)
	}
	return &source{Store: s, reads: map[string]int{}}, disk
}

// TestVersion: the pieces make the whole, nothing is asked for twice but chunks that cross from one
// piece to the next, and a piece alone costs its part only.
func TestVersion(t *testing.T) {
	src, disk := newSource(t)
	v, err := Open(t.Context(), src, "win", 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if v.Size() != size || v.Plan().Want != 1 {
		t.Fatalf("%d bytes, version %d", v.Size(), v.Plan().Want)
	}
	m := &memory{b: make([]byte, size), bad: -1}
	const piece = 8 << 20
	for off := int64(0); off < size; off += piece {
		if err := v.Fetch(t.Context(), off, min(size, off+piece), m); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(m.b, disk) {
		t.Error("the pieces do not make the whole")
	}
	var data int64
	for _, r := range v.Runs() {
		if !r.Zero {
			data += r.Length
		}
	}
	if m.put != data {
		t.Errorf("%d bytes came, the version has %d", m.put, data)
	}
	if src.bytes > v.Plan().FetchBytes+6*image.RegionSize {
		t.Errorf("%d bytes were fetched of %d", src.bytes, v.Plan().FetchBytes)
	}
	for name, n := range src.reads {
		if n > 1 && !strings.Contains(name, "pack") {
			t.Errorf("%s was read %d times", name, n)
		}
	}
	src.bytes = 0
	if err := v.Fetch(t.Context(), 4*piece, 5*piece, m); err != nil || src.bytes > piece+2*image.RegionSize {
		t.Errorf("a piece of %d bytes cost %d (%v)", piece, src.bytes, err)
	}
}

// TestRepair: what is wrong is found and put right; a disk that does not give back what is written
// is told.
func TestRepair(t *testing.T) {
	src, disk := newSource(t)
	v, err := Open(t.Context(), src, "win", 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{b: bytes.Clone(disk), bad: -1}
	if wrong, err := v.Repair(t.Context(), m, nil); wrong != 0 || err != nil || m.put != 0 {
		t.Errorf("a right disk: %d regions, %v, %d bytes written", wrong, err, m.put)
	}
	m.b[5], m.b[17<<20+99], m.b[size-1] = m.b[5]^1, m.b[17<<20+99]^1, m.b[size-1]^1
	if wrong, err := v.Repair(t.Context(), m, nil); wrong != 3 || err != nil || !bytes.Equal(m.b, disk) {
		t.Errorf("three wrong bytes: %d regions, %v", wrong, err)
	}
	m.bad = rand.Int64N(size)
	if _, err := v.Repair(t.Context(), m, nil); !errors.Is(err, image.ErrCorrupt) {
		t.Errorf("a disk that lies: %v", err)
	}
	if _, err := Open(t.Context(), src, "win", 2, nil); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("no such version: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := v.Fetch(ctx, 0, size, m); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
