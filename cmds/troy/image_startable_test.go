package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/image"
	"troy/vhdx/vhdxcmd"
)

// TestImportUnbootable: a disk that no PC starts is refused in one line, and nothing is left of it;
// by force it is published, with a note. What PCs must not get is refused all the same.
func TestImportUnbootable(t *testing.T) {
	dir := t.TempDir()
	store := filepath.Join(dir, "store")
	t.Setenv("TROY_STORE", store)
	wantTroy(t, exitOK, "init", store)
	file := func(name string, size int64, change func(f *os.File)) string {
		p := filepath.Join(dir, name)
		f, err := os.Create(p)
		must(t, err)
		must(t, f.Truncate(size))
		if change != nil {
			change(f)
		}
		must(t, f.Close())
		return p
	}
	put := func(f *os.File, at int64, text string) {
		_, err := f.WriteAt([]byte(text), at)
		must(t, err)
	}
	empty := filepath.Join(dir, "empty.vhdx")
	wantVHDX(t, exitOK, "create", "--size", "16M", empty)
	native := file("native.raw", 16<<20, func(f *os.File) { // 4Kn
		put(f, 450, "\xee")
		put(f, 510, "\x55\xaa")
		put(f, 4096, "EFI PART")
	})
	labelled := filepath.Join(dir, "512.vhdx")
	external(t, "qemu-img", "convert", "-f", "raw", "-O", "vhdx", native, labelled)
	encrypted := file("encrypted.raw", 16<<20, nil)
	external(t, "sgdisk", "-n", "1:2048:+4M", "-t", "1:0700", encrypted)
	f, err := os.OpenFile(encrypted, os.O_WRONLY, 0)
	must(t, err)
	put(f, 1<<20+3, "-FVE-FS-")
	must(t, f.Close())

	for _, c := range []struct {
		path   string
		says   []string
		forced bool
	}{
		{empty, []string{"empty.vhdx: the disk has no partition table", "publish the whole disk of a Windows", "; nothing was published; --force-unbootable publishes it all the same"}, true},
		{labelled, []string{"has sectors of 4096 bytes, the disk says 512", "troy vhdx convert --logical-sector-size"}, true},
		{encrypted, []string{"partition 1: BitLocker encrypts the volume: run 'manage-bde -off C:'"}, false},
	} {
		r := wantTroy(t, exitFailed, "image", "import", "pc", c.path)
		for _, want := range c.says {
			if !strings.Contains(r.errOut, want) {
				t.Errorf("%s: %q, want %q in it", c.path, r.errOut, want)
			}
		}
		if lines := strings.Count(r.errOut, "\n"); lines != 1 {
			t.Errorf("%s: %d lines: %s", c.path, lines, r.errOut)
		}
		left, err := os.ReadDir(filepath.Join(store, "tmp"))
		if found := wantJSON[[]image.Manifest](t, exitOK, "image", "list"); len(found) > 0 || len(left) > 0 || err != nil {
			t.Fatalf("%s: %d versions and %d temporary files, %v", c.path, len(found), len(left), err)
		}
		if !c.forced {
			if r := wantTroy(t, exitFailed, "image", "import", "--force-unbootable", "--secrets-in-image", "--no-filter", "pc", c.path); strings.Contains(r.errOut, "all the same") {
				t.Errorf("%s: %s", c.path, r.errOut)
			}
			continue
		}
		name := strings.TrimSuffix(filepath.Base(c.path), ".vhdx")
		m := wantJSON[image.Manifest](t, exitOK, "image", "import", "--force-unbootable", "image-"+name, c.path)
		if notes := strings.Join(m.Notes, "\n"); !strings.Contains(notes, "published by force: the disk") {
			t.Errorf("%s: %s", c.path, notes)
		}
		wantTroy(t, exitOK, "image", "rm", "--yes", "image-"+name, "1")
	}
	converted := filepath.Join(dir, "4096.vhdx")
	wantVHDX(t, exitOK, "convert", "--to", "dynamic", native, converted)
	if i := wantJSON[[]vhdxcmd.Info](t, exitOK, "vhdx", "info", converted)[0]; i.LogicalSectorSize != 4096 {
		t.Errorf("a 4Kn disk was labelled with sectors of %d bytes", i.LogicalSectorSize)
	}
}
