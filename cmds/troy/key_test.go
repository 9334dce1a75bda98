package main

import (
	"context"
	"errors"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/image"
	"troy/image/publish"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/netfetch"
	"troy/server"
	"troy/server/lab"
	"troy/server/protocol"
	"troy/vhdx"
)

// noOrders is for a server of which only the files are asked for.
type noOrders struct{}

func (noOrders) Order(context.Context, protocol.Peer, protocol.CheckIn) (protocol.Order, error) {
	return protocol.Order{}, errors.New("there are no orders")
}

// seenOver returns the newest version that a client with a pinned root sees through the real
// server, fetched to the end.
func seenOver(t *testing.T, store string, root []byte) (int, error) {
	t.Helper()
	s, err := server.New(&server.Options{Dir: store, Orders: noOrders{}})
	must(t, err)
	defer s.Close()
	hs := httptest.NewServer(s)
	defer hs.Close()
	src, err := netfetch.NewHTTP(hs.URL+"/"+protocol.PathRepo+"/", nil)
	must(t, err)
	signed, _, err := trust.Pinned(context.Background(), src, time.Now(), &trust.PinnedOptions{
		Root: root, NotFound: func(err error) bool { return errors.Is(err, netfetch.ErrNotFound) },
	})
	if err != nil {
		return 0, err
	}
	x, err := image.LoadIndex(context.Background(), signed, "pc")
	if err != nil {
		return 0, err
	}
	p, err := image.LoadPlan(context.Background(), signed, "pc", 0, x.Latest())
	if err != nil {
		return 0, err
	}
	_, err = p.Fetch(context.Background(), signed, sink{}, nil)
	return x.Latest(), err
}

type sink struct{}

func (sink) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

// TestKeys goes through the life of a signed store: publishing signs, keys leave the store and come
// back by --keys, keys are replaced, the server's word is checked by a client with the first root.
func TestKeys(t *testing.T) {
	h := newHistory(t, seeded(t))
	rootFile := filepath.Join(h.dir, "root.json")
	wantTroy(t, exitOK, "key", "root", rootFile)
	root, err := os.ReadFile(rootFile)
	must(t, err)
	want := func(n int) {
		t.Helper()
		if got, err := seenOver(t, h.store, root); got != n || err != nil {
			t.Fatalf("a machine sees version %d, %v; want %d", got, err, n)
		}
	}
	want(2)
	if res := wantTroy(t, exitOK, "image", "list"); res.errOut != "" {
		t.Errorf("list warns of %s", res.errOut)
	}
	// The admin locks the keys away.
	stick := t.TempDir()
	moveKeys(t, h.store, stick)
	grandchild := filepath.Join(h.dir, "g.vhdx")
	wantVHDX(t, exitOK, "create", "--type", "differencing", "--parent", h.child, grandchild)
	if res := wantTroy(t, exitFailed, "image", "add", "--force-unbootable", "pc", grandchild); !strings.Contains(res.errOut, "--keys") || !strings.Contains(res.errOut, "has no trusted.json") {
		t.Errorf("without the keys: %s", res.errOut)
	}
	if list := wantJSON[[]image.Manifest](t, exitOK, "image", "list"); len(list) != 2 {
		t.Errorf("without the keys a version was made: %d", len(list))
	}
	wantTroy(t, exitOK, "image", "add", "--force-unbootable", "--keys", stick, "pc", grandchild)
	want(3)
	for _, more := range [][]string{nil, {"--server"}} {
		wantTroy(t, exitOK, append([]string{"key", "rotate", "--keys", stick}, more...)...)
		want(3)
	}
	wantTroy(t, exitUsage, "key", "rotate", "--keys", stick, "targets")
	if list := wantJSON[[]jsonExpiry](t, exitOK, "key", "list"); len(list) != 2 || list[0].Key != sign.Admin || list[0].Soon {
		t.Errorf("key list: %+v", list)
	}
	wantTroy(t, exitOK, "permit", "downgrade", "--keys", stick, "--disk", "S1234", "--to", "pc@1", "--until", "2099-12-31")
	wantTroy(t, exitFailed, "permit", "downgrade", "--keys", stick, "--disk", "S1234", "--to", "pc@9", "--until", "2099-12-31")
	wantTroy(t, exitOK, "image", "rm", "--keys", stick, "pc", "3")
	wantTroy(t, exitOK, "image", "gc")
	want(2)
	if res := wantTroy(t, exitOK, "key", "sign", "--keys", stick); !strings.Contains(res.out, "nothing to do") {
		t.Errorf("key sign: %s", res.out)
	}
	wantTroy(t, exitOK, "key", "refresh")
}

