package image_test

import (
	"bytes"
	"testing"

	"troy/image"
	"troy/image/internal/pages"
	"troy/internal/testing/imagetest"
)

// TestHistories plans and fetches between every pair of versions of random histories, older ones
// and none included, on machines that hold random bytes wherever a version is undefined.
func TestHistories(t *testing.T) {
	for seed := range uint64(imagetest.Soak(16)) {
		r := imagetest.Seeded(t, seed)
		s := imagetest.NewStore(t)
		pages := []int64{1, 256, 257, 700, 1024}[seed%5]
		filtered := seed%2 == 1
		states := imagetest.History(t, r, s, 1+int(seed%6), pages, filtered)
		maps := imagetest.Maps(t, s, states)
		for have := range states {
			for want := 1; want < len(states); want++ {
				t.Run(imagetest.PairName(have, want), func(t *testing.T) {
					start := make([]byte, pages*image.PageSize)
					imagetest.Fill(r, start)
					if have > 0 {
						start = imagetest.Machine(r, states[have], maps[have])
					}
					got := imagetest.Update(t, s, start, have, want)
					imagetest.CheckDefined(t, got, states[want], maps[want])
					if bad, err := maps[want].Verify(t.Context(), bytes.NewReader(got), nil); err != nil || len(bad) != 0 {
						t.Fatalf("Verify = %v, %v, want nothing damaged", bad, err)
					}
				})
			}
		}
	}
}

// TestHeal damages random regions of a machine and repairs exactly those.
func TestHeal(t *testing.T) {
	for seed := range uint64(imagetest.Soak(8)) {
		r := imagetest.Seeded(t, seed)
		s := imagetest.NewStore(t)
		states := imagetest.History(t, r, s, 4, 1500, seed%2 == 0)
		maps := imagetest.Maps(t, s, states)
		want := 1 + r.IntN(4)
		disk := imagetest.Machine(r, states[want], maps[want])
		damaged := map[int64]bool{}
		for range r.IntN(12) {
			p := r.Int64N(1500)
			if maps[want].Undefined.Has(p) {
				continue
			}
			disk[p*image.PageSize+r.Int64N(image.PageSize)] ^= 1 << r.IntN(8)
			damaged[p/pages.PerRegion] = true
		}
		bad, err := maps[want].Verify(t.Context(), bytes.NewReader(disk), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range bad {
			if !damaged[b] {
				t.Fatalf("region %d is called damaged and is not", b)
			}
		}
		p, err := image.LoadHeal(t.Context(), s, "pc", want, bad)
		if err != nil {
			t.Fatal(err)
		}
		k := imagetest.NewSink(disk)
		if _, err := p.Fetch(t.Context(), s, k, nil); err != nil {
			t.Fatal(err)
		}
		k.CheckRuns(t, p)
		imagetest.CheckDefined(t, k.Data, states[want], maps[want])
	}
}

// TestSkipZeros leaves zero runs to the sink.
func TestSkipZeros(t *testing.T) {
	r := imagetest.Seeded(t, 1)
	s := imagetest.NewStore(t)
	states := imagetest.History(t, r, s, 1, 900, false)
	p, err := image.LoadPlan(t.Context(), s, "pc", 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	k := imagetest.NewSink(make([]byte, len(states[1].Data)))
	st, err := p.Fetch(t.Context(), s, k, &image.FetchOptions{SkipZeros: true})
	if err != nil || st.ZeroBytes != 0 || st.WrittenBytes != p.WriteBytes-p.ZeroBytes || p.ZeroBytes == 0 {
		t.Fatalf("Fetch = %+v, %v; plan has %d bytes of zeros", st, err, p.ZeroBytes)
	}
	if !bytes.Equal(k.Data, states[1].Data) {
		t.Fatal("disk differs")
	}
}
