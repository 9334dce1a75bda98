package image_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"troy/image"
	"troy/internal/block"
	"troy/internal/testing/imagetest"
)

// TestVersionReader reads every version of random histories at random places, several at once, and
// compares with what was published.
func TestVersionReader(t *testing.T) {
	for seed := range uint64(imagetest.Soak(4)) {
		r := imagetest.Seeded(t, seed)
		s := imagetest.NewStore(t)
		pages := []int64{1, 257, 700}[seed%3]
		states := imagetest.History(t, r, s, 3, pages, seed%2 == 1)
		maps := imagetest.Maps(t, s, states)
		for n := 1; n < len(states); n++ {
			v, err := image.OpenVersion(t.Context(), s, "pc", n)
			if err != nil {
				t.Fatal(err)
			}
			want := bytes.Clone(states[n].Data)
			for _, u := range maps[n].Undefined {
				clear(want[u.Lo*image.PageSize : u.Hi*image.PageSize])
			}
			var wg sync.WaitGroup
			for range 3 {
				places := rand.New(rand.NewPCG(r.Uint64(), 1))
				wg.Go(func() { checkReads(t, v, want, places) })
			}
			wg.Wait()
			checkData(t, v, want)
		}
	}
	if _, err := image.OpenVersion(t.Context(), imagetest.NewStore(t), "pc", 0); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("no image: %v", err)
	}
}

func checkReads(t *testing.T, v *image.VersionReader, want []byte, r *rand.Rand) {
	size := int64(len(want))
	for i := range 12 {
		off, n := r.Int64N(size), 1+r.Int64N(300<<10)
		if i%3 == 0 {
			off, n = off&^(image.PageSize-1), (n|(image.PageSize-1))+1
		}
		got := bytes.Repeat([]byte{0xee}, int(n))
		m, err := v.ReadAt(got, off)
		left := min(n, size-off)
		if int64(m) != left || (err == nil) != (left == n) || err != nil && err != io.EOF {
			t.Errorf("ReadAt(%d bytes, %d) of %d = %d, %v", n, off, size, m, err)
		} else if !bytes.Equal(got[:m], want[off:off+int64(m)]) {
			t.Errorf("bytes %d+%d differ", off, m)
		}
	}
	if _, err := v.ReadAt(make([]byte, 1), size); err != io.EOF {
		t.Errorf("read at the end: %v", err)
	}
	if _, err := v.ReadAt(make([]byte, 1), -1); !errors.Is(err, image.ErrInvalid) {
		t.Errorf("read before the start: %v", err)
	}
}

// checkData: what Data does not name is zero.
func checkData(t *testing.T, v *image.VersionReader, want []byte) {
	rest, at := bytes.Clone(want), int64(0)
	for d, err := range v.Data() {
		if err != nil || d.Offset < at {
			t.Fatalf("Data yields %+v after %d, %v", d, at, err)
		}
		at = d.Offset + d.Length
		clear(rest[d.Offset:at])
	}
	if !block.IsZero(rest) {
		t.Error("Data leaves out what is not zero")
	}
}
