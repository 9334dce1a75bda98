package linelog

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// opened opens a log in a folder of its own, with what it holds.
func opened(t *testing.T, o *Options, holds string) (*File, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte(holds), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, path
}

// add appends lines, which must work.
func add(t *testing.T, l *File, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if err := l.Append([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
}

func lines(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// limited runs f under a limit of this process.
func limited(t *testing.T, what int, to uint64, f func() error) error {
	t.Helper()
	var was syscall.Rlimit
	if err := syscall.Getrlimit(what, &was); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(what, &syscall.Rlimit{Cur: to, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	err := f()
	if err := syscall.Setrlimit(what, &was); err != nil {
		t.Fatal(err)
	}
	return err
}

// TestHalfLine: a line that a crash, or a full disk, cut off stays alone.
func TestHalfLine(t *testing.T) {
	l, path := opened(t, nil, "one\ntw")
	add(t, l, "three")
	err := limited(t, syscall.RLIMIT_FSIZE, uint64(len("one\ntw\nthree\nfo")), func() error { return l.Append([]byte("four")) })
	if err == nil {
		t.Error("no error for half a line")
	}
	if err := limited(t, syscall.RLIMIT_FSIZE, uint64(len("one\ntw\nthree\nfo")), func() error { return l.Append([]byte("none")) }); err == nil {
		t.Error("no error for a line that could not be written at all")
	}
	add(t, l, "five", "six")
	if got := lines(t, path); !slices.Equal(got, []string{"one", "tw", "three", "fo", "five", "six"}) {
		t.Errorf("%q", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestRotate(t *testing.T) {
	l, path := opened(t, &Options{Most: 8, Sync: true}, "")
	add(t, l, "first", "second", "third", "fourth", "fifth")
	for name, want := range map[string][]string{path: {"fifth"}, path + ".1": {"third", "fourth"}} {
		if got := lines(t, name); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", filepath.Base(name), got, want)
		}
	}
}

// TestRotationFails: where no descriptor is free, or the folder takes no name, lines are kept all the
// same, and the next one rotates.
func TestRotationFails(t *testing.T) {
	l, path := opened(t, &Options{Most: 8}, strings.Repeat("x", 20)+"\n")
	if err := limited(t, syscall.RLIMIT_NOFILE, 0, func() error { return l.Append([]byte("no descriptor")) }); err != nil {
		t.Error(err)
	}
	if err := os.MkdirAll(filepath.Join(path+".1", "in the way"), 0o755); err != nil {
		t.Fatal(err)
	}
	add(t, l, "no name")
	if got := lines(t, path); len(got) != 3 || got[2] != "no name" {
		t.Errorf("%q", got)
	}
	if err := os.RemoveAll(path + ".1"); err != nil {
		t.Fatal(err)
	}
	add(t, l, "rotated")
	if got := lines(t, path+".1"); len(got) != 3 || got[1] != "no descriptor" || !slices.Equal(lines(t, path), []string{"rotated"}) {
		t.Errorf("%q", got)
	}
	if left, err := filepath.Glob(path + ".new"); err != nil || left != nil {
		t.Errorf("%q is left, %v", left, err)
	}
}

// TestDevice: a log may be a device, which has no folder to rotate in.
func TestDevice(t *testing.T) {
	l, err := Open(os.DevNull, &Options{Most: 1, Sync: true})
	if err != nil {
		t.Fatal(err)
	}
	add(t, l, "one", string(bytes.Repeat([]byte("x"), 100)))
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
