package space

import (
	"errors"
	"io/fs"
	"math"
	"strings"
	"testing"
)

// TestCheck: what fits passes, what does not is told in numbers.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	free, err := Free(dir)
	if err != nil || free <= 0 {
		t.Fatalf("Free = %d, %v", free, err)
	}
	if err := Check(dir, "a file", 1); err != nil {
		t.Errorf("one byte: %v", err)
	}
	if err := Check(dir, "the pack", math.MaxInt64); !errors.Is(err, ErrShort) || !strings.Contains(err.Error(), "the pack in "+dir) {
		t.Errorf("too much: %v", err)
	}
	if err := Check(dir+"/absent", "a file", 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}
