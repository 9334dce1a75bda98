package main

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"troy/image"
	"troy/internal/testing/needs"
	"troy/vhdx"
)

// TestImageFullDisk publishes into a store whose disk is full: the old state is intact, and the
// same command works when there is room.
func TestImageFullDisk(t *testing.T) {
	needs.Root(t)
	r := seeded(t)
	dir, small := t.TempDir(), filepath.Join(t.TempDir(), "small")
	must(t, os.Mkdir(small, 0o755))
	must(t, syscall.Mount("tmpfs", small, "tmpfs", 0, "size=12m"))
	t.Cleanup(func() { must(t, syscall.Unmount(small, 0)) })
	raw, base, child := filepath.Join(dir, "v1.img"), filepath.Join(dir, "base.vhdx"), filepath.Join(dir, "child.vhdx")
	v1 := make([]byte, 24<<20)
	r.Read(v1[:6<<20])
	must(t, os.WriteFile(raw, v1, 0o644))
	wantVHDX(t, exitOK, "convert", "--to", "dynamic", raw, base)
	wantVHDX(t, exitOK, "create", "--type", "differencing", "--parent", base, child)
	v2 := bytes.Clone(v1)
	r.Read(v2[8<<20 : 18<<20])
	writeDifference(t, child, v1, v2)
	store := filepath.Join(small, "store")
	t.Setenv("TROY_STORE", store)
	wantTroy(t, exitOK, "init", store)
	wantTroy(t, exitOK, "image", "import", "--force-unbootable", "pc", base)
	res := wantTroy(t, exitFailed, "image", "add", "--force-unbootable", "pc", child)
	if !strings.Contains(res.errOut, "not enough space: the pack of the version in "+store+" takes about 10 MiB") {
		t.Errorf("full disk: %s", res.errOut)
	}
	if list := wantJSON[[]image.Manifest](t, exitOK, "image", "list"); len(list) != 1 {
		t.Errorf("%d versions on the full disk", len(list))
	}
	wantTroy(t, exitOK, "image", "verify", "pc")
	res = wantTroy(t, exitFailed, "image", "export", "pc", "1", filepath.Join(small, "out.vhdx"))
	if !strings.Contains(res.errOut, "no space left") || !strings.Contains(res.errOut, "was not made") {
		t.Errorf("export to the full disk: %s", res.errOut)
	}
	onlyFiles(t, small, "store")
	must(t, syscall.Mount("tmpfs", small, "tmpfs", syscall.MS_REMOUNT, "size=64m"))
	wantTroy(t, exitOK, "image", "add", "--force-unbootable", "pc", child)
	wantTroy(t, exitOK, "image", "verify", "pc")
	out := filepath.Join(dir, "out.vhdx")
	wantTroy(t, exitOK, "image", "export", "pc", "2", out)
	if !bytes.Equal(content(t, out), v2) {
		t.Error("version 2 is another disk")
	}
}

// TestImageUnreplayedLog publishes a child whose log waits to be replayed: that is done in memory,
// said, and the file stays as it is.
func TestImageUnreplayedLog(t *testing.T) {
	r := seeded(t)
	h := newHistory(t, r)
	child, torn := filepath.Join(h.dir, "log.vhdx"), filepath.Join(h.dir, "torn.vhdx")
	wantVHDX(t, exitOK, "create", "--type", "differencing", "--parent", h.child, child)
	c, err := vhdx.OpenChain(child, &vhdx.ChainOptions{Writable: true, Parents: &vhdx.Parents{}})
	must(t, err)
	v3 := bytes.Clone(h.v2)
	for range 8 {
		at := r.Intn(len(v3)/image.PageSize-9) * image.PageSize
		r.Read(v3[at : at+8*image.PageSize])
		_, err := c.WriteAt(v3[at:at+8*image.PageSize], int64(at))
		must(t, err)
	}
	must(t, c.Sync())
	b, err := os.ReadFile(child) // what a killed program leaves
	must(t, err)
	must(t, os.WriteFile(torn, b, 0o644))
	must(t, c.Close())
	if f, err := vhdx.Open(torn, nil); err != nil || !f.LogPending() {
		t.Fatalf("no log is pending, %v", err)
	}
	res := wantTroy(t, exitOK, "image", "add", "--force-unbootable", "pc", torn)
	if !strings.Contains(res.errOut, "replayed in memory") {
		t.Errorf("add says %s", res.errOut)
	}
	if after, err := os.ReadFile(torn); err != nil || !bytes.Equal(after, b) {
		t.Errorf("the child was changed (%v)", err)
	}
	out := filepath.Join(h.dir, "log-out.vhdx")
	wantTroy(t, exitOK, "image", "export", "pc", "3", out)
	if !bytes.Equal(content(t, out), v3) {
		t.Error("version 3 is not what the log said")
	}
}

