package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/image"
	"troy/vhdx"
)

// troy runs any command.
func troy(args ...string) result {
	var out, errOut bytes.Buffer
	code := run(context.Background(), args, &out, &errOut)
	return result{code, out.String(), errOut.String()}
}

func wantTroy(t *testing.T, code int, args ...string) result {
	t.Helper()
	r := troy(args...)
	if r.code != code {
		t.Fatalf("troy %q: exit code %d, want %d\n%s%s", args, r.code, code, r.out, r.errOut)
	}
	return r
}

func wantJSON[T any](t *testing.T, code int, args ...string) (v T) {
	t.Helper()
	r := wantTroy(t, code, append(args, "--json")...)
	d := json.NewDecoder(strings.NewReader(r.out))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("troy %q --json: %v\n%s", args, err, r.out)
	}
	return v
}

// history is a store with two versions of a disk, and what the disk held.
type history struct {
	dir, store, base, child string
	v1, v2                  []byte
}

func newHistory(t *testing.T, r *rand.Rand) *history {
	t.Helper()
	h := &history{dir: t.TempDir()}
	h.store = filepath.Join(h.dir, "store")
	raw := filepath.Join(h.dir, "v1.img")
	h.v1 = randomRaw(t, r, raw, 12<<20+4096)
	h.base, h.child = filepath.Join(h.dir, "base.vhdx"), filepath.Join(h.dir, "child.vhdx")
	wantVHDX(t, exitOK, "convert", "--to", "dynamic", raw, h.base)
	wantVHDX(t, exitOK, "create", "--type", "differencing", "--parent", h.base, h.child)
	h.v2 = bytes.Clone(h.v1)
	scribbleChild(t, r, h.child, h.v2, 12, h.base)
	wantTroy(t, exitOK, "init", h.store)
	t.Setenv("TROY_STORE", h.store)
	wantTroy(t, exitOK, "image", "import", "--force-unbootable", "pc", h.base)
	wantTroy(t, exitOK, "image", "add", "--force-unbootable", "pc", h.child)
	return h
}

// content reads a VHDX whole.
func content(t *testing.T, path string) []byte {
	t.Helper()
	c, err := vhdx.OpenChain(path, &vhdx.ChainOptions{Parents: &vhdx.Parents{}})
	must(t, err)
	defer c.Close()
	b := make([]byte, c.Size())
	if n, err := c.ReadAt(b, 0); n != len(b) {
		t.Fatal(err)
	}
	return b
}

// TestImageCommands goes through all commands on a store with two versions.
func TestImageCommands(t *testing.T) {
	r := seeded(t)
	h := newHistory(t, r)
	list := wantJSON[[]image.Manifest](t, exitOK, "image", "list")
	if len(list) != 2 || list[1].Version != 2 || list[1].Figures.Changed == 0 {
		t.Fatalf("list: %+v", list)
	}
	if m := wantJSON[image.Manifest](t, exitOK, "image", "show", "pc"); m.Version != 2 || m.Parent != 1 {
		t.Errorf("show: %+v", m)
	}
	if out := wantTroy(t, exitOK, "image", "show", "pc", "1").out; !strings.Contains(out, "dropped as free") || !strings.Contains(out, list[0].Pack.Name) {
		t.Errorf("show: %s", out)
	}
	h.checkDiff(t)
	for _, v := range wantJSON[[]jsonVerify](t, exitOK, "image", "verify", "pc") {
		if !v.OK {
			t.Errorf("verify: %+v", v)
		}
	}
	h.checkExport(t, r)
	wantTroy(t, exitFailed, "image", "rm", "pc", "1") // version 2 stands on it
	if got := wantJSON[jsonRemoved](t, exitOK, "image", "rm", "pc", "3"); got.Removed != 3 {
		t.Errorf("rm: %+v", got)
	}
	if got := wantJSON[jsonGC](t, exitOK, "image", "gc"); got.Removed != 4 || got.Bytes == 0 {
		t.Errorf("gc: %+v", got)
	}
	h.checkUnmounted(t)
	wantTroy(t, exitOK, "image", "verify", "pc", "2")
	if r := wantTroy(t, exitFailed, "image", "verify", "pc", "3"); strings.Count(r.errOut, "image: not found") != 1 {
		t.Errorf("verify says %s", r.errOut)
	}
	h.checkGivenUp(t)
}

