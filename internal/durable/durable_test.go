package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	for _, text := range []string{"one", "another"} {
		if err := WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		holds(t, path, text)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := WriteFile(filepath.Join(dir, "none", "b"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
	if err := WriteFile(dir, []byte("x"), 0o600); err == nil {
		t.Error("a folder was replaced by a file")
	}
	alone(t, dir, "a")
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	f, err := Create(path, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("gone")
	f.Abandon()
	alone(t, dir)
	for i, want := range []error{nil, fs.ErrExist} {
		f, err := Create(path, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteString([]string{"first", "second"}[i])
		if err := f.CommitNew(); !errors.Is(err, want) {
			t.Errorf("CommitNew %d = %v, want %v", i, err, want)
		}
		f.Abandon()
	}
	holds(t, path, "first")
	alone(t, dir, "a")
}

func TestRename(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, p := range []string{a, b} {
		if err := os.WriteFile(p, []byte(p), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := RenameNew(a, b); !errors.Is(err, fs.ErrExist) {
		t.Errorf("RenameNew over a file = %v", err)
	}
	holds(t, b, b)
	if err := Rename(a, b); err != nil {
		t.Fatal(err)
	}
	holds(t, b, a)
	if err := RenameNew(b, a); err != nil {
		t.Fatal(err)
	}
	holds(t, a, a)
	alone(t, dir, "a")
}

func holds(t *testing.T, path, want string) {
	t.Helper()
	if b, err := os.ReadFile(path); err != nil || string(b) != want {
		t.Errorf("%s holds %q, %v, want %q", path, b, err, want)
	}
}

// alone fails when the folder holds more than the named files: half-made ones, for instance.
func alone(t *testing.T, dir string, names ...string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != len(names) {
		t.Fatalf("%v in the folder, %v; want %q", list, err, names)
	}
	for i, e := range list {
		if e.Name() != names[i] {
			t.Errorf("%s in the folder", e.Name())
		}
	}
}
