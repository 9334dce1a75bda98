package inbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"troy/image"
	"troy/image/capture"
	"troy/internal/block"
	"troy/internal/testing/crashdisk"
	"troy/internal/testing/imagetest"
)

const crashRegions = 3

// randomPiece is a piece of a region with a few pages of noise; sometimes an empty one.
func randomPiece(r *rand.Rand) *capture.Piece {
	p := &capture.Piece{Masks: capture.Masks{Region: r.Int64N(crashRegions)}}
	for range r.IntN(4) {
		p.Data.Set(r.IntN(12))
	}
	if i := r.IntN(capture.PerRegion); !p.Data.Has(i) {
		p.Unused.Set(i)
	}
	if r.IntN(6) == 0 {
		p.Masks = capture.Masks{Region: p.Region}
	}
	p.Pages = make([]byte, p.Data.Count()*image.PageSize)
	for i := 0; i < len(p.Pages); i += 8 {
		binary.LittleEndian.PutUint64(p.Pages[i:], r.Uint64())
	}
	return p
}

// sectors writes whole sectors, as the kernel does of a file that is written in parts of them.
type sectors struct{ *crashdisk.File }

func (s sectors) WriteAt(p []byte, off int64) (int, error) {
	from := off / crashdisk.SectorSize * crashdisk.SectorSize
	b := make([]byte, block.RoundUp(off+int64(len(p)), crashdisk.SectorSize)-from)
	if err := block.ReadFull(s.File, b, from); err != nil {
		return 0, err
	}
	copy(b[off-from:], p)
	if _, err := s.File.WriteAt(b, from); err != nil {
		return 0, err
	}
	return len(p), nil
}

func openCrashed(t *testing.T, d *crashdisk.Disk) *box {
	t.Helper()
	b, err := newBox(d.File(pagesName), sectors{d.File(logName)}, crashRegions*image.RegionSize)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPowerCuts cuts the power at each write and flush of random calls. All that was answered is
// there, whatever the box holds has its content, and the same calls go on to the same end.
func TestPowerCuts(t *testing.T) {
	states := 0
	for seed := range uint64(imagetest.Soak(4)) {
		r := imagetest.Seeded(t, seed)
		d := crashdisk.New()
		d.Create(pagesName, crashRegions*image.RegionSize, crashdisk.Garbage(seed))
		d.Create(logName, 64<<10, nil)
		d.Start()
		b := openCrashed(t, d)
		var calls []*capture.Piece
		var answered []int // ops of the log after which each call was answered
		for range 14 {
			p := randomPiece(r)
			if err := b.put(p, p.Sum(), func(int) error { return nil }); err != nil {
				t.Fatal(err)
			}
			calls, answered = append(calls, p), append(answered, len(d.Log()))
		}
		_, totals := b.list()
		if err := b.finish(&totals); err != nil {
			t.Fatal(err)
		}
		end := len(d.Log())
		for s := range d.States(crashdisk.Options{Seed: seed, Tears: 6, Subsets: 16, Lone: true}) {
			states++
			checkCrashed(t, s, calls, answered, end)
			if t.Failed() {
				return
			}
		}
	}
	if states < 500 {
		t.Errorf("%d states prove little", states)
	}
	t.Logf("%d states", states)
}

func checkCrashed(t *testing.T, s *crashdisk.State, calls []*capture.Piece, answered []int, end int) {
	t.Helper()
	b := openCrashed(t, s.Disk)
	held, _ := b.list()
	if s.Op >= end && !held.Finished {
		t.Errorf("%v: finish was answered and is lost", s)
	}
	for region := range int64(crashRegions) {
		sum, there := held.Sum(region)
		ok := false // is the state that of a call which may have been carried out last?
		last := -1
		for i, p := range calls {
			if p.Region == region && answered[i] <= s.Op {
				last = i
			}
		}
		possible := func(i int) bool {
			if i < 0 {
				return !there
			}
			return calls[i].Empty() && !there || !calls[i].Empty() && there && calls[i].Sum() == sum
		}
		ok = possible(last)
		next := slices.IndexFunc(answered, func(op int) bool { return op > s.Op }) // the call that was under way
		if next >= 0 && calls[next].Region == region {
			ok = ok || possible(next) || !there
		}
		if !ok {
			t.Errorf("%v: region %d, call %d: held %v %s", s, region, last, there, sum)
		}
		if there && !bytes.Equal(content(t, b, region, calls, sum), pagesOf(calls, sum)) {
			t.Errorf("%v: region %d has not the content that its hash says", s, region)
		}
	}
	if t.Failed() {
		return
	}
	// The machine starts again: it sends the last piece of each region and finishes.
	final := map[int64]*capture.Piece{}
	for _, p := range calls {
		final[p.Region] = p
	}
	for _, p := range final {
		if err := b.put(p, p.Sum(), func(int) error { return nil }); err != nil && !errors.Is(err, ErrFinished) {
			t.Fatalf("%v: %v", s, err)
		}
	}
	_, totals := b.list()
	if err := b.finish(&totals); err != nil {
		t.Fatalf("%v: %v", s, err)
	}
	again := openCrashed(t, s.Disk)
	held, _ = again.list()
	for region, p := range final {
		if sum, there := held.Sum(region); there == p.Empty() || there && sum != p.Sum() {
			t.Fatalf("%v: region %d is not what was sent last", s, region)
		}
	}
	if !held.Finished {
		t.Fatalf("%v: it is not finished", s)
	}
}

// content reads the pages of a held piece.
func content(t *testing.T, b *box, region int64, calls []*capture.Piece, sum image.Sum) (out []byte) {
	for _, p := range calls {
		if p.Sum() != sum {
			continue
		}
		for first, n := range runs(&p.Data) {
			part := make([]byte, n*image.PageSize)
			if err := block.ReadFull(b.pages, part, (region*capture.PerRegion+int64(first))*image.PageSize); err != nil {
				t.Fatal(err)
			}
			out = append(out, part...)
		}
		return out
	}
	t.Fatalf("piece %s was never sent", sum)
	return nil
}

func pagesOf(calls []*capture.Piece, sum image.Sum) []byte {
	for _, p := range calls {
		if p.Sum() == sum {
			return append([]byte(nil), p.Pages...)
		}
	}
	return nil
}

// TestRuns compares the runs of a mask with its pages.
func TestRuns(t *testing.T) {
	r := imagetest.Seeded(t, 1)
	for range 300 {
		var m, back capture.Mask
		for range r.IntN(40) {
			for i, n := r.IntN(capture.PerRegion), r.IntN(20); n > 0 && i < capture.PerRegion; i, n = i+1, n-1 {
				m.Set(i)
			}
		}
		end := -1
		for first, n := range runs(&m) {
			if first <= end || n < 1 {
				t.Fatalf("run %d+%d after %d", first, n, end)
			}
			for i := first; i < first+n; i++ {
				back.Set(i)
			}
			end = first + n
		}
		if back != m {
			t.Fatalf("runs give %x of %x", back, m)
		}
	}
}
