package testdisk

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Windows attaches no file with holes.
func TestNotSparse(t *testing.T) {
	dir, m := set(t)
	for _, d := range m.Disks {
		for _, f := range d.Files {
			info, err := os.Stat(filepath.Join(dir, f.Path))
			if err != nil {
				t.Fatal(err)
			}
			if on := info.Sys().(*syscall.Stat_t).Blocks * 512; on < f.Size {
				t.Errorf("%s is sparse: %d of %d bytes", f.Path, on, f.Size)
			}
		}
	}
}