// checkUnmounted has commands meet the empty folder that is left where the file system of an image,
// or of all, is not mounted.
func (h *history) checkUnmounted(t *testing.T) {
	t.Helper()
	for _, folder := range []string{"images/pc", "images"} {
		at, off := filepath.Join(h.store, folder), filepath.Join(h.store, "off")
		must(t, errors.Join(os.Rename(at, off), os.Mkdir(at, 0o755)))
		if r := wantTroy(t, exitFailed, "image", "gc"); !strings.Contains(r.errOut, "is its file system mounted?; nothing was removed; if that image is given up") {
			t.Errorf("%s: gc says %s", folder, r.errOut)
		}
		for _, args := range [][]string{{}, {"--without", "pv"}} {
			if r := wantTroy(t, exitFailed, append([]string{"key", "sign", "--yes"}, args...)...); strings.Contains(r.errOut, "gone (") || len(args) == 0 && !strings.Contains(r.errOut, "is its file system mounted?; nothing was signed or written; if that image is given up") {
				t.Errorf("%s: sign %q says %s", folder, args, r.errOut)
			}
		}
		must(t, errors.Join(os.Remove(at), os.Rename(off, at)))
	}
	wantTroy(t, exitFailed, "key", "sign", "--yes", "--without", "pc")
}

// checkGivenUp removes an image by hand.
func (h *history) checkGivenUp(t *testing.T) {
	t.Helper()
	must(t, os.RemoveAll(filepath.Join(h.store, "images", "pc")))
	if r := wantTroy(t, exitOK, "key", "sign", "--yes", "--without", "pc"); !strings.Contains(r.errOut, "pc version 2: gone") {
		t.Errorf("sign says %s", r.errOut)
	}
	wantTroy(t, exitOK, "image", "gc")
}

// checkDiff compares what diff says with the pages that really differ.
func (h *history) checkDiff(t *testing.T) {
	t.Helper()
	var differ int64
	for off := 0; off < len(h.v1); off += image.PageSize {
		if !bytes.Equal(h.v1[off:off+image.PageSize], h.v2[off:off+image.PageSize]) {
			differ++
		}
	}
	for _, way := range [][2]string{{"1", "2"}, {"2", "1"}} {
		if d := wantJSON[jsonDiff](t, exitOK, "image", "diff", "pc", way[0], way[1]); d.Pages != differ || d.WriteBytes != differ*image.PageSize || d.FetchBytes == 0 {
			t.Errorf("diff %v: %+v, %d pages differ", way, d, differ)
		}
	}
	if d := wantJSON[jsonDiff](t, exitOK, "image", "diff", "pc", "0", "2"); d.WriteBytes != int64(len(h.v2)) {
		t.Errorf("diff 0 2: %+v", d)
	}
	if d := wantJSON[jsonDiff](t, exitOK, "image", "diff", "pc", "2", "2"); d.Pages != 0 || d.FetchBytes != 0 {
		t.Errorf("diff 2 2: %+v", d)
	}
}

