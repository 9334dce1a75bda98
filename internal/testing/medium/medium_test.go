package medium_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"troy/image/source"
	"troy/internal/testing/medium"
)

func open(t *testing.T, iso, edition string) error {
	t.Helper()
	src, err := source.Recognise(iso)
	if err != nil {
		return err
	}
	d, err := src.Open(t.Context(), &source.Options{Scratch: func() (string, error) { return t.TempDir(), nil }, Windows: source.Windows{Edition: edition}})
	if err != nil {
		return err
	}
	return d.Close()
}

// A medium tells the edition that was asked for.
func TestEdition(t *testing.T) {
	dir := t.TempDir()
	o := &medium.Options{BootManager: filepath.Join(dir, "manager"), Out: filepath.Join(dir, "win.iso"), Name: "Windows 11 Home", Edition: "Core"}
	if err := errors.Join(os.WriteFile(o.BootManager, []byte("MZ"), 0o644), medium.Make(t.Context(), o)); err != nil {
		t.Fatal(err)
	}
	var have *source.EditionError
	if err := open(t, o.Out, "none"); !errors.As(err, &have) || len(have.Editions) != 1 {
		t.Fatalf("the editions are not told: %v", err)
	}
	if e := have.Editions[0]; e.Name != o.Name || e.ID != "Core" || e.Build != medium.Build || e.Architecture != "x64" || e.Language != "en-US" {
		t.Errorf("the edition is %+v", e)
	}
}

func TestOther(t *testing.T) {
	iso := filepath.Join(t.TempDir(), "other.iso")
	if err := medium.Other(t.Context(), iso); err != nil {
		t.Fatal(err)
	}
	if err := open(t, iso, ""); !errors.Is(err, source.ErrNoWindows) {
		t.Errorf("another disc: %v, want %v", err, source.ErrNoWindows)
	}
}
