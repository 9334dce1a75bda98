package bundle

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/chainload/release"
)

// write makes a bundle of small files.
func write(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, name := range Names() {
		files[name] = []byte("content of " + name)
	}
	if err := Write(dir, &Manifest{Version: "1.2", Linux: "6.12.1", Drivers: []string{"nvme"}}, files); err != nil {
		t.Fatal(err)
	}
	return files
}

func TestBundle(t *testing.T) {
	dir := t.TempDir()
	files := write(t, dir)
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		if got, err := b.Read(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if b.Manifest.Version != "1.2" || len(b.Manifest.Files) != len(Names()) {
		t.Errorf("manifest %+v", b.Manifest)
	}
	if _, err := b.Read("../" + release.Kernel); !errors.Is(err, ErrInvalid) {
		t.Errorf("a file that is in no bundle: %v", err)
	}
}

// A bundle that is not whole, or not one, is not opened, or its file is not read.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change     func(dir string) error
		open, read error
	}{
		"no folder":     {func(dir string) error { return os.RemoveAll(dir) }, ErrAbsent, nil},
		"no manifest":   {func(dir string) error { return os.Remove(filepath.Join(dir, ManifestName)) }, ErrAbsent, nil},
		"no kernel":     {func(dir string) error { return os.Remove(filepath.Join(dir, release.Kernel)) }, ErrInvalid, nil},
		"cut off":       {func(dir string) error { return os.Truncate(filepath.Join(dir, release.Kernel), 3) }, ErrInvalid, nil},
		"longer":        {func(dir string) error { return os.Truncate(filepath.Join(dir, release.Kernel), 300) }, ErrInvalid, nil},
		"a byte":        {func(dir string) error { return change(filepath.Join(dir, release.Kernel)) }, nil, ErrInvalid},
		"a folder":      {func(dir string) error { return folder(filepath.Join(dir, release.Kernel)) }, ErrInvalid, nil},
		"huge manifest": {func(dir string) error { return os.Truncate(filepath.Join(dir, ManifestName), maxManifest+1) }, ErrInvalid, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "boot")
			write(t, dir)
			if err := c.change(dir); err != nil {
				t.Fatal(err)
			}
			b, err := Open(dir)
			if !errors.Is(err, c.open) {
				t.Fatalf("Open: %v, want %v", err, c.open)
			}
			if b == nil {
				return
			}
			if _, err := b.Read(release.Kernel); !errors.Is(err, c.read) {
				t.Errorf("Read: %v, want %v", err, c.read)
			}
		})
	}
}

func change(name string) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	b[2] ^= 1
	return os.WriteFile(name, b, 0o644)
}

func folder(name string) error {
	if err := os.Remove(name); err != nil {
		return err
	}
	return os.Mkdir(name, 0o755)
}

// While a bundle is written over an older one there is none; one that lacks a file is not written.
func TestWriteOver(t *testing.T) {
	dir := t.TempDir()
	files := write(t, dir)
	delete(files, release.Initrd)
	if err := Write(dir, &Manifest{}, files); !errors.Is(err, ErrInvalid) {
		t.Errorf("without %s: %v", release.Initrd, err)
	}
	if _, err := os.Stat(filepath.Join(dir, ManifestName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old manifest stayed: %v", err)
	}
}

func FuzzManifest(f *testing.F) {
	dir := f.TempDir()
	write(f, dir)
	good, err := os.ReadFile(filepath.Join(dir, ManifestName))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(good), strings.Replace(string(good), "vmlinuz", "../x", 1), strings.Replace(string(good), "vmlinuz", "SOURCE", 1), "{}", `{"format":1,"needs":["x"]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%v is no ErrInvalid", err)
			}
			return
		}
		for _, name := range Names() {
			if f, err := m.file(name); err != nil || f.Size <= 0 {
				t.Errorf("%s: %+v, %v", name, f, err)
			}
		}
		for _, f := range m.Files {
			if f.Name != filepath.Base(f.Name) || f.Name == "." || f.Name == ".." {
				t.Errorf("file %q leads out of the folder", f.Name)
			}
		}
	})
}
