package publish_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"troy/image"
	"troy/image/publish"
	"troy/internal/testing/imagetest"
)

// grow makes the next state on a disk that ends behind the old one; what the child names of it is
// random, so that pages behind the old end are not always named.
func grow(r *rand.Rand, old *imagetest.State, n int, pages int64) *imagetest.State {
	s := imagetest.Mutate(r, &imagetest.State{Data: append(bytes.Clone(old.Data), make([]byte, pages*image.PageSize-int64(len(old.Data)))...)}, n, true)
	for end := int64(len(old.Data)); end < int64(len(s.Data)); end += image.PageSize * (1 + r.Int64N(200)) {
		page := s.Data[end : end+image.PageSize]
		switch r.IntN(3) {
		case 0:
			imagetest.Fill(r, page)
		case 1:
			copy(page, old.Data[r.Int64N(int64(len(old.Data))/image.PageSize)*image.PageSize:])
		}
	}
	return s
}

// TestGrown: versions of a disk that grows, ends of regions or not, read as published; no plan
// leads from one size to another, and none is published that is smaller.
func TestGrown(t *testing.T) {
	r := imagetest.Seeded(t, rand.Uint64())
	for range imagetest.Soak(3) {
		s := imagetest.NewStore(t)
		pages := 256*(1+r.Int64N(2)) + r.Int64N(2)*r.Int64N(256)
		states := imagetest.History(t, r, s, 2, pages, true)
		for v := 3; v <= 5; v++ {
			before := states[v-1]
			now := imagetest.Mutate(r, before, v, true)
			if v != 4 {
				pages += 1 + r.Int64N(600)
				now = grow(r, before, v, pages)
			}
			states = append(states, now)
			m := imagetest.Publish(t, s, now, before, &publish.Options{Workers: 2, NoCopies: r.IntN(3) == 0}, true)
			if told := strings.Contains(strings.Join(m.Notes, "\n"), "troy permit wipe"); told != (v != 4) || m.VirtualSize != int64(len(now.Data)) {
				t.Errorf("version %d of %d bytes: notes %q", v, m.VirtualSize, m.Notes)
			}
		}
		maps := imagetest.Maps(t, s, states)
		for v := 1; v < len(states); v++ {
			got := imagetest.Update(t, s, make([]byte, len(states[v].Data)), 0, v)
			imagetest.CheckDefined(t, got, states[v], maps[v])
			if err := s.Verify(t.Context(), "pc", v, nil); err != nil {
				t.Errorf("version %d: %v", v, err)
			}
		}
		got := imagetest.Update(t, s, imagetest.Machine(r, states[3], maps[3]), 3, 4)
		imagetest.CheckDefined(t, got, states[4], maps[4])
		for _, way := range [][2]int{{2, 3}, {1, 4}, {4, 2}, {5, 4}} {
			if _, err := image.LoadLocalPlan(t.Context(), s, "pc", way[0], way[1]); !errors.Is(err, image.ErrOtherSize) {
				t.Errorf("from version %d to %d: %v", way[0], way[1], err)
			}
		}
		small := states[2].Disk(states[5])
		small.DataWriteGUID = imagetest.GUID(6)
		if _, err := publish.Add(t.Context(), s, "pc", small, nil); !errors.Is(err, image.ErrInvalid) || !strings.Contains(err.Error(), "never shrinks") {
			t.Errorf("a smaller disk: %v", err)
		}
	}
}
