package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/image"
	"troy/image/trust/sign"
	"troy/internal/testing/needs"
	"troy/server/servedir"
)

// metadataOf reads all files of a store's metadata.
func metadataOf(t *testing.T, store string) string {
	t.Helper()
	var all strings.Builder
	top := filepath.Join(store, "metadata")
	must(t, filepath.WalkDir(top, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		all.WriteString(p + "\n" + string(b))
		return err
	}))
	return all.String()
}

// TestBrokenInServer: somebody has written to the store. Each command that signs refuses, names
// what it found and what helps, and the signatures are as they were; what is copied out of the
// store is what was signed.
func TestBrokenInServer(t *testing.T) {
	s := serveLab(t, newHistory(t, seeded(t)))
	stick, boot := t.TempDir(), t.TempDir()
	moveKeys(t, s.store, stick)
	t.Setenv("TROY_KEYS", stick)
	must(t, os.WriteFile(filepath.Join(boot, "vmlinuz"), []byte("kernel"), 0o644))
	g, gg := filepath.Join(s.dir, "g.vhdx"), filepath.Join(s.dir, "gg.vhdx")
	wantVHDX(t, exitOK, "create", "--type", "differencing", "--parent", s.child, g)
	wantVHDX(t, exitOK, "create", "--type", "differencing", "--parent", g, gg)
	wantTroy(t, exitOK, "promote", "--room", "test", "pc@1")
	wantTroy(t, exitOK, "promote", "--room", "test", "pc@2")
	repo, err := sign.Open(s.store, &sign.Options{Keys: stick})
	must(t, err)
	must(t, repo.Confirm([]sign.Confirmed{{Name: "test-1", Room: "test", Key: strings.Repeat("ab", 32)}}))
	addForeign(t, s.store, g)
	before := metadataOf(t, s.store)
	for _, args := range [][]string{
		{"rollback", "--room", "test", "pc@1"}, {"permit", "downgrade", "--disk", "S1234", "--to", "pc@1", "--until", "2099-12-31"}, {"permit", "wipe", "--disk", "S1234", "--until", "2099-12-31"}, {"image", "add", "--force-unbootable", "pc", gg},
		{"image", "import", "--force-unbootable", "new", s.base}, {"image", "rm", "pc", "3"}, {"agent", "publish", "--version", "1", boot},
	} {
		r := wantTroy(t, exitFailed, append(args, "--yes")...)
		if !strings.Contains(r.errOut, "pc version 3: new") || !strings.Contains(r.errOut, "troy key rotate --server") || strings.Count(r.errOut, "\n") != 1 {
			t.Errorf("%q says %s", args, r.errOut)
		}
	}
	for _, args := range [][]string{{"key", "sign"}, {"key", "rotate"}, {"key", "rotate", "--server"}} {
		if r := wantTroy(t, exitFailed, args...); !strings.Contains(r.errOut, "pc version 3: ") || !strings.Contains(r.errOut, "--yes") {
			t.Errorf("%q says %s", args, r.errOut)
		}
	}
	if metadataOf(t, s.store) != before {
		t.Error("something was signed")
	}
	out := filepath.Join(s.dir, "out.vhdx")
	wantTroy(t, exitFailed, "image", "export", "pc", "3", out)
	if wantTroy(t, exitOK, "image", "export", "pc", "2", out); !bytes.Equal(content(t, out), s.v2) {
		t.Error("the export is not version 2")
	}
	if r := wantTroy(t, exitOK, "key", "rotate", "--server", "--yes"); !strings.Contains(r.errOut, "pc version 3: gone") {
		t.Errorf("the rotation says %s", r.errOut)
	}
	if list := wantJSON[[]image.Manifest](t, exitOK, "image", "list"); len(list) != 2 {
		t.Errorf("the rotation leaves %d versions", len(list))
	}
	if r := wantTroy(t, exitOK, "rollback", "--room", "test", "pc@1"); !strings.Contains(r.errOut, "permit to downgrade to pc version 1 test-1 key abab") {
		t.Errorf("rollback says %s", r.errOut)
	}
}