// moveKeys puts what is the admin's elsewhere, as init says.
func moveKeys(t *testing.T, store, to string) {
	t.Helper()
	for _, name := range []string{"admin.key", "trusted.json"} {
		must(t, os.Rename(filepath.Join(store, "keys", name), filepath.Join(to, name)))
	}
}

// addForeign publishes a version of pc without the keys.
func addForeign(t *testing.T, store, child string) {
	t.Helper()
	c, err := vhdx.OpenChain(child, &vhdx.ChainOptions{Parents: &vhdx.Parents{}})
	must(t, err)
	defer c.Close()
	_, err = publish.Add(t.Context(), mustStore(t, store), "pc", publish.ChainDisk(c), nil)
	must(t, err)
}

// TestForeignVersion: a version that came into the store without the keys is not signed along with
// the next one.
func TestForeignVersion(t *testing.T) {
	h := newHistory(t, seeded(t))
	g, gg := filepath.Join(h.dir, "g.vhdx"), filepath.Join(h.dir, "gg.vhdx")
	wantVHDX(t, exitOK, "create", "--type", "differencing", "--parent", h.child, g)
	wantVHDX(t, exitOK, "create", "--type", "differencing", "--parent", g, gg)
	addForeign(t, h.store, g)
	if res := wantTroy(t, exitFailed, "image", "add", "--force-unbootable", "pc", gg); !strings.Contains(res.errOut, "pc version 3: new") {
		t.Errorf("add says %s", res.errOut)
	}
	if res := wantTroy(t, exitFailed, "key", "sign"); !strings.Contains(res.errOut, "--yes") {
		t.Errorf("without a terminal key sign says %s", res.errOut)
	}
	if res := wantTroy(t, exitOK, "key", "sign", "--yes"); !strings.Contains(res.errOut, "pc version 3: new") {
		t.Errorf("key sign says %s", res.out)
	}
	wantTroy(t, exitOK, "image", "add", "--force-unbootable", "pc", gg)
}

// TestKeysAreNotServed asks the real server for all that lies in a store.
func TestKeysAreNotServed(t *testing.T) {
	h := newHistory(t, seeded(t))
	s, err := server.New(&server.Options{Dir: h.store, Orders: noOrders{}})
	must(t, err)
	defer s.Close()
	given, kept := 0, 0
	must(t, filepath.WalkDir(h.store, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(h.store, p)
		name := filepath.ToSlash(rel)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", "/"+protocol.PathRepo+"/"+name, nil))
		ok := w.Code == 200
		if secret := strings.HasPrefix(name, "keys/") || strings.HasPrefix(name, "serve/") || strings.HasPrefix(name, ".") || name == lab.FileName; ok == secret {
			t.Errorf("%s: status %d", name, w.Code)
		}
		if changes := strings.HasSuffix(name, "/versions.json") && strings.HasPrefix(name, "images/") || name == "metadata/timestamp.json" || name == "store.json"; ok && changes != (w.Header().Get("Cache-Control") == "no-cache") {
			t.Errorf("%s: %s", name, w.Header().Get("Cache-Control"))
		}
		if ok {
			given++
		} else {
			kept++
		}
		return nil
	}))
	if given < 10 || kept < 4 {
		t.Errorf("%d files are served, %d kept", given, kept)
	}
}

