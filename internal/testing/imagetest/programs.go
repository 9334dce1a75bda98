package imagetest

import (
	"os"
	"path/filepath"
	"testing"

	"troy/image"
)

// Programs is a disk full of real programs: DLLs of TROY_CACHE/programs, one behind the other.
func Programs(b *testing.B, size int64) *State {
	b.Helper()
	files, err := filepath.Glob(filepath.Join(os.Getenv("TROY_CACHE"), "programs/wine/usr/lib/*/wine/x86_64-windows/*.dll"))
	if err != nil || len(files) == 0 {
		b.Fatalf("no programs in TROY_CACHE, run make deps: %v", err)
	}
	s := &State{Data: make([]byte, 0, size), ID: GUID(1)}
	for _, f := range files {
		c, err := os.ReadFile(f)
		if err != nil {
			b.Fatal(err)
		}
		c = append(c, make([]byte, -len(c)&(image.PageSize-1))...)
		s.Data = append(s.Data, c[:min(int64(len(c)), size-int64(len(s.Data)))]...)
	}
	if int64(len(s.Data)) != size {
		b.Fatalf("%d bytes of programs", len(s.Data))
	}
	return s
}
