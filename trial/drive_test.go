package trial

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"troy/gates/testdisk"
)

// Test disks go onto a drive that other programs find sound, and come back as they were.
func TestDrive(t *testing.T) {
	dir := t.TempDir()
	from, back, drive := filepath.Join(dir, "from", gatesFolder), filepath.Join(dir, "back"), filepath.Join(dir, "drive.img")
	if err := os.Mkdir(filepath.Dir(from), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := testdisk.Make(t.Context(), from, &testdisk.MakeOptions{}); err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 3<<20+5)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for i, r := 0, rand.New(rand.NewPCG(seed, 0)); i < len(noise); i++ {
		noise[i] = byte(r.Uint32())
	}
	if err := os.WriteFile(filepath.Join(from, "noise.bin"), noise, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := makeDrive(t.Context(), filepath.Dir(from), drive); err != nil {
		t.Fatal(err)
	}
	if err := readDrive(drive, back); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(from)
	if err != nil || len(names) < 5 {
		t.Fatal(err, len(names))
	}
	err = filepath.WalkDir(from, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		a, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(filepath.Join(back, name))
		if err != nil {
			return err
		}
		if string(a) != string(b) {
			t.Errorf("%s came back changed", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
