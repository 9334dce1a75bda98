package publish_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"troy/image"
	"troy/image/publish"
	"troy/internal/testing/imagetest"
)

// TestRemoveAndGC removes versions from the top; GC leaves exactly what the others need, and the
// next version gets a new number.
func TestRemoveAndGC(t *testing.T) {
	r := imagetest.Seeded(t, 2)
	s := imagetest.NewStore(t)
	states := imagetest.History(t, r, s, 3, 600, false)
	if err := publish.Remove(t.Context(), s, "pc", 2); !errors.Is(err, image.ErrInvalid) {
		t.Fatalf("Remove of a parent = %v", err)
	}
	if err := publish.Remove(t.Context(), s, "pc", 9); !errors.Is(err, image.ErrNotFound) {
		t.Fatalf("Remove of nothing = %v", err)
	}
	if st, err := publish.GC(t.Context(), s); err != nil || st.Removed != 0 || st.Kept != 3*4+2 {
		t.Fatalf("GC of a clean store = %+v, %v", st, err)
	}
	if err := publish.Remove(t.Context(), s, "pc", 3); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.String(), "objects", "README"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if st, err := publish.GC(t.Context(), s); err != nil || st.Removed != 4 || st.Kept != 2*4+3 || st.Bytes == 0 {
		t.Fatalf("GC = %+v, %v", st, err)
	}
	imagetest.CheckDefined(t, imagetest.Update(t, s, states[1].Data, 1, 2), states[2], nil)

	other := imagetest.Mutate(r, states[2], 33, false)
	if m := imagetest.Publish(t, s, other, states[2], &publish.Options{}, false); m.Version != 4 || m.Parent != 2 {
		t.Fatalf("next version is %d on %d", m.Version, m.Parent)
	}
	imagetest.CheckDefined(t, imagetest.Update(t, s, states[1].Data, 1, 4), other, nil)

	if err := os.WriteFile(filepath.Join(s.String(), "images", "pc", "2.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := imagetest.Tree(t, s)
	if _, err := publish.GC(t.Context(), s); !errors.Is(err, image.ErrCorrupt) {
		t.Fatalf("GC of a damaged store = %v", err)
	}
	imagetest.SameTree(t, before, imagetest.Tree(t, s))
}

// An image whose folder cannot be looked into, here for it lies on a file system that is not
// mounted, is not taken for none: its objects stay. Nor is a folder without an index, or a stray
// file, an image.
func TestGCUnreadableFolder(t *testing.T) {
	r := imagetest.Seeded(t, 2)
	s := imagetest.NewStore(t)
	imagetest.History(t, r, s, 2, 600, false)
	images, elsewhere := filepath.Join(s.String(), "images"), filepath.Join(t.TempDir(), "mounted")
	for _, err := range []error{
		os.Mkdir(filepath.Join(images, "empty"), 0o755), os.WriteFile(filepath.Join(images, "notes"), nil, 0o644),
		os.Rename(filepath.Join(images, "pc"), elsewhere), os.Symlink(elsewhere, filepath.Join(images, "pc")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if st, err := publish.GC(t.Context(), s); err != nil || st.Removed != 0 {
		t.Fatalf("GC of a store with an image elsewhere = %+v, %v", st, err)
	}
	if err := os.Rename(elsewhere, elsewhere+".off"); err != nil {
		t.Fatal(err)
	}
	if st, err := publish.GC(t.Context(), s); err == nil || st.Removed != 0 {
		t.Errorf("GC with an image out of sight = %+v, %v", st, err)
	}
	if err := os.Rename(elsewhere+".off", elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context(), "pc", 2, nil); err != nil {
		t.Errorf("the image is there again: %v", err)
	}
}

// TestGCNotMounted: where the file system of an image, or of all, is not mounted, an empty folder
// is left. It is not taken for a store without that image.
func TestGCNotMounted(t *testing.T) {
	r := imagetest.Seeded(t, 2)
	s := imagetest.NewStore(t)
	imagetest.History(t, r, s, 2, 600, false)
	for _, folder := range []string{"images/pc", "images"} {
		at := filepath.Join(s.String(), folder)
		if err := errors.Join(os.Rename(at, at+".off"), os.Mkdir(at, 0o755)); err != nil {
			t.Fatal(err)
		}
		if st, err := publish.GC(t.Context(), s, "pc"); !errors.Is(err, publish.ErrMissing) || st.Removed != 0 {
			t.Errorf("%s is not mounted: %+v, %v", folder, st, err)
		}
		if err := errors.Join(os.Remove(at), os.Rename(at+".off", at)); err != nil {
			t.Fatal(err)
		}
		if err := s.Verify(t.Context(), "pc", 2, nil); err != nil {
			t.Errorf("%s is there again: %v", folder, err)
		}
	}
	if st, err := publish.GC(t.Context(), s, "pc"); err != nil || st.Removed != 0 {
		t.Errorf("all is there: %+v, %v", st, err)
	}
}

// oddNotes is a Filter with nothing to say, in bytes that are no text.
type oddNotes struct{}

func (oddNotes) Unused(context.Context, io.ReaderAt, int64, uint32) ([]image.Range, []string, error) {
	return nil, []string{"\xff<&>\u2028", ""}, nil
}

// TestNotes: whatever a filter says, the manifest can be read again.
func TestNotes(t *testing.T) {
	s := imagetest.NewStore(t)
	v1 := imagetest.First(imagetest.Seeded(t, 1), 10)
	if _, err := publish.Import(t.Context(), s, "pc", v1.Disk(nil), &publish.Options{Filter: oddNotes{}}); err != nil {
		t.Fatal(err)
	}
	m, err := s.Show(t.Context(), "pc", 0)
	if err != nil || len(m.Notes) != 2 || m.Notes[0] != "?<&>\u2028" {
		t.Fatalf("Show = %+v, %v", m, err)
	}
}
