package vhdxfile

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestOthersRead: programs that were not written here read the files as they are meant.
func TestOthersRead(t *testing.T) {
	dir := t.TempDir()
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			path := Make(t, dir, name)
			d := find(t, name)
			if d.behind > 0 { // QEMU replays logs in the file only
				run(t, dir, "qemu-img", "check", "-q", "-r", "all", "-f", "vhdx", path)
			}
			if d.parent == "" { // QEMU knows no differencing disks
				converted := filepath.Join(t.TempDir(), "converted")
				run(t, dir, "qemu-img", "convert", "-f", "vhdx", "-O", "raw", path, converted)
				run(t, dir, "qemu-img", "compare", "-q", "-f", "raw", "-F", "raw", raw(t, d), converted)
			}
			if d.size > 4*mib {
				return
			}
			if sum := fmt.Sprintf("%x", md5.Sum(run(t, dir, "7zz", "x", "-so", "-tvhdx", name))); sum != MD5(t, name) {
				t.Errorf("7-Zip reads %s, want %s", sum, MD5(t, name))
			}
		})
	}
}

// raw writes what a disk without parent shows into a sparse file.
func raw(t *testing.T, d *disk) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = f.Truncate(d.size)
	for _, x := range d.data {
		if err == nil {
			_, err = f.WriteAt(x.b, x.off)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func run(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, errOut.Bytes())
	}
	return out.Bytes()
}

// TestShows: a child is its own sectors over its parent.
func TestShows(t *testing.T) {
	parent, child := Shows(t, "fat-parent.vhdx"), Shows(t, "fat-differential.vhdx")
	a, b := make([]byte, 512), make([]byte, 512)
	differ := 0
	for off := int64(0); off < child.Size(); off += 512 {
		for _, x := range []struct {
			d Disk
			p []byte
		}{{parent, a}, {child, b}} {
			if _, err := x.d.ReadAt(x.p, off); err != nil && err != io.EOF {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(a, b) {
			differ++
		}
	}
	if differ != 18 {
		t.Errorf("%d sectors differ, want 18", differ)
	}
	if n, err := child.ReadAt(a, child.Size()-100); n != 100 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
	if n, err := child.ReadAt(a, child.Size()); n != 0 || err != io.EOF {
		t.Errorf("behind the end: %d, %v", n, err)
	}
}
