package capture_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"troy/image"
	"troy/image/capture"
	"troy/internal/testing/goldenpc"
	"troy/internal/testing/imagetest"
)

const pagesOfDisk = 1300 // five regions and a part

// TestPieces compares the pieces of random sessions with what a test knows of the disk: every page
// that differs is in one mask, its content is there, and nothing else is sent.
func TestPieces(t *testing.T) {
	unused, compelled := 0, 0
	for seed := range uint64(imagetest.Soak(4)) {
		r := imagetest.Seeded(t, seed)
		store := imagetest.NewStore(t)
		pc := goldenpc.Random(t, r, pagesOfDisk, store)
		held := make([]byte, len(pc.Disk))
		if _, err := goldenpc.Open(t, pc.Chain.Files()[1].Path()).ReadAt(held, 0); err != nil {
			t.Fatal(err)
		}
		got, last := map[int64]*capture.Piece{}, int64(-1)
		for p, err := range pc.Session(t).Pieces(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Check(int64(len(pc.Disk))); err != nil || p.Region <= last {
				t.Fatalf("region %d after %d: %v", p.Region, last, err)
			}
			last = p.Region
			got[p.Region] = &capture.Piece{Masks: p.Masks, Pages: bytes.Clone(p.Pages)}
		}
		for page := range int64(pagesOfDisk) {
			at := page * image.PageSize
			now := pc.Disk[at : at+image.PageSize]
			free := slices.ContainsFunc(pc.Now.Free, func(f image.Range) bool { return f.Offset <= at && at < f.Offset+f.Length })
			undefined, same := pc.Version.Map.Undefined.Has(page), bytes.Equal(now, held[at:at+image.PageSize])
			p, i := got[page/capture.PerRegion], int(page%capture.PerRegion)
			if p == nil {
				p = &capture.Piece{}
			}
			if want := !free && (!same || undefined); p.Data.Has(i) != want {
				t.Fatalf("page %d: sent is %v, want %v", page, !want, want)
			} else if want {
				if !bytes.Equal(p.Pages[:image.PageSize], now) {
					t.Fatalf("page %d is sent with another content", page)
				}
				p.Pages = p.Pages[image.PageSize:]
				if undefined && same {
					compelled++
				}
			}
			if want := free && !same && !undefined; p.Unused.Has(i) != want {
				t.Fatalf("page %d: unused and changed is %v, want %v", page, !want, want)
			} else if want {
				unused++
			}
		}
		for r, p := range got {
			if len(p.Pages) > 0 {
				t.Errorf("region %d has %d bytes more than its mask says", r, len(p.Pages))
			}
		}
	}
	if unused == 0 || compelled == 0 {
		t.Errorf("%d pages unused and changed, %d sent although equal: this proves nothing", unused, compelled)
	}
}

// TestOpenRefuses: a chain that is not of the version.
func TestOpenRefuses(t *testing.T) {
	pc := goldenpc.Random(t, imagetest.Seeded(t, 1), pagesOfDisk, imagetest.NewStore(t))
	smaller, other := *pc.Version.Manifest, pc.Version
	smaller.VirtualSize -= image.PageSize
	other.Manifest = &smaller
	if _, err := capture.Open(t.Context(), pc.Chain, &other, pc.Filter); !errors.Is(err, image.ErrInvalid) {
		t.Errorf("a version of another size: %v", err)
	}
	base := goldenpc.Open(t, pc.Chain.Files()[1].Path())
	if _, err := capture.Open(t.Context(), base, &pc.Version, pc.Filter); !errors.Is(err, image.ErrInvalid) {
		t.Errorf("a disk that is no child: %v", err)
	}
}

// piece is a piece of two pages with noise.
func piece(region int64) *capture.Piece {
	p := &capture.Piece{Masks: capture.Masks{Region: region}, Pages: bytes.Repeat([]byte("abcdefgh"), 1024)}
	p.Data.Set(3)
	p.Data.Set(17)
	p.Unused.Set(4)
	return p
}

