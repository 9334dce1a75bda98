package server

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestUnreadable: trouble of the server is not told as "no such object", which a client may take for
// the end of something.
func TestUnreadable(t *testing.T) {
	for err, want := range map[error]bool{
		fs.ErrNotExist: false, syscall.ENOTDIR: false, syscall.EINVAL: false,
		syscall.EIO: true, syscall.EMFILE: true, syscall.EACCES: true, syscall.ESTALE: true,
	} {
		if got := unreadable(fmt.Errorf("open: %w", &fs.PathError{Op: "open", Path: "x", Err: err})); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range []string{"images/none", "images/a\x00b", "images/" + strings.Repeat("x", 300), "images/loop", "images/out"} {
		if err := os.MkdirAll(filepath.Join(dir, "images"), 0o755); err != nil {
			t.Fatal(err)
		}
		_ = os.Symlink("loop", filepath.Join(dir, "images", "loop"))
		_ = os.Symlink("/etc/passwd", filepath.Join(dir, "images", "out"))
		if _, err := root.Stat(name); err == nil || unreadable(err) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
