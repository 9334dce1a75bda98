package image

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestVerifyStore verifies every version of a store, and finds a flipped bit in any pack or map.
func TestVerifyStore(t *testing.T) {
	r := seeded(t, 1)
	s := newStore(t)
	states := history(t, r, s, 3, 20000, true)
	for v := range states {
		if v == 0 {
			continue
		}
		c := &counter{}
		if err := s.Verify(t.Context(), "pc", v, c); err != nil || c.n != int64(len(states[v].data)) {
			t.Fatalf("Verify %d = %v after %d bytes", v, err, c.n)
		}
	}
	for _, name := range append(files(t, s, ".pack"), files(t, s, ".map")...) {
		path := filepath.Join(s.dir, name)
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
				if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), name) {
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

// TestRemoveAndGC removes versions from the top; GC leaves exactly what the others need, and the next version gets a new number.
func TestRemoveAndGC(t *testing.T) {
	r := seeded(t, 2)
	s := newStore(t)
	states := history(t, r, s, 3, 600, false)
	if err := s.Remove(t.Context(), "pc", 2); !errors.Is(err, ErrInvalid) {
		t.Fatalf("Remove of a parent = %v", err)
	}
	if err := s.Remove(t.Context(), "pc", 9); !errors.Is(err, ErrNotFound) {
		t.Fatalf("Remove of nothing = %v", err)
	}
	if st, err := s.GC(t.Context()); err != nil || st.Removed != 0 || st.Kept != 3*4+1 {
		t.Fatalf("GC of a clean store = %+v, %v", st, err)
	}
	if err := s.Remove(t.Context(), "pc", 3); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "objects", "README"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if st, err := s.GC(t.Context()); err != nil || st.Removed != 4 || st.Kept != 2*4+2 || st.Bytes == 0 {
		t.Fatalf("GC = %+v, %v", st, err)
	}
	checkDefined(t, update(t, s, states[1].data, 1, 2), states[2], nil)

	other := mutate(r, states[2], 33, false)
	if m := publish(t, s, "pc", other, states[2], &PublishOptions{}, false); m.Version != 4 || m.Parent != 2 {
		t.Fatalf("next version is %d on %d", m.Version, m.Parent)
	}
	checkDefined(t, update(t, s, states[1].data, 1, 4), other, nil)

	if err := os.WriteFile(filepath.Join(s.dir, "images", "pc", "2.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := tree(t, s.dir)
	if _, err := s.GC(t.Context()); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("GC of a damaged store = %v", err)
	}
	sameTree(t, before, tree(t, s.dir))
}

// oddNotes is a Filter with nothing to say, in bytes that are no text.
type oddNotes struct{}

func (oddNotes) Unused(context.Context, io.ReaderAt, int64, uint32) ([]Range, []string, error) {
	return nil, []string{"\xff<&>\u2028", ""}, nil
}

// TestNotes: whatever a filter says, the manifest can be read again.
func TestNotes(t *testing.T) {
	s := newStore(t)
	v1 := firstState(seeded(t, 1), 10)
	if _, err := s.Import(t.Context(), "pc", v1.disk(nil), &PublishOptions{Filter: oddNotes{}}); err != nil {
		t.Fatal(err)
	}
	m, err := s.Show(t.Context(), "pc", 0)
	if err != nil || len(m.Notes) != 2 || m.Notes[0] != "?<&>\u2028" {
		t.Fatalf("Show = %+v, %v", m, err)
	}
}