// TestInit: every store is signed and comes with a lab.yaml, at the place that was asked for; one
// that is there stays.
func TestInit(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.WriteFile(in("mine.yaml"), []byte(labYAML), 0o644))
	for _, x := range []struct {
		store, file, says string
		more              []string
	}{
		{in("a"), filepath.Join(in("a"), lab.FileName), "one room, default", nil},
		{in("b"), in("b.yaml"), "one room, default", []string{"--lab", in("b.yaml")}},
		{in("c"), in("mine.yaml"), "exists and was kept", []string{"--lab", in("mine.yaml")}},
	} {
		r := wantTroy(t, exitOK, append([]string{"init", x.store}, x.more...)...)
		if !strings.Contains(r.errOut, "NOT SEALED") || !strings.Contains(r.errOut, "IN THE STORE") {
			t.Errorf("without a terminal init %s warns of %s", x.store, r.errOut)
		}
		if !strings.Contains(r.out, "admin key:") || !strings.Contains(r.out, x.file) || !strings.Contains(r.out, x.says) {
			t.Errorf("init %s says %s", x.store, r.out)
		}
		wantTroy(t, exitOK, "lab", "check", x.file)
		wantTroy(t, exitOK, "lab", "check", "--store", x.store, in("a/lab.yaml"))
	}
	if b, err := os.ReadFile(in("mine.yaml")); err != nil || string(b) != labYAML {
		t.Errorf("the admin's file is %q, %v", b, err)
	}
	if r := wantTroy(t, exitFailed, "lab", "init", in("mine.yaml")); !strings.Contains(r.errOut, "exists") {
		t.Errorf("lab init over a file: %s", r.errOut)
	}
	pass := in("pass")
	must(t, os.WriteFile(pass, []byte("correct horse\n"), 0o600))
	if r := wantTroy(t, exitOK, "init", "--keys", in("stick"), "--passphrase-file", pass, in("e")); strings.Contains(r.errOut, "WARNING") {
		t.Errorf("a sealed key on a stick: %s", r.errOut)
	}
	wantTroy(t, exitOK, "lab", "init", in("new.yaml"))
	wantTroy(t, exitOK, "lab", "check", in("new.yaml"))
	if r := wantTroy(t, exitUsage, "init", "--unsigned", in("d")); !strings.Contains(r.errOut, "unknown flag --unsigned") {
		t.Errorf("init --unsigned: %s", r.errOut)
	}
}

// TestUnsignedStore: a store without signatures is an error that names the command that helps; what
// it holds is signed then. Sealed keys need their passphrase.
func TestUnsignedStore(t *testing.T) {
	h := newHistory(t, seeded(t))
	dir, store, base := h.dir, h.store, h.base
	for _, name := range []string{"metadata", "keys"} {
		must(t, os.RemoveAll(filepath.Join(store, name)))
	}
	for _, args := range [][]string{{"image", "import", "--force-unbootable", "new", base}, {"image", "rm", "pc", "2"}, {"key", "list"}, {"permit", "list"}, {"serve", "--listen", "127.0.0.1:0", store}} {
		code := exitFailed
		if args[0] == "serve" {
			code = exitCheck // systemd does not start it again
		}
		r := wantTroy(t, code, args...)
		if !strings.Contains(r.errOut, "'troy key init --store "+store+"'") || strings.Count(r.errOut, "\n") != 1 {
			t.Errorf("%q says %s", args, r.errOut)
		}
	}
	if r := wantTroy(t, exitOK, "image", "list"); !strings.Contains(r.errOut, "troy key init") {
		t.Errorf("image list says %s", r.errOut)
	}
	pass := filepath.Join(dir, "pass")
	must(t, os.WriteFile(pass, []byte("correct horse\n"), 0o600))
	keys := filepath.Join(dir, "keys")
	wantTroy(t, exitOK, "key", "init", "--keys", keys, "--passphrase-file", pass, "--yes")
	wantTroy(t, exitFailed, "key", "init")
	wantTroy(t, exitFailed, "image", "import", "--force-unbootable", "--keys", keys, "again", base)
	wantTroy(t, exitOK, "image", "import", "--force-unbootable", "--keys", keys, "--passphrase-file", pass, "again", base)
	t.Setenv("TROY_PASSPHRASE", "wrong horse")
	if res := wantTroy(t, exitFailed, "image", "rm", "--keys", keys, "again", "1"); !strings.Contains(res.errOut, "wrong passphrase") {
		t.Errorf("rm says %s", res.errOut)
	}
	rootFile := filepath.Join(dir, "root.json")
	wantTroy(t, exitOK, "key", "root", "--keys", keys, rootFile)
	root, err := os.ReadFile(rootFile)
	must(t, err)
	if got, err := seenOver(t, store, root); got != 2 || err != nil {
		t.Errorf("a machine sees version %d, %v", got, err)
	}
}
