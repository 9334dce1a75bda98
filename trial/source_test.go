package trial

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/internal/testing/medium"
	"troy/vhdx"
)

// A medium tells its editions without a file being written; one that may not be booted natively is
// refused, and so is what holds no Windows.
func TestLookAt(t *testing.T) {
	dir := t.TempDir()
	manager := filepath.Join(dir, "manager.efi")
	if err := os.WriteFile(manager, []byte("MZ"), 0o644); err != nil {
		t.Fatal(err)
	}
	make1 := func(name, edition string) string {
		iso := filepath.Join(dir, edition+".iso")
		if err := medium.Make(t.Context(), &medium.Options{BootManager: manager, Out: iso, Name: name, Edition: edition}); err != nil {
			t.Fatal(err)
		}
		return iso
	}
	pro := make1("", "Professional")
	s, err := LookAt(t.Context(), pro, "")
	if err != nil {
		t.Fatal(err)
	}
	if !s.Medium || !s.Setup || s.Edition != "Professional" || s.Choice != "1" || s.Build != medium.Build || s.Bytes == 0 {
		t.Errorf("%+v", s)
	}
	empty := filepath.Join(dir, "empty.iso")
	if err := os.WriteFile(empty, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(dir, "disk.vhdx")
	f, err := vhdx.Create(disk, &vhdx.CreateOptions{Size: 64 << 20, Kind: vhdx.Dynamic})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ path, edition, want string }{
		"home":         {make1("Windows 11 Home", "Core"), "", "Windows Home"},
		"edition":      {pro, "Education", `no edition "Education"`},
		"no medium":    {empty, "", "no disk, image or installation medium"},
		"no file":      {filepath.Join(dir, "none.iso"), "", "no such file"},
		"no Windows":   {disk, "", "GUID partition table"},
		"disk edition": {disk, "Pro", "has no editions"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := LookAt(t.Context(), c.path, c.edition)
			if !errors.Is(err, ErrSource) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v %+v, want %q", err, s, c.want)
			}
		})
	}
}

// A medium that is cut short is refused, wherever it ends.
func TestLookAtCut(t *testing.T) {
	dir := t.TempDir()
	manager, iso := filepath.Join(dir, "manager.efi"), filepath.Join(dir, "whole.iso")
	if err := os.WriteFile(manager, []byte("MZ"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := medium.Make(t.Context(), &medium.Options{BootManager: manager, Out: iso}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(iso)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []int{10, 40, 70} {
		cut := filepath.Join(dir, "cut.iso")
		if err := os.WriteFile(cut, whole[:len(whole)*part/100&^2047], 0o644); err != nil {
			t.Fatal(err)
		}
		if s, err := LookAt(t.Context(), cut, ""); !errors.Is(err, ErrSource) {
			t.Errorf("%d %%: %v %+v", part, err, s)
		}
	}
}