// checkExport exports both versions, has the files judged by others, and adds a child of an
// exported file.
func (h *history) checkExport(t *testing.T, r *rand.Rand) {
	t.Helper()
	for number, want := range map[string][]byte{"1": h.v1, "2": h.v2} {
		out := filepath.Join(h.dir, "out"+number+".vhdx")
		doc := wantJSON[jsonExport](t, exitOK, "image", "export", "pc", number, out)
		if doc.VirtualDiskSize != int64(len(want)) || !bytes.Equal(content(t, out), want) {
			t.Fatalf("export of version %s holds something else: %+v", number, doc)
		}
		raw := filepath.Join(h.dir, "out.img")
		tool(t, "", "qemu-img", "convert", "-O", "raw", out, raw)
		if b, err := os.ReadFile(raw); err != nil || !bytes.Equal(b, want) {
			t.Fatalf("qemu-img reads another version %s (%v)", number, err)
		}
		wantVHDX(t, exitOK, "check", out)
		if res := wantTroy(t, exitFailed, "image", "export", "pc", number, out); !strings.Contains(res.errOut, "--force") {
			t.Errorf("export over a file: %s", res.errOut)
		}
		wantTroy(t, exitOK, "image", "export", "--force", "pc", number, out)
	}
	child := filepath.Join(h.dir, "third.vhdx")
	wantVHDX(t, exitOK, "create", "--type", "differencing", "--parent", filepath.Join(h.dir, "out2.vhdx"), child)
	v3 := bytes.Clone(h.v2)
	scribbleChild(t, r, child, v3, 5, filepath.Join(h.dir, "out2.vhdx"))
	if m := wantJSON[image.Manifest](t, exitOK, "image", "add", "--force-unbootable", "pc", child); m.Version != 3 {
		t.Errorf("add: %+v", m)
	}
	wantTroy(t, exitOK, "image", "export", "--force", "pc", "3", filepath.Join(h.dir, "out3.vhdx"))
	if !bytes.Equal(content(t, filepath.Join(h.dir, "out3.vhdx")), v3) {
		t.Error("the child of an exported file gave another version")
	}
}

// TestImageExportAbsent: a version that cannot be read leaves no file.
func TestImageExportAbsent(t *testing.T) {
	h := newHistory(t, seeded(t))
	m := wantJSON[image.Manifest](t, exitOK, "image", "show", "pc", "2")
	must(t, os.Truncate(filepath.Join(h.store, m.Pack.Name), m.Pack.Size-1))
	dir := t.TempDir()
	res := wantTroy(t, exitFailed, "image", "export", "pc", "2", filepath.Join(dir, "out.vhdx"))
	if !strings.Contains(res.errOut, "was not made") || !strings.Contains(res.errOut, m.Pack.Name) {
		t.Errorf("export says %s", res.errOut)
	}
	onlyFiles(t, dir)
}

// TestImageVerifyDamage flips a bit in each file of a version; all are found, and named.
func TestImageVerifyDamage(t *testing.T) {
	r := seeded(t)
	h := newHistory(t, r)
	m := wantJSON[image.Manifest](t, exitOK, "image", "show", "pc", "2")
	for _, name := range []string{m.Pack.Name, m.Table.Name, m.Map.Name, "images/pc/2.json", "images/pc/versions.json"} {
		path := filepath.Join(h.store, filepath.FromSlash(name))
		b, err := os.ReadFile(path)
		must(t, err)
		for range 5 {
			bent := bytes.Clone(b)
			bent[r.Intn(len(bent))] ^= 1 << r.Intn(8)
			must(t, os.WriteFile(path, bent, 0o644))
			if res := troy("image", "verify", "pc", "2"); res.code != exitCheck && (res.code != exitFailed || !strings.HasSuffix(name, "versions.json")) {
				t.Errorf("%s bent: exit code %d\n%s%s", name, res.code, res.out, res.errOut)
			} else if !strings.Contains(res.out+res.errOut, name) {
				t.Errorf("%s bent: not named in %s%s", name, res.out, res.errOut)
			}
		}
		must(t, os.Remove(path))
		if res := troy("image", "verify", "pc", "2"); res.code == exitOK {
			t.Errorf("%s missing: exit code 0", name)
		}
		must(t, os.WriteFile(path, b, 0o644))
	}
	wantTroy(t, exitOK, "image", "verify", "pc")
}

