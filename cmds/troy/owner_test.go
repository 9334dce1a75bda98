package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"troy/internal/testing/needs"
)

// TestOwner: what root's commands make in a store of the service's user is that user's; elsewhere
// nothing changes hands.
func TestOwner(t *testing.T) {
	needs.Root(t)
	const user = 4102
	dir := t.TempDir()
	around, keys, store := filepath.Join(dir, "around"), filepath.Join(dir, "keys"), filepath.Join(dir, "around", "store")
	must(t, os.Mkdir(around, 0o755))
	must(t, os.Chown(around, user, user))
	secret := writeText(t, dir, "secret", "correct horse battery\n")
	wantTroy(t, exitOK, "init", "--keys", keys, store)
	wantTroy(t, exitOK, "login", "--password-file", secret, "anna", store)
	wantTroy(t, exitOK, "certs", "init", "--name", "192.0.2.1", filepath.Join(around, "certs"))
	wantTroy(t, exitOK, "permit", "wipe", "--store", store, "--keys", keys, "--yes", "--disk", "S1234567", "--until", "2099-12-31")
	if n := allOf(t, around, user); n < 20 {
		t.Errorf("%d files", n)
	}
	allOf(t, keys, 0)

	// A command that fails, with a store or without one.
	roots := writeText(t, filepath.Join(store, "serve"), "left", "")
	wantTroy(t, exitFailed, "image", "import", "--store", store, "--keys", keys, "win", filepath.Join(dir, "none.vhdx"))
	ownedIs(t, roots, user)
	home := filepath.Join(dir, "home")
	must(t, os.Mkdir(home, 0o755))
	must(t, os.Chown(home, user, user))
	other := writeText(t, home, "root's", "")
	wantTroy(t, exitFailed, "login", "--password-file", secret, "anna", home)
	plain := filepath.Join(around, "plain")
	must(t, os.Mkdir(plain, 0o755))
	wantTroy(t, exitFailed, "certs", "renew", plain)
	ownedIs(t, plain, 0)
	wantTroy(t, exitFailed, "key", "list", "--store", home)
	ownedIs(t, other, 0)
}

// allOf wants all below a folder to be a user's, and counts it.
func allOf(t *testing.T, dir string, user uint32) (n int) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		n++
		ownedIs(t, path, user)
		return err
	}))
	return n
}

func ownedIs(t *testing.T, path string, user uint32) {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	if got := info.Sys().(*syscall.Stat_t).Uid; got != user {
		t.Errorf("%s belongs to %d, want %d", path, got, user)
	}
}
