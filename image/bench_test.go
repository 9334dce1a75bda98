package image

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
)

// program fills b with what packs about as programs do: words from a growing vocabulary among random bytes.
func program(r *rand.Rand, b []byte) {
	words := make([]byte, 64<<10)
	fill(r, words)
	for len(b) > 0 {
		n := min(len(b), 4+r.IntN(60))
		if r.IntN(3) > 0 {
			copy(b[:n], words[r.IntN(len(words)-n):])
		} else {
			fill(r, b[:n])
		}
		b = b[n:]
	}
}

func benchState(b *testing.B, size int64) *state {
	s := &state{data: make([]byte, size), id: guid(1)}
	program(seeded(b, 1), s.data)
	return s
}

// discardAt is a sink that only counts.
type discardAt struct{}

func (discardAt) WriteAt(p []byte, off int64) (int, error) { return len(p), nil }

func benchImport(b *testing.B, workers int) {
	s := benchState(b, 128<<20)
	b.SetBytes(int64(len(s.data)))
	for b.Loop() {
		b.StopTimer()
		store := newStore(b)
		b.StartTimer()
		m, err := store.Import(b.Context(), "pc", s.disk(nil), &PublishOptions{Workers: workers})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(m.Figures.Ratio(), "ratio")
	}
}

func BenchmarkImport1Core(b *testing.B)  { benchImport(b, 1) }
func BenchmarkImport2Cores(b *testing.B) { benchImport(b, 2) }

// BenchmarkScan is the comparison alone: a child that names everything and changes one page.
func BenchmarkScan(b *testing.B) {
	v1 := benchState(b, 128<<20)
	v2 := &state{data: bytes.Clone(v1.data), id: guid(2), diff: []Range{{0, int64(len(v1.data))}}}
	v2.data[77] ^= 1
	b.SetBytes(int64(len(v1.data)))
	for b.Loop() {
		b.StopTimer()
		store := newStore(b)
		if _, err := store.Import(b.Context(), "pc", v1.disk(nil), &PublishOptions{Level: 1}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, err := store.Add(b.Context(), "pc", v2.disk(v1), nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFetch plans and fetches a version from nothing, from a folder into nowhere.
func BenchmarkFetch(b *testing.B) {
	s := benchState(b, 128<<20)
	store := newStore(b)
	if _, err := store.Import(b.Context(), "pc", s.disk(nil), nil); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(s.data)))
	for b.Loop() {
		p, err := LoadPlan(b.Context(), store, "pc", 0, 1)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Fetch(b.Context(), store, discardAt{}, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPlan plans the way over a version of 200,000 scattered pages on a disk of 64 GiB.
func BenchmarkPlan(b *testing.B) {
	r := seeded(b, 1)
	const size = 64 << 30
	page := make([]byte, PageSize)
	fill(r, page)
	v1 := &Disk{Reader: zeroDisk{}, Size: size, SectorSize: 512, DataWriteGUID: guid(1), Data: rangeSeq(nil)}
	v2 := *v1
	v2.DataWriteGUID, v2.Reader = guid(2), stripedDisk{page}
	v2.Since = func(string) (*Delta, error) {
		var l []Range
		for i := range int64(200000) {
			l = append(l, Range{i * 2 * PageSize, PageSize})
		}
		return &Delta{Parent: zeroDisk{}, ParentSize: size, Changed: rangeSeq(l)}, nil
	}
	store := newStore(b)
	if _, err := store.Import(b.Context(), "pc", v1, nil); err != nil {
		b.Fatal(err)
	}
	if _, err := store.Add(b.Context(), "pc", &v2, &PublishOptions{Level: 1}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		p, err := LoadPlan(b.Context(), store, "pc", 1, 2)
		if err != nil || len(p.Runs()) < 200000 {
			b.Fatal(err)
		}
	}
}

// zeroDisk reads as zeros, stripedDisk as a page of data in every second one of the first.
type zeroDisk struct{}

func (zeroDisk) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }

type stripedDisk struct{ page []byte }

func (s stripedDisk) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	for i := int64(0); i < int64(len(p)); i += PageSize {
		if n := (off + i) / PageSize; n%2 == 0 && n < 200000*2 {
			copy(p[i:], s.page)
		}
	}
	return len(p), nil
}

var _ io.ReaderAt = stripedDisk{}
