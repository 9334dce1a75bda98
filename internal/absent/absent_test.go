package absent

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestIs(t *testing.T) {
	for err, want := range map[error]bool{
		fs.ErrNotExist: true, syscall.ENOTDIR: true, syscall.EINVAL: true,
		syscall.EIO: false, syscall.EMFILE: false, syscall.EACCES: false, syscall.ESTALE: false, fs.ErrClosed: false,
	} {
		if got := Is(fmt.Errorf("open: %w", &fs.PathError{Op: "open", Path: "x", Err: err})); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
	if Is(nil) {
		t.Error("no error")
	}
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	_ = os.Symlink("loop", filepath.Join(dir, "loop"))
	_ = os.Symlink("/etc/passwd", filepath.Join(dir, "out"))
	for _, name := range []string{"none", "a\x00b", strings.Repeat("x", 300), "loop", "out"} {
		if _, err := root.Stat(name); !Is(err) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
