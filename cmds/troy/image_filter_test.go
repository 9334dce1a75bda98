package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/internal/testing/needs"
	"troy/vhdx"
)

// windowsDisk is a GPT disk with an NTFS volume that holds a Windows folder.
type windowsDisk struct {
	t    *testing.T
	path string
}

const windowsVolumeAt, windowsVolumeLen = 1 << 20, 40 << 20

func newWindowsDisk(t *testing.T, r *rand.Rand) *windowsDisk {
	t.Helper()
	w := &windowsDisk{t, filepath.Join(t.TempDir(), "volume")}
	randomRaw(t, r, w.path, windowsVolumeLen) // free clusters hold garbage
	tool(t, "", "mkntfs", "-Q", "-F", "-q", "-c", "4096", "-s", "512", "-p", "2048", "-H", "16", "-S", "63", w.path)
	return w
}

func (w *windowsDisk) mounted(do func(root string)) {
	w.t.Helper()
	must(w.t, pcdisk.Mounted(context.Background(), w.path, func(root string) error { do(root); return nil }))
}

func (w *windowsDisk) write(files map[string][]byte) {
	w.mounted(func(root string) {
		for name, b := range files {
			must(w.t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
			must(w.t, os.WriteFile(filepath.Join(root, name), b, 0o644))
		}
	})
}

// disk returns the whole disk.
func (w *windowsDisk) disk() []byte {
	w.t.Helper()
	b, err := os.ReadFile(w.path)
	must(w.t, err)
	path := filepath.Join(w.t.TempDir(), "disk")
	must(w.t, os.WriteFile(path, append(append(make([]byte, windowsVolumeAt), b...), make([]byte, 1<<20)...), 0o644))
	tool(w.t, "", "sgdisk", "-U", "11111111-2222-3333-4444-555555555555", "-n", "1:2048:+40M", "-t", "1:0700", "-u", "1:11111111-2222-3333-4444-666666666666", path)
	b, err = os.ReadFile(path)
	must(w.t, err)
	return b
}

// TestImageFilter publishes a disk with a Windows on it: free clusters and the page file are
// dropped unless --no-filter is given, every file is there afterwards, and an unclean volume counts
// as a whole.
func TestImageFilter(t *testing.T) {
	needs.Root(t)
	r := seeded(t)
	w := newWindowsDisk(t, r)
	noise := func(n int) []byte { b := make([]byte, n); r.Read(b); return b }
	files := map[string][]byte{"Windows/System32/a.dll": noise(3<<20 + 11), "small.ini": noise(200), "pagefile.sys": noise(8 << 20)}
	w.write(files)
	d1 := w.disk()
	files["Windows/System32/new.dll"] = noise(1<<20 + 5)
	w.write(files)
	d2 := w.disk()

	dir := t.TempDir()
	store, base, child := filepath.Join(dir, "store"), filepath.Join(dir, "base.vhdx"), filepath.Join(dir, "child.vhdx")
	t.Setenv("TROY_STORE", store)
	must(t, os.WriteFile(filepath.Join(dir, "d1.img"), d1, 0o644))
	wantVHDX(t, exitOK, "convert", "--to", "fixed", filepath.Join(dir, "d1.img"), base)
	wantVHDX(t, exitOK, "create", "--type", "differencing", "--parent", base, child)
	writeDifference(t, child, d1, d2)
	wantTroy(t, exitOK, "init", store)
	m1 := wantJSON[image.Manifest](t, exitOK, "image", "import", "--force-unbootable", "pc", base)
	m2 := wantJSON[image.Manifest](t, exitOK, "image", "add", "--force-unbootable", "pc", child)
	t.Logf("version 1 %+v %q\nversion 2 %+v %q", m1.Figures, m1.Notes, m2.Figures, m2.Notes)
	if m1.Figures.Undefined < 30<<20 || m1.Figures.Shipped > 8<<20 || !strings.Contains(strings.Join(m1.Notes, "\n"), "NTFS, clean") {
		t.Errorf("version 1: %+v %q", m1.Figures, m1.Notes)
	}
	whole := wantJSON[image.Manifest](t, exitOK, "image", "import", "--force-unbootable", "--no-filter", "whole", base)
	if whole.Figures.Undefined != 0 || whole.Figures.Shipped < m1.Figures.Shipped+4<<20 {
		t.Errorf("without filter: %+v", whole.Figures)
	}
	out := filepath.Join(dir, "out.vhdx")
	wantTroy(t, exitOK, "image", "export", "pc", "2", out)
	got := &windowsDisk{t, filepath.Join(dir, "got")}
	must(t, os.WriteFile(got.path, content(t, out)[windowsVolumeAt:][:windowsVolumeLen], 0o644))
	tool(t, "", "ntfsfix", "-n", got.path)
	got.mounted(func(root string) {
		for name, want := range files {
			b, err := os.ReadFile(filepath.Join(root, name))
			if name == "pagefile.sys" { // all but its head may hold anything
				b, want = b[:64<<10], want[:64<<10]
			}
			if err != nil || !bytes.Equal(b, want) {
				t.Errorf("%s differs after the way through the store (%v)", name, err)
			}
		}
	})
	tool(t, "", "ntfsfix", w.path) // sets the dirty flag
	must(t, os.WriteFile(filepath.Join(dir, "d3.img"), w.disk(), 0o644))
	wantVHDX(t, exitOK, "convert", "--to", "dynamic", filepath.Join(dir, "d3.img"), filepath.Join(dir, "d3.vhdx"))
	m3 := wantJSON[image.Manifest](t, exitOK, "image", "add", "--force-unbootable", "--compare", "pc", filepath.Join(dir, "d3.vhdx"))
	if m3.Figures.Undefined != 0 || !strings.Contains(strings.Join(m3.Notes, "\n"), "not clean") {
		t.Errorf("dirty volume: %+v %q", m3.Figures, m3.Notes)
	}
	wantTroy(t, exitOK, "image", "export", "--force", "pc", "3", out)
	if !bytes.Equal(content(t, out), w.disk()) {
		t.Error("version 3, compared with version 2 in the store, is not the disk")
	}
}

// writeDifference brings a child from one content to another, page by page.
func writeDifference(t *testing.T, child string, from, to []byte) {
	t.Helper()
	c, err := vhdx.OpenChain(child, &vhdx.ChainOptions{Writable: true, Parents: &vhdx.Parents{}})
	must(t, err)
	for off := 0; off < len(to); off += image.PageSize {
		if p := to[off : off+image.PageSize]; !bytes.Equal(p, from[off:off+image.PageSize]) {
			_, err := c.WriteAt(p, int64(off))
			must(t, err)
		}
	}
	must(t, c.Close())
}

// TestImageKilled kills the built command at random moments of publishing and signing. A machine
// with a pinned root sees the old or the new version, whole, and the work can be ended.
func TestImageKilled(t *testing.T) {
	needs.Time(t)
	r := seeded(t)
	h := newHistory(t, r)
	bin, rootFile := filepath.Join(h.dir, "troy"), filepath.Join(h.dir, "root.json")
	tool(t, "", "go", "build", "-o", bin, ".")
	wantTroy(t, exitOK, "key", "root", rootFile)
	root, err := os.ReadFile(rootFile)
	must(t, err)
	child := filepath.Join(h.dir, "g.vhdx")
	wantVHDX(t, exitOK, "create", "--type", "differencing", "--parent", h.child, child)
	scribbleChild(t, r, child, bytes.Clone(h.v2), 8, h.child, h.base)
	began := time.Now()
	tool(t, "", bin, "image", "add", "--force-unbootable", "pc", child)
	whole := time.Since(began)
	wantTroy(t, exitOK, "image", "rm", "pc", "3")
	newest, old, done, next := 2, 0, 0, 4
	for wait := time.Duration(0); done < 2; wait += whole / 8 { // later and later, until the work is done before the kill
		cmd := exec.Command(bin, "image", "add", "--force-unbootable", "pc", child)
		must(t, cmd.Start())
		time.Sleep(wait + time.Duration(r.Int63n(int64(whole)/8+1)))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		seen, err := seenOver(t, h.store, root)
		if err != nil || seen != newest && seen != next {
			t.Fatalf("after the kill a machine sees version %d, %v; want %d or %d", seen, err, newest, next)
		}
		wantTroy(t, exitOK, "key", "sign", "--yes") // whatever is there
		list := wantJSON[[]image.Manifest](t, exitOK, "image", "list")
		if seen == newest {
			old++
		} else {
			done++
			wait = 0
		}
		if last := list[len(list)-1].Version; last == next {
			wantTroy(t, exitOK, "image", "verify", "pc", fmt.Sprint(last))
			wantTroy(t, exitOK, "image", "rm", "pc", fmt.Sprint(last))
			next++
		}
	}
	t.Logf("%d of %d kills left the old version; whole, it takes %v", old, old+done, whole)
	if old < 2 {
		t.Error("no kill hit the middle")
	}
	wantTroy(t, exitOK, "image", "gc")
	wantTroy(t, exitOK, "image", "add", "--force-unbootable", "pc", child)
}