// TestImageRefused: wrong use and wrong disks, each in one line, and the store stays as it was.
func TestImageRefused(t *testing.T) {
	r := seeded(t)
	h := newHistory(t, r)
	other := filepath.Join(h.dir, "other.vhdx")
	wantVHDX(t, exitOK, "create", "--size", "8M", other)
	for _, c := range []struct {
		code int
		args []string
		word string
	}{
		{exitFailed, []string{"import", "--force-unbootable", "pc", h.base}, "exists already"},
		{exitFailed, []string{"add", "--force-unbootable", "pc", h.child}, "wrong parent"},
		{exitFailed, []string{"add", "--force-unbootable", "none", h.child}, "no image"},
		{exitFailed, []string{"add", "--force-unbootable", "pc", other}, "an image never shrinks"},
		{exitFailed, []string{"import", "--force-unbootable", "Bad Name", h.base}, "image name"},
		{exitFailed, []string{"show", "pc", "9"}, "no version 9"},
		{exitFailed, []string{"diff", "pc", "1", "9"}, "no version 9"},
		{exitUsage, []string{"show", "pc", "x"}, "want a number"},
		{exitUsage, []string{"add", "--level", "99", "pc", h.child}, "--level"},
		{exitUsage, []string{"import", "pc"}, "usage"},
		{exitFailed, []string{"list", "--store", h.dir}, "not a store"},
	} {
		res := troy(append([]string{"image"}, c.args...)...)
		if res.code != c.code || !strings.Contains(res.errOut, c.word) {
			t.Errorf("troy image %q: exit code %d, %s", c.args, res.code, res.errOut)
		}
	}
	if list := wantJSON[[]image.Manifest](t, exitOK, "image", "list"); len(list) != 2 {
		t.Errorf("the store has %d versions", len(list))
	}
}

// TestImageGrown: a child with a larger disk becomes the next version, and it is said what that
// means.
func TestImageGrown(t *testing.T) {
	h := newHistory(t, seeded(t))
	grandchild := filepath.Join(h.dir, "grandchild.vhdx")
	wantVHDX(t, exitOK, "create", "--type", "differencing", "--parent", h.child, "--size", "20M", grandchild)
	res := wantTroy(t, exitOK, "image", "add", "--force-unbootable", "pc", grandchild)
	for _, word := range []string{"the disk has grown from ", "'troy permit wipe'", "a PC needs a disk of "} {
		if !strings.Contains(res.out, word) {
			t.Errorf("%q is not said:\n%s", word, res.out)
		}
	}
	wantTroy(t, exitOK, "image", "verify", "pc")
	res = wantTroy(t, exitFailed, "image", "diff", "pc", "2", "3")
	if !strings.Contains(res.errOut, "have different sizes: pc version 2 has ") {
		t.Errorf("the difference: %s", res.errOut)
	}
	out := filepath.Join(h.dir, "out.vhdx")
	wantTroy(t, exitOK, "image", "export", "pc", "3", out)
	if made := wantJSON[[]image.Manifest](t, exitOK, "image", "list"); made[2].VirtualSize != 20<<20 {
		t.Errorf("version 3 has %d bytes", made[2].VirtualSize)
	}
}

// TestImageAddParents: the parent is found by the rules of "troy vhdx": named by --parent, or
// beside the child in any case of letters.
func TestImageAddParents(t *testing.T) {
	h := newHistory(t, seeded(t))
	elsewhere := t.TempDir()
	grandchild := filepath.Join(elsewhere, "g.vhdx")
	wantVHDX(t, exitOK, "create", "--type", "differencing", "--parent", h.child, "--size", "12292K", grandchild)
	res := wantTroy(t, exitFailed, "image", "add", "--force-unbootable", "pc", grandchild)
	if !strings.Contains(res.errOut, "--parent") {
		t.Errorf("without its parent: %s", res.errOut)
	}
	wantTroy(t, exitOK, "image", "add", "--force-unbootable", "--parent", h.child, "pc", grandchild)
	store := filepath.Join(h.dir, "again")
	wantTroy(t, exitOK, "init", store)
	must(t, os.Rename(h.base, filepath.Join(h.dir, "BASE.VHDX")))
	wantTroy(t, exitOK, "image", "import", "--force-unbootable", "--store", store, "pc", filepath.Join(h.dir, "BASE.VHDX"))
	wantTroy(t, exitOK, "image", "add", "--force-unbootable", "--store", store, "pc", h.child)
}
