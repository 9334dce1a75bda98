package publish_test

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"testing"

	"troy/image"
	"troy/image/publish"
	"troy/internal/testing/imagetest"
)

// lookalike returns another page with the same weak hash: both halves differ by a pattern that
// their CRC does not see.
func lookalike(t *testing.T, page []byte) []byte {
	t.Helper()
	half := image.PageSize / 2
	zero := publish.Weak(make([]byte, image.PageSize))
	// Of 40 one-bit changes some sum leaves 32 bits of CRC as they were: Gauss finds it.
	type row struct{ crc, bits uint64 }
	var basis []row
	for bit := range 40 {
		p := make([]byte, image.PageSize)
		p[half+100+bit/8] = 1 << (bit % 8)
		r := row{publish.Weak(p) ^ zero, 1 << bit}
		for _, b := range basis {
			if r.crc^b.crc < r.crc {
				r.crc, r.bits = r.crc^b.crc, r.bits^b.bits
			}
		}
		if r.crc != 0 {
			basis = append(basis, r)
			slices.SortFunc(basis, func(a, b row) int { return cmp.Compare(b.crc, a.crc) })
			continue
		}
		other := bytes.Clone(page)
		for i := range 40 {
			other[100+i/8] ^= byte(r.bits>>i&1) << (i % 8)
			other[half+100+i/8] ^= byte(r.bits>>i&1) << (i % 8)
		}
		if bytes.Equal(other, page) || publish.Weak(other) != publish.Weak(page) {
			t.Fatalf("no lookalike: %x and %x", publish.Weak(other), publish.Weak(page))
		}
		return other
	}
	t.Fatal("no lookalike")
	return nil
}

// TestLookalikes: pages that only have the weak hash of a page below in common with it are shipped,
// those beside them copied.
func TestLookalikes(t *testing.T) {
	r := imagetest.Seeded(t, 1)
	s := imagetest.NewStore(t)
	v1 := &imagetest.State{Data: make([]byte, 900*image.PageSize), ID: imagetest.GUID(1)}
	imagetest.Fill(r, v1.Data[:600*image.PageSize])
	imagetest.Publish(t, s, v1, nil, &publish.Options{}, false)
	v2 := &imagetest.State{Data: bytes.Clone(v1.Data), ID: imagetest.GUID(2), Diff: []image.Range{{Offset: 700 * image.PageSize, Length: 4 * image.PageSize}}}
	copy(v2.Data[700*image.PageSize:], v1.Data[30*image.PageSize:34*image.PageSize])
	copy(v2.Data[702*image.PageSize:], lookalike(t, v1.Data[32*image.PageSize:33*image.PageSize]))
	f := imagetest.Publish(t, s, v2, v1, &publish.Options{}, false).Figures
	if f.Copied != 3*image.PageSize || f.Shipped != image.PageSize {
		t.Fatalf("figures %+v", f)
	}
	imagetest.CheckDefined(t, imagetest.Update(t, s, v1.Data, 1, 2), v2, nil)
	if m := imagetest.Publish(t, s, imagetest.Mutate(r, v2, 3, false), v2, &publish.Options{NoCopies: true}, false); m.Figures.Copied != 0 {
		t.Fatalf("without copies: %+v", m.Figures)
	}
}

// TestChangedSource: a parent that was changed without a new GUID is found where it serves as a
// source, even if the child names nothing near.
func TestChangedSource(t *testing.T) {
	r := imagetest.Seeded(t, 2)
	s := imagetest.NewStore(t)
	v1 := &imagetest.State{Data: make([]byte, 900*image.PageSize), ID: imagetest.GUID(1)}
	imagetest.Fill(r, v1.Data)
	imagetest.Publish(t, s, v1, nil, &publish.Options{}, false)
	forged := &imagetest.State{Data: bytes.Clone(v1.Data), ID: v1.ID}
	forged.Data[77*image.PageSize] ^= 1
	v2 := &imagetest.State{Data: bytes.Clone(forged.Data), ID: imagetest.GUID(2), Diff: []image.Range{{Offset: 800 * image.PageSize, Length: image.PageSize}}}
	copy(v2.Data[800*image.PageSize:], v1.Data[30*image.PageSize:31*image.PageSize])
	before := imagetest.Tree(t, s)
	_, err := publish.Add(t.Context(), s, "pc", v2.Disk(forged), nil)
	var pe *publish.ParentError
	if !errors.As(err, &pe) || pe.Region != 0 || pe.Image != "pc" {
		t.Fatalf("Add = %v", err)
	}
	imagetest.SameTree(t, before, imagetest.Tree(t, s))
}