// TestImageWrongParentText: the line names both the GUID that was recorded and the one that is
// there; of a parent changed without a new GUID it names the place.
func TestImageWrongParentText(t *testing.T) {
	r := seeded(t)
	h := newHistory(t, r)
	m := wantJSON[image.Manifest](t, exitOK, "image", "show", "pc", "1")
	res := wantTroy(t, exitFailed, "image", "add", "--force-unbootable", "pc", h.child)
	for _, word := range []string{"wrong parent", "version 2", m.DataWriteGUID, "nothing was published"} {
		if !strings.Contains(res.errOut, word) {
			t.Errorf("%q is not in %s", word, res.errOut)
		}
	}
	grandchild := filepath.Join(h.dir, "g.vhdx")
	wantVHDX(t, exitOK, "create", "--type", "differencing", "--parent", h.child, grandchild)
	scribbleChild(t, r, grandchild, bytes.Clone(h.v2), 40, h.child, h.base)
	f, err := os.OpenFile(h.base, os.O_RDWR, 0)
	must(t, err)
	c, err := vhdx.OpenChain(h.base, nil)
	must(t, err)
	for e, err := range c.Extents(0, c.Size()) {
		must(t, err)
		for at := int64(0); e.Kind == vhdx.Data && at < e.Length; at += image.PageSize { // some other program wrote it all
			_, err := f.WriteAt([]byte{byte(r.Int()) | 1}, e.FileOffset+at)
			must(t, err)
		}
	}
	must(t, c.Close())
	must(t, f.Close())
	res = wantTroy(t, exitFailed, "image", "add", "--force-unbootable", "pc", grandchild)
	for _, word := range []string{"wrong parent", "other content at bytes", "did not renew", "nothing was published"} {
		if !strings.Contains(res.errOut, word) {
			t.Errorf("%q is not in %s", word, res.errOut)
		}
	}
}

// TestImageOthersKilled kills export, rm and gc at random moments: the file is whole or not there,
// the store is readable, and the command works when it is given again.
func TestImageOthersKilled(t *testing.T) {
	needs.Time(t)
	r := seeded(t)
	h := newHistory(t, r)
	bin := filepath.Join(h.dir, "troy")
	tool(t, "", "go", "build", "-o", bin, ".")
	dir := t.TempDir()
	out := filepath.Join(dir, "out.vhdx")
	m := wantJSON[image.Manifest](t, exitOK, "image", "show", "pc", "2")
	absent, whole := killed(t, r, []string{bin, "image", "export", "pc", "2", out}, func() bool {
		if _, err := os.Lstat(out); err != nil {
			return false
		}
		f, err := vhdx.Open(out, nil)
		must(t, err)
		id := f.Header().DataWriteGUID.String()
		must(t, f.Close())
		if id != m.DataWriteGUID || !bytes.Equal(content(t, out), h.v2) {
			t.Fatalf("the killed export left a file with GUID %s", id)
		}
		must(t, os.Remove(out))
		return true
	})
	t.Logf("export: %d times no file, %d times a whole one", absent, whole)
	next := 3
	child := filepath.Join(h.dir, "g.vhdx")
	wantVHDX(t, exitOK, "create", "--type", "differencing", "--parent", h.child, child)
	add := func() {
		wantTroy(t, exitOK, "image", "add", "--force-unbootable", "pc", child)
		next++
	}
	add()
	absent, whole = killed(t, r, []string{"sh", "-c", fmt.Sprintf("exec 2>/dev/null; n=$(ls %s/images/pc | sed -n 's/^\\([0-9]*\\)[.]json$/\\1/p' | sort -n | tail -1); exec %s image rm pc $n", h.store, bin)}, func() bool {
		list := wantJSON[[]image.Manifest](t, exitOK, "image", "list")
		wantTroy(t, exitOK, "key", "sign", "--yes")
		if len(list) == 3 {
			return false
		}
		if len(list) != 2 {
			t.Fatalf("%d versions are left", len(list))
		}
		wantTroy(t, exitOK, "image", "gc")
		add()
		return true
	})
	t.Logf("rm: %d times not done, %d times done", absent, whole)
	absent, whole = killed(t, r, []string{bin, "image", "gc"}, func() bool {
		list := wantJSON[[]image.Manifest](t, exitOK, "image", "list")
		last := list[len(list)-1].Version
		wantTroy(t, exitOK, "image", "rm", "pc", fmt.Sprint(last))
		add()
		return true
	})
	t.Logf("gc: %d", absent+whole)
	for _, v := range wantJSON[[]jsonVerify](t, exitOK, "image", "verify", "pc") {
		if !v.OK {
			t.Errorf("verify: %+v", v)
		}
	}
}

// killed starts a command ten times, kills it after longer and longer, and counts what look finds.
func killed(t *testing.T, r *rand.Rand, args []string, look func() bool) (no, yes int) {
	t.Helper()
	began := time.Now()
	_ = exec.Command(args[0], args[1:]...).Run()
	whole := time.Since(began)
	look()
	for i := range 10 {
		cmd := exec.Command(args[0], args[1:]...)
		must(t, cmd.Start())
		time.Sleep(whole*time.Duration(i)/8 + time.Duration(r.Int63n(int64(whole)/8+1)))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if look() {
			yes++
		} else {
			no++
		}
	}
	return no, yes
}