// TestForgedRoot: the metadata is that of another store, whose keys are the attacker's. No root
// goes to media, nothing to a disk or a file, and nothing is signed.
func TestForgedRoot(t *testing.T) {
	needs.Root(t)
	h, dir := newHistory(t, seeded(t)), t.TempDir()
	evil := filepath.Join(dir, "evil")
	wantTroy(t, exitOK, "init", evil)
	must(t, os.RemoveAll(filepath.Join(h.store, "metadata")))
	must(t, os.CopyFS(filepath.Join(h.store, "metadata"), os.DirFS(filepath.Join(evil, "metadata"))))
	before, out := metadataOf(t, h.store), filepath.Join(dir, "out")
	for _, args := range [][]string{
		{"key", "root", out}, {"media", "--out", out, "--store", h.store}, {"image", "export", "pc", "1", out},
		{"disk", "prepare", "--store", h.store, "--image", "pc", "--create", "1G", out}, {"permit", "wipe", "--disk", "S1234", "--until", "2099-12-31"}, {"key", "sign", "--yes"},
	} {
		r := wantTroy(t, exitFailed, args...)
		if !strings.Contains(r.errOut, "metadata/") || !strings.Contains(r.errOut, "troy key rotate --server") || strings.Count(r.errOut, "\n") != 1 {
			t.Errorf("%q says %s", args, r.errOut)
		}
	}
	if _, err := os.Stat(out); err == nil || metadataOf(t, h.store) != before {
		t.Errorf("something was written: %v", err)
	}
	must(t, os.RemoveAll(filepath.Join(h.store, "metadata"))) // and without any: "key init" is no advice
	if r := wantTroy(t, exitFailed, "permit", "wipe", "--disk", "S1234", "--until", "2099-12-31"); !strings.Contains(r.errOut, "troy key rotate --server") || strings.Contains(r.errOut, "key init") {
		t.Errorf("without metadata: %s", r.errOut)
	}
	wantTroy(t, exitOK, "key", "rotate", "--server", "--yes")
	wantTroy(t, exitOK, "key", "root", out)
	root, err := os.ReadFile(out)
	must(t, err)
	if got, err := seenOver(t, h.store, root); got != 2 || err != nil {
		t.Errorf("a machine sees version %d, %v", got, err)
	}
}

// TestRollbackOracle: a server in the attacker's hands names the version to go back to. What it
// names is signed only when a person at a terminal says so, or names it.
func TestRollbackOracle(t *testing.T) {
	h := newHistory(t, seeded(t))
	hs := serverOf(t, h.store, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/hosts") {
			_, _ = io.WriteString(w, "[]")
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"id": 1, "image": "pc", "version": 1, "time": "2026-01-01T00:00:00Z"})
	}))
	folder := servedir.Of(h.store)
	must(t, folder.Make())
	wantTroy(t, exitOK, "token", "rotate")
	repo, err := sign.Open(h.store, nil)
	must(t, err)
	must(t, repo.Confirm([]sign.Confirmed{{Name: "b204-1", Room: "B204", Key: strings.Repeat("ab", 32)}}))
	before := metadataOf(t, h.store)
	for _, more := range [][]string{nil, {"--yes"}} {
		r := wantTroy(t, exitFailed, append([]string{"rollback", "--server", "https://" + hs.Listener.Addr().String(), "--room", "B204"}, more...)...)
		if !strings.Contains(r.errOut, "no terminal") || !strings.Contains(r.errOut, "'troy rollback --room B204 pc@1'") {
			t.Errorf("it says %s", r.errOut)
		}
	}
	if metadataOf(t, h.store) != before {
		t.Error("the server's word was signed")
	}
	if r := wantTroy(t, exitFailed, "rollback", "--server", "https://"+hs.Listener.Addr().String(), "--room", "B204", "pc@7"); !strings.Contains(r.errOut, "no version 7") {
		t.Errorf("a version that is not signed: %s", r.errOut)
	}
	if wantTroy(t, exitOK, "rollback", "--server", "https://"+hs.Listener.Addr().String(), "--room", "B204", "pc@1"); metadataOf(t, h.store) == before {
		t.Error("what the admin named is not signed")
	}
}

// TestRollbackForward: a newer version is no way back, and is not signed as one; an older one is
// promoted with a warning.
func TestRollbackForward(t *testing.T) {
	s := serveLab(t, newHistory(t, seeded(t)))
	wantTroy(t, exitOK, "promote", "--room", "test", "pc@1")
	before := metadataOf(t, s.store)
	if r := wantTroy(t, exitFailed, "rollback", "--room", "test", "pc@2"); !strings.Contains(r.errOut, "is newer than version 1") || !strings.Contains(r.errOut, "troy promote --room test pc@2") {
		t.Errorf("it says %s", r.errOut)
	}
	if metadataOf(t, s.store) != before {
		t.Error("it was signed")
	}
	wantTroy(t, exitOK, "promote", "--room", "test", "pc@2")
	s.checkIn(t, testMAC, 2, "")
	if r := wantTroy(t, exitOK, "promote", "--room", "test", "pc@1"); !strings.Contains(r.out, "note: 1 machines have a newer version (test-1)") || !strings.Contains(r.out, "troy rollback --room test pc@1") {
		t.Errorf("promote says %s", r.out)
	}
	wantTroy(t, exitUsage, "promote", "--room", "test", "pc@99999999999")
}
