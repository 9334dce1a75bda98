package ntfs_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"troy/diskwriter/ntfs"
)

// TestFiles compares the files of a volume that Files finds with those that a driver shows, and the
// clusters with those that Runs gives.
func TestFiles(t *testing.T) {
	m := newImage(t, 24*mib, 512, 4096)
	m.mounted(func(root string) error {
		for name, n := range map[string]int{"a/b/c/deep.bin": 3 * mib, "a/small.txt": 100, "big.bin": 5*mib + 17, "gone.bin": 2 * mib, "a/ä€.bin": 70_000} {
			path := filepath.Join(root, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, bytes.Repeat([]byte{7}, n), 0o644)); err != nil {
				return err
			}
		}
		return errors.Join(os.Remove(filepath.Join(root, "gone.bin")), os.Link(filepath.Join(root, "big.bin"), filepath.Join(root, "a", "link.bin")))
	})
	shown := map[string]bool{}
	m.mounted(func(root string) error {
		return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if name, rerr := filepath.Rel(root, path); err == nil && rerr == nil && name != "." {
				shown[name] = d.IsDir()
			}
			return err
		})
	})
	v, err := ntfs.Open(m, m.size)
	if err != nil {
		t.Fatal(err)
	}
	top, err := v.Root()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	unread, err := v.Files(t.Context(), func(f *ntfs.FileInfo) error {
		name := f.Name
		for parent := f.Parent; parent != top; {
			var part string
			if parent, part, err = v.NameOf(parent); err != nil {
				return err
			}
			name = filepath.Join(part, name)
		}
		found[name] = f.Directory
		if runs, err := v.Runs(name); err == nil && !slices.Equal(runs, f.Runs) {
			t.Errorf("%s lies at %v, want %v", name, f.Runs, runs)
		}
		return nil
	})
	if err != nil || unread > 0 {
		t.Fatalf("%d records were not read, %v", unread, err)
	}
	for name, folder := range shown {
		if isFolder, ok := found[name]; name != filepath.Join("a", "link.bin") && (!ok || isFolder != folder) {
			t.Errorf("%s: found %v, a folder %v, want %v", name, ok, isFolder, folder)
		}
	}
	_, gone := found["gone.bin"]
	_, system := found["$MFT"]
	if len(shown) < 8 || gone || !system {
		t.Errorf("shown %v, found %v", shown, found)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.Files(ctx, func(*ntfs.FileInfo) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
}
