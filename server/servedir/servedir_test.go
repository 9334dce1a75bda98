package servedir

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"
)

func TestNotes(t *testing.T) {
	d := Of(t.TempDir())
	if _, err := d.Lab(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("lab.yaml before there is one: %v", err)
	}
	for range 2 { // the second time it is there
		if err := d.Make(); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(string(d)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info, err)
	}
	for _, want := range []string{"/etc/lab.yaml", "/srv/with space/x"} {
		if err := d.SetLab(want); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Lab(); got != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}

// TestOwner: what root makes belongs to whom the store belongs.
func TestOwner(t *testing.T) {
	store := t.TempDir()
	owner := os.Geteuid()
	if owner == 0 {
		owner = 4101
		if err := os.Chown(store, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	d := Of(store)
	if err := errors.Join(d.Make(), WriteFile(d.Token(), []byte("text"))); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{string(d), d.Token()} {
		if info, err := os.Stat(path); err != nil || int(info.Sys().(*syscall.Stat_t).Uid) != owner || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

// TestMode: others lose what a wrong mode gave them, the group may still be let in.
func TestMode(t *testing.T) {
	for was, want := range map[fs.FileMode]fs.FileMode{0o700: 0o700, 0o777: 0o750, 0o755: 0o750, 0o770: 0o750, 0o710: 0o710, fs.ModeSetgid | 0o777: fs.ModeSetgid | 0o750} {
		d := Of(t.TempDir())
		if err := errors.Join(d.Make(), os.Chmod(string(d), was), d.Make()); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(string(d)); err != nil || info.Mode()&^fs.ModeDir != want {
			t.Errorf("%v became %v, %v, want %v", was, info.Mode(), err, want)
		}
	}
}
