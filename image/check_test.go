package image_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/image"
	"troy/internal/testing/imagetest"
)

// TestVerifyStore verifies every version of a store, and finds a flipped bit in any pack or map.
func TestVerifyStore(t *testing.T) {
	r := imagetest.Seeded(t, 1)
	s := imagetest.NewStore(t)
	states := imagetest.History(t, r, s, 3, 20000, true)
	for v := range states {
		if v == 0 {
			continue
		}
		c := &imagetest.Counter{}
		if err := s.Verify(t.Context(), "pc", v, c); err != nil || c.N != int64(len(states[v].Data)) {
			t.Fatalf("Verify %d = %v after %d bytes", v, err, c.N)
		}
	}
	for _, name := range append(imagetest.Files(t, s, ".pack"), imagetest.Files(t, s, ".map")...) {
		path := filepath.Join(s.String(), name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		at := r.IntN(len(b))
		b[at] ^= 4
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		found := 0
		for v := 1; v < len(states); v++ {
			if err := s.Verify(t.Context(), "pc", v, nil); err != nil {
				if !errors.Is(err, image.ErrCorrupt) || !strings.Contains(err.Error(), name) {
					t.Fatalf("%s byte %d: %v", name, at, err)
				}
				found++
			}
		}
		if found == 0 {
			t.Fatalf("%s byte %d: not found", name, at)
		}
		b[at] ^= 4
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