// TestForgedPieces: whatever bit of a piece flips, it is not taken.
func TestForgedPieces(t *testing.T) {
	const size = 3*image.RegionSize + 20*image.PageSize
	e, err := capture.NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	d, err := capture.NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	p := piece(3)
	good := bytes.Clone(e.Encode(p, p.Sum()))
	back, sum, err := d.Decode(good, size)
	if err != nil || sum != p.Sum() || back.Masks != p.Masks || !bytes.Equal(back.Pages, p.Pages) {
		t.Fatalf("decoded %+v, %v", back, err)
	}
	for i := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		back, _, err := d.Decode(bad, size)
		// A number of the format, and what a decompressor skips, may change without a page being
		// another.
		if err == nil && (back.Masks != p.Masks || !bytes.Equal(back.Pages, p.Pages)) {
			t.Errorf("bit %d: taken as %+v", i, back.Masks)
		}
		if err != nil && !errors.Is(err, capture.ErrPiece) && !errors.Is(err, image.ErrUnsupported) {
			t.Errorf("bit %d: %v", i, err)
		}
	}
	for name, change := range map[string]func(*capture.Piece){
		"region behind the end": func(p *capture.Piece) { p.Region = 4 },
		"negative region":       func(p *capture.Piece) { p.Region = -1 },
		"page behind the end":   func(p *capture.Piece) { p.Unused.Set(20) },
		"used and unused":       func(p *capture.Piece) { p.Unused.Set(3) },
		"too few pages":         func(p *capture.Piece) { p.Data.Set(5) },
		"too many pages":        func(p *capture.Piece) { p.Pages = append(p.Pages, make([]byte, image.PageSize)...) },
		"none":                  func(p *capture.Piece) { p.Pages = nil },
	} {
		p := piece(3)
		change(p)
		if _, _, err := d.Decode(e.Encode(p, p.Sum()), size); !errors.Is(err, capture.ErrPiece) {
			t.Errorf("%s: %v", name, err)
		}
	}
	empty := &capture.Piece{Masks: capture.Masks{Region: 2}}
	if back, _, err := d.Decode(e.Encode(empty, empty.Sum()), size); err != nil || !back.Empty() {
		t.Errorf("an empty piece: %v", err)
	}
}

// TestHeld: a list of pieces is read as it was written, and refused when it claims too much.
func TestHeld(t *testing.T) {
	const size = 9 * image.RegionSize
	h := &capture.Held{Finished: true, Pieces: []capture.RegionSum{{Region: 1, Sum: image.Sum{1}}, {Region: 8, Sum: image.Sum{2}}}}
	b := h.Encode()
	back, err := capture.ReadHeld(bytes.NewReader(b), size)
	if err != nil || !back.Finished || !slices.Equal(back.Pieces, h.Pieces) {
		t.Fatalf("read %+v, %v", back, err)
	}
	if sum, ok := back.Sum(8); !ok || sum != (image.Sum{2}) {
		t.Error("region 8 is not found")
	}
	if _, ok := back.Sum(2); ok {
		t.Error("region 2 is found")
	}
	for name, bad := range map[string][]byte{
		"cut": b[:len(b)-1], "longer": append(bytes.Clone(b), 0), "empty": nil,
		"order":   (&capture.Held{Pieces: []capture.RegionSum{{Region: 3}, {Region: 3}}}).Encode(),
		"outside": (&capture.Held{Pieces: []capture.RegionSum{{Region: 9}}}).Encode(),
		"a claim": append(bytes.Clone(b[:16]), 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
	} {
		if _, err := capture.ReadHeld(bytes.NewReader(bad), size); !errors.Is(err, image.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzDecode: what is taken encodes to a piece that is the same.
func FuzzDecode(f *testing.F) {
	const size = 3*image.RegionSize + 20*image.PageSize
	e, err := capture.NewEncoder()
	if err != nil {
		f.Fatal(err)
	}
	d, err := capture.NewDecoder()
	if err != nil {
		f.Fatal(err)
	}
	p := piece(3)
	f.Add(bytes.Clone(e.Encode(p, p.Sum())))
	f.Add(bytes.Clone(e.Encode(&capture.Piece{}, (&capture.Piece{}).Sum())))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, sum, err := d.Decode(b, size)
		if err != nil {
			return
		}
		if err := p.Check(size); err != nil || sum != p.Sum() || len(p.Pages) != p.Data.Count()*image.PageSize {
			t.Fatalf("took %+v, %v", p.Masks, err)
		}
		if back, _, err := d.Decode(e.Encode(p, sum), size); err != nil || back.Masks != p.Masks || !bytes.Equal(back.Pages, p.Pages) {
			t.Fatalf("again: %v", err)
		}
	})
}

// FuzzHeld: what is taken is written the same.
func FuzzHeld(f *testing.F) {
	f.Add((&capture.Held{Pieces: []capture.RegionSum{{Region: 1}, {Region: 8}}}).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := capture.ReadHeld(bytes.NewReader(b), 9*image.RegionSize)
		if err != nil {
			return
		}
		if again := h.Encode(); !bytes.Equal(again[12:], b[12:]) && bytes.Equal(again[8:12], b[8:12]) {
			t.Fatal("another list")
		}
	})
}
