package inside

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// The files are made once, whole, and taken as they are later.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	for _, stamp := range []uint32{3, 4} { // the second finds them
		f, err := OpenFiles(dir, &Order{Number: 1, BallastMiB: 2, Stamp: stamp})
		if err != nil {
			t.Fatal(err)
		}
		s, err := ReadBallast(f.Ballast, f.Size)
		if err != nil || !s.One(3) || f.Size != 2<<20 {
			t.Errorf("%v, %d bytes, %v", s, f.Size, err)
		}
		if all, err := All(f.Records); err != nil || len(all) != int(stamp-3) {
			t.Errorf("%d records, %v", len(all), err)
		}
		if err := Put(f.Records, sample(1)); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"trial.bin", "ballast.bin"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used < info.Size() {
			t.Errorf("%s has %d bytes, %d of them allocated", name, info.Size(), used)
		}
		if list, err := os.ReadDir(dir); err != nil || len(list) != 2 {
			t.Errorf("more was left: %v, %v", list, err)
		}
	}
}

// A file that is none of ours is told, and left as it is.
func TestFilesWrong(t *testing.T) {
	for _, name := range []string{"trial.bin", "ballast.bin"} {
		for _, size := range []int64{0, 100, BlockSize + 1} {
			dir := t.TempDir()
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, make([]byte, size), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenFiles(dir, &Order{Number: 1, BallastMiB: 1}); err == nil {
				t.Errorf("%s of %d bytes is taken", name, size)
			}
			if info, err := os.Stat(path); err != nil || info.Size() != size {
				t.Errorf("%s was changed", name)
			}
		}
	}
	if _, err := OpenFiles(filepath.Join(t.TempDir(), "none"), &Order{Number: 1, BallastMiB: 1}); err == nil {
		t.Error("a folder that is not there is no error")
	}
}
