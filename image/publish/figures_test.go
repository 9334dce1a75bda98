package publish_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"troy/image"
	"troy/image/publish"
	"troy/internal/testing/imagetest"
)

// TestDeterminism publishes the same history into two stores with other numbers of workers: every
// file must be the same.
func TestDeterminism(t *testing.T) {
	r := imagetest.Seeded(t, 7)
	a, b := imagetest.NewStore(t), imagetest.NewStore(t)
	before := (*imagetest.State)(nil)
	now := imagetest.First(r, 3000)
	for v := 1; v <= 4; v++ {
		imagetest.Publish(t, a, now, before, &publish.Options{Workers: 1}, v%2 == 0)
		imagetest.Publish(t, b, now, before, &publish.Options{Workers: 7}, v%2 == 0)
		before, now = now, imagetest.Mutate(r, now, v+1, true)
	}
	fa, fb := imagetest.Tree(t, a), imagetest.Tree(t, b)
	if len(fa) < 4*4 || len(fa) != len(fb) {
		t.Fatalf("stores have %d and %d files", len(fa), len(fb))
	}
	for name, content := range fa {
		if fb[name] != content {
			t.Errorf("%s differs", name)
		}
	}
}

// TestShipsOnlyWhatChanged pins the figures of a small known history.
func TestShipsOnlyWhatChanged(t *testing.T) {
	r := imagetest.Seeded(t, 3)
	s := imagetest.NewStore(t)
	v1 := &imagetest.State{Data: make([]byte, 1000*image.PageSize), ID: imagetest.GUID(1)}
	imagetest.Fill(r, v1.Data[:600*image.PageSize])
	if f := imagetest.Publish(t, s, v1, nil, &publish.Options{}, false).Figures; f.Shipped != 600*image.PageSize || f.Zero != 400*image.PageSize {
		t.Fatalf("version 1: %+v", f)
	}
	v2 := &imagetest.State{Data: bytes.Clone(v1.Data), ID: imagetest.GUID(2)}
	imagetest.Fill(r, v2.Data[10*image.PageSize:11*image.PageSize])                  // new
	clear(v2.Data[20*image.PageSize : 22*image.PageSize])                            // zero
	copy(v2.Data[700*image.PageSize:], v1.Data[30*image.PageSize:33*image.PageSize]) // moved
	v2.Diff = []image.Range{{Offset: 10*image.PageSize + 512, Length: 512}, {Offset: 20 * image.PageSize, Length: 5 * image.PageSize}, {Offset: 700 * image.PageSize, Length: 3 * image.PageSize}}
	f := imagetest.Publish(t, s, v2, v1, &publish.Options{}, false).Figures
	want := image.Figures{Scanned: 2 * image.RegionSize, Changed: 9 * image.PageSize, Equal: 3 * image.PageSize, Zero: 2 * image.PageSize, Copied: 3 * image.PageSize, Shipped: image.PageSize, Packed: f.Packed, Table: f.Table}
	if f != want {
		t.Fatalf("version 2: %+v, want %+v", f, want)
	}
	p, err := image.LoadPlan(context.Background(), s, "pc", 1, 2)
	if err != nil || p.WriteBytes != 6*image.PageSize || p.ZeroBytes != 2*image.PageSize {
		t.Fatalf("plan = %+v, %v", p, err)
	}
	l, err := image.LoadLocalPlan(t.Context(), s, "pc", 1, 2)
	if err != nil || l.CopyBytes != 3*image.PageSize || l.FetchBytes > image.PageSize {
		t.Fatalf("local plan = %+v, %v", l, err)
	}
	disk := bytes.Clone(v1.Data)
	disk[31*image.PageSize+5] ^= 1 // in the middle of what is copied
	k := imagetest.NewSink(disk)
	_, err = l.Fetch(t.Context(), s, k, &image.FetchOptions{Local: bytes.NewReader(disk)})
	if !errors.Is(err, image.ErrLocal) || k.Written[701*image.PageSize] {
		t.Fatalf("copy of a damaged page: %v", err)
	}
	if _, err = l.Fetch(t.Context(), s, k, nil); !errors.Is(err, image.ErrInvalid) {
		t.Fatalf("copies without a disk: %v", err)
	}
}
