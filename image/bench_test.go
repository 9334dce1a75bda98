package image_test

import (
	"testing"

	"troy/image"
	"troy/image/publish"
	"troy/internal/testing/imagetest"
)

// discardAt is a sink that only counts.
type discardAt struct{}

func (discardAt) WriteAt(p []byte, off int64) (int, error) { return len(p), nil }

// BenchmarkFetch plans and fetches a version from nothing, from a folder into nowhere.
func BenchmarkFetch(b *testing.B) {
	s := imagetest.Programs(b, 128<<20)
	store := imagetest.NewStore(b)
	if _, err := publish.Import(b.Context(), store, "pc", s.Disk(nil), nil); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(s.Data)))
	for b.Loop() {
		p, err := image.LoadPlan(b.Context(), store, "pc", 0, 1)
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
	r := imagetest.Seeded(b, 1)
	const size = 64 << 30
	page := make([]byte, image.PageSize)
	imagetest.Fill(r, page)
	v1 := &publish.Disk{Reader: zeroDisk{}, Size: size, SectorSize: 512, DataWriteGUID: imagetest.GUID(1), Data: imagetest.RangeSeq(nil)}
	v2 := *v1
	v2.DataWriteGUID, v2.Reader = imagetest.GUID(2), stripedDisk{page}
	v2.Since = func(string) (*publish.Delta, error) {
		var l []image.Range
		for i := range int64(200000) {
			l = append(l, image.Range{Offset: i * 2 * image.PageSize, Length: image.PageSize})
		}
		return &publish.Delta{Parent: zeroDisk{}, ParentSize: size, Changed: imagetest.RangeSeq(l)}, nil
	}
	store := imagetest.NewStore(b)
	if _, err := publish.Import(b.Context(), store, "pc", v1, nil); err != nil {
		b.Fatal(err)
	}
	if _, err := publish.Add(b.Context(), store, "pc", &v2, &publish.Options{Level: 1}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		p, err := image.LoadPlan(b.Context(), store, "pc", 1, 2)
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
	for i := int64(0); i < int64(len(p)); i += image.PageSize {
		if n := (off + i) / image.PageSize; n%2 == 0 && n < 200000*2 {
			copy(p[i:], s.page)
		}
	}
	return len(p), nil
}
