package bootfiles

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"troy/chainload/secureboot"
	"troy/diskwriter/pcdisk"
	"troy/internal/digest"
	"troy/internal/testing/needs"
)

func mounted(t *testing.T, volume string, do func(string) error) error {
	return pcdisk.Mounted(t.Context(), volume, do)
}

// newSet makes one without an image.
func newSet() *Set {
	s := &Set{firmware: &secureboot.Firmware{}, manager: parse(signed(secureboot.PCA2011))}
	for name, b := range espFiles(windows(false), false) {
		s.Files = append(s.Files, File{name, b})
	}
	return s
}

// install does what the set needs.
func install(ctx context.Context, s *Set, root string) (*Result, error) {
	c, err := s.Compare(ctx, root, digest.Sum{})
	if err != nil {
		return nil, err
	}
	if !c.Needed() {
		return &Result{Kept: c.kept}, nil
	}
	return c.Apply(ctx)
}

// tree reads all files below a folder.
func tree(t *testing.T, root string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	must(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err == nil {
			files[filepath.ToSlash(name)], err = os.ReadFile(path)
		}
		return err
	}))
	return files
}

func TestInstall(t *testing.T) {
	root, s := t.TempDir(), newSet()
	foreign := map[string][]byte{"EFI/Microsoft/Boot/BCD": []byte("store"), "EFI/debian/shimx64.efi": []byte("shim"),
		"efi/Microsoft/Boot/mine.txt": []byte("mine"), "EFI/troy/vmlinuz": []byte("agent")}
	for name, b := range foreign {
		name = strings.Replace(name, "efi/", "EFI/", 1)
		must(t, os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755))
		must(t, os.WriteFile(filepath.Join(root, name), b, 0o644))
	}
	// A name in other case, as another system wrote it, and the left-over of a call that was cut
	// off.
	must(t, os.WriteFile(filepath.Join(root, "EFI/Microsoft/Boot/BOOTMGFW.EFI"), []byte("older"), 0o644))
	must(t, os.WriteFile(filepath.Join(root, "EFI/Microsoft/Boot/bootmgr.efi"+suffixNew), []byte("half"), 0o644))
	res, err := install(t.Context(), s, root)
	if err != nil || res.Written != len(s.Files) || res.Kept != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	want := map[string][]byte{"EFI/Microsoft/Boot/BOOTMGFW.EFI": nil}
	for _, f := range s.Files {
		want[f.Path] = f.Data
	}
	want["EFI/Microsoft/Boot/BOOTMGFW.EFI"] = want["EFI/Microsoft/Boot/bootmgfw.efi"]
	delete(want, "EFI/Microsoft/Boot/bootmgfw.efi")
	for name, b := range foreign {
		want[strings.Replace(name, "efi/", "EFI/", 1)] = b
	}
	must(t, same(tree(t, root), want))
	if res, err = install(t.Context(), s, root); err != nil || res.Written != 0 || res.Kept != len(s.Files) {
		t.Errorf("again: %+v, %v", res, err)
	}
	changed := filepath.Join(root, "EFI/Microsoft/Boot/Fonts/chs_boot.ttf")
	b, err := os.ReadFile(changed)
	must(t, err)
	b[rand.IntN(len(b))] ^= 1
	must(t, os.WriteFile(changed, b, 0o644))
	if res, err = install(t.Context(), s, root); err != nil || res.Written != 1 {
		t.Errorf("one bit: %+v, %v", res, err)
	}
	must(t, same(tree(t, root), want))
}

// On a full ESP nothing is replaced and nothing left behind; neither after a cancelled call.
func TestInstallFull(t *testing.T) {
	needs.Root(t)
	root, s := t.TempDir(), newSet()
	must(t, unix.Mount("tmpfs", root, "tmpfs", 0, "size=600k"))
	t.Cleanup(func() { must(t, unix.Unmount(root, 0)) })
	must(t, os.MkdirAll(filepath.Join(root, "EFI/Microsoft/Boot"), 0o755))
	must(t, os.WriteFile(filepath.Join(root, "EFI/Microsoft/Boot/bootmgfw.efi"), []byte("older"), 0o644))
	before := tree(t, root)
	if res, err := install(t.Context(), s, root); !errors.Is(err, ErrFull) || res.Written != 0 {
		t.Errorf("%+v, %v", res, err)
	}
	must(t, same(tree(t, root), before))
	// Room for the sum that statfs tells, but the writing fails.
	c, err := s.Compare(t.Context(), root, digest.Sum{})
	must(t, err)
	if err := c.write(t.Context()); !errors.Is(err, ErrFull) {
		t.Errorf("write: %v", err)
	}
	c.clean()
	must(t, same(tree(t, root), before))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := install(ctx, s, root); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(root, "EFI/Microsoft/Boot/bootmgfw.efi")); err != nil || !bytes.Equal(b, []byte("older")) {
		t.Errorf("%q, %v", b, err)
	}
}
