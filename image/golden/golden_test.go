package golden_test

import (
	"bytes"
	"errors"
	"testing"

	"troy/image"
	"troy/image/capture"
	"troy/image/golden"
	"troy/image/publish"
	"troy/internal/block"
	"troy/internal/testing/goldenpc"
	"troy/internal/testing/imagetest"
)

const pagesOfDisk = 1300

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// captured is what a server would hold of a session.
func captured(t *testing.T, s *capture.Session) *capture.Capture {
	t.Helper()
	pages := make([]byte, s.About.VirtualSize)
	c := &capture.Capture{ID: s.ID, About: s.About, Pages: bytes.NewReader(pages)}
	for p, err := range s.Pieces(t.Context()) {
		must(t, err)
		c.Pieces = append(c.Pieces, p.Masks)
		data := p.Pages
		for i := range capture.PerRegion {
			if p.Data.Has(i) {
				copy(pages[p.Region*image.RegionSize+int64(i)*image.PageSize:], data[:image.PageSize])
				data = data[image.PageSize:]
			}
		}
	}
	return c
}

// TestSameAsFiles publishes random sessions from what the server holds, and from the files of the
// machine: the same version comes out. The golden PC then is that version: nothing has to be
// fetched.
func TestSameAsFiles(t *testing.T) {
	hidden, shipped, copied := int64(0), int64(0), int64(0)
	for seed := range uint64(imagetest.Soak(6)) {
		r := imagetest.Seeded(t, seed)
		files, store := imagetest.NewStore(t), imagetest.NewStore(t)
		pc := goldenpc.Random(t, r, pagesOfDisk, files, store)
		o := &publish.Options{Filter: pc.Filter}
		want, err := publish.Add(t.Context(), files, "pc", publish.ChainDisk(pc.Chain), o)
		must(t, err)
		d, err := golden.Open(t.Context(), store, captured(t, pc.Session(t)))
		must(t, err)
		got, err := publish.Add(t.Context(), store, "pc", d.Publish(), o)
		must(t, err)
		if got.Map != want.Map || got.Table != want.Table || got.Pack != want.Pack || got.DataWriteGUID != want.DataWriteGUID {
			t.Fatalf("from the capture %+v\nfrom the files %+v", got.Figures, want.Figures)
		}
		hidden, shipped, copied = hidden+got.Figures.Undefined, shipped+got.Figures.Shipped, copied+got.Figures.Copied
		m, err := image.LoadMap(t.Context(), store, "pc", 2)
		must(t, err)
		if bad, err := m.Verify(t.Context(), pc.Chain, nil); err != nil || len(bad) > 0 {
			t.Fatalf("regions %v of the golden PC are not as published (%v)", bad, err)
		}
		imagetest.CheckDefined(t, imagetest.Update(t, store, make([]byte, len(pc.Disk)), 0, 2), &imagetest.State{Data: pc.Disk}, m)
	}
	if hidden == 0 || shipped == 0 || copied == 0 {
		t.Errorf("%d bytes became undefined, %d were shipped, %d copied: this proves nothing", hidden, shipped, copied)
	}
}

// TestReads compares reads of any length and place with the disk.
func TestReads(t *testing.T) {
	r := imagetest.Seeded(t, 7)
	store := imagetest.NewStore(t)
	pc := goldenpc.Random(t, r, pagesOfDisk, store)
	d, err := golden.Open(t.Context(), store, captured(t, pc.Session(t)))
	must(t, err)
	whole := make([]byte, len(pc.Disk))
	must(t, block.ReadFull(d, whole, 0))
	for range 400 {
		off := r.Int64N(int64(len(whole)))
		p := make([]byte, min(r.Int64N([]int64{10, 5000, 3 << 20}[r.IntN(3)])+1, int64(len(whole))-off))
		if err := block.ReadFull(d, p, off); err != nil || !bytes.Equal(p, whole[off:off+int64(len(p))]) {
			t.Fatalf("%d bytes at %d differ (%v)", len(p), off, err)
		}
	}
	if n, err := d.ReadAt(make([]byte, 10), int64(len(whole))-4); n != 4 || err == nil {
		t.Errorf("read over the end: %d, %v", n, err)
	}
}

// TestBase: a version that is no longer the newest, or another one of that number.
func TestBase(t *testing.T) {
	r := imagetest.Seeded(t, 1)
	store := imagetest.NewStore(t)
	pc := goldenpc.Random(t, r, pagesOfDisk, store)
	c := captured(t, pc.Session(t))
	other := *c
	other.About.Manifest[0] ^= 1
	var base *golden.BaseError
	if _, err := golden.Open(t.Context(), store, &other); !errors.As(err, &base) || !base.Other {
		t.Errorf("another version 1: %v", err)
	}
	child := goldenpc.Open(t, goldenpc.Child(t, pc.Chain.Files()[1].Path(), "other.vhdx", pc.Now.Data, pc.Now.Diff[:1]))
	_, err := publish.Add(t.Context(), store, "pc", publish.ChainDisk(child), nil)
	must(t, err)
	if _, err := golden.Open(t.Context(), store, c); !errors.As(err, &base) || base.Have != 1 || base.Newest != 2 || !errors.Is(err, golden.ErrBase) {
		t.Errorf("an old version: %v", err)
	}
	gone := *c
	gone.About.Image = "none"
	if _, err := golden.Open(t.Context(), store, &gone); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("no image: %v", err)
	}
}
