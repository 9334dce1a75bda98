package main

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/image"
	"troy/image/capture"
	"troy/image/unused"
	"troy/internal/testing/goldenpc"
	"troy/internal/testing/needs"
	"troy/internal/tlskey"
	"troy/internal/utf16le"
	"troy/server/inbox"
	"troy/server/servedir"
)

// goldenRoom is a store with a Windows, and a golden PC on it.
type goldenRoom struct {
	t           *testing.T
	w           *windowsDisk
	store, base string
	v1          []byte
	sessions    int
}

const goldenSecret = "s3cr3t-of-the-golden-pc"

func newGoldenRoom(t *testing.T) *goldenRoom {
	t.Helper()
	needs.Root(t)
	g := &goldenRoom{t: t, w: newWindowsDisk(t, seeded(t)), store: filepath.Join(t.TempDir(), "store")}
	g.w.write(map[string][]byte{"Windows/System32/config/SYSTEM": systemHive(t, "WIN-0123456789A", 3), "Troy/machine.json": append([]byte("{}"), bytes.Repeat([]byte(" "), 2046)...)})
	g.v1 = g.w.disk()
	g.base, _ = goldenpc.Base(t, t.TempDir(), g.v1)
	t.Setenv("TROY_STORE", g.store)
	wantTroy(t, exitOK, "init", g.store)
	wantTroy(t, exitOK, "image", "import", "--force-unbootable", "pc", g.base)
	return g
}

// session is what a Windows on version 1 changed if the disk is now as the volume is.
func (g *goldenRoom) session() *capture.Session {
	g.t.Helper()
	g.sessions++
	now := g.w.disk()
	var diff []image.Range
	for at := int64(0); at < int64(len(now)); at += 4096 {
		if !bytes.Equal(now[at:at+4096], g.v1[at:at+4096]) {
			diff = append(diff, image.Range{Offset: at, Length: 4096})
		}
	}
	chain := goldenpc.Open(g.t, goldenpc.Child(g.t, g.base, string(rune('a'+g.sessions))+".vhdx", now, diff))
	s, err := image.OpenStore(g.store)
	must(g.t, err)
	m, err := image.LoadManifest(g.t.Context(), s, "pc", 1)
	must(g.t, err)
	v := goldenpc.VersionOf(g.t, s, m)
	session, err := capture.Open(g.t.Context(), chain, &v, unused.Filter{})
	must(g.t, err)
	return session
}

type captureOrder struct{ key, host string }

func (o captureOrder) Allowed(key string) (string, bool) { return o.host, key == o.key }

// cutLine loses the connection after some calls.
type cutLine struct {
	capture.Doer
	left int
}

func (l *cutLine) Do(r *http.Request) (*http.Response, error) {
	if l.left--; l.left < 0 {
		return nil, http.ErrServerClosed
	}
	return l.Doer.Do(r)
}

// upload sends a session to a server as a machine does, and returns the error of a line that is cut
// after some calls.
func (g *goldenRoom) upload(s *capture.Session, host string, calls int) error {
	g.t.Helper()
	k, err := tlskey.New()
	must(g.t, err)
	key, err := k.Name()
	must(g.t, err)
	own, err := k.Certificate()
	must(g.t, err)
	boxes := inbox.New(&inbox.Options{Dir: servedir.Of(g.store).Inbox(), Spare: -1})
	defer boxes.Close()
	h, err := inbox.Handler(boxes, captureOrder{key, host})
	must(g.t, err)
	srv := httptest.NewUnstartedServer(h)
	srv.TLS = tlskey.Server(&own, func() *tls.Certificate { return &own })
	srv.StartTLS()
	defer srv.Close()
	config := tlskey.Unverified()
	config.Certificates = []tls.Certificate{own}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	defer c.CloseIdleConnections()
	_, err = capture.Upload(g.t.Context(), &cutLine{c, calls}, srv.URL, s, nil)
	return err
}

// TestImageAddCapture: what a golden PC sent is shown, published and signed as the next version, in
// which nothing is the golden PC's own; then it is no longer kept.
func TestImageAddCapture(t *testing.T) {
	g := newGoldenRoom(t)
	older := g.session()
	must(t, g.upload(older, "golden", 1000))
	g.w.write(map[string][]byte{
		"Windows/System32/config/SYSTEM": systemHive(t, "GOLDEN-PC-00001", 4), "Users/anna/work.bin": bytes.Repeat([]byte("work"), 200_000),
		"Troy/machine.json": append([]byte(`{"join":"`+goldenSecret+`"}`), bytes.Repeat([]byte(" "), 2000)...),
	})
	must(t, g.upload(g.session(), "golden", 1000))
	said := wantTroy(t, exitOK, "image", "add", "--force-unbootable", "--note", "Office 2024", "--capture", "golden", "pc")
	out, old := said.out, filepath.Join(servedir.Of(g.store).Inbox(), older.ID)
	if want := old + ": an older capture of golden, which is not used"; !strings.Contains(said.errOut, want) {
		t.Errorf("it says %s, want %q in it", said.errOut, want)
	}
	for _, want := range []string{"capture of golden, on pc version 1: changed ", `\Users\anna\work.bin`, "  folders:  ", "pc version 2: changed ", "Office 2024"} {
		if !strings.Contains(out, want) {
			t.Errorf("it prints %s, want %q in it", out, want)
		}
	}
	m := wantJSON[image.Manifest](t, exitOK, "image", "show", "pc", "2")
	for _, f := range m.Fields {
		if f.Kind == image.FieldText && f.Was != "WIN-0123456789A" {
			t.Errorf("%s is %q", f.Name, f.Was)
		}
	}
	file := filepath.Join(t.TempDir(), "v2.vhdx")
	wantTroy(t, exitOK, "image", "export", "pc", "2", file) // it is signed
	all := content(t, file)
	if bytes.Contains(all, []byte(goldenSecret)) || bytes.Contains(all, utf16le.Append(nil, "GOLDEN-PC-00001")) || !bytes.Contains(all, bytes.Repeat([]byte("work"), 1024)) {
		t.Error("version 2 holds the golden PC's own, or not its work")
	}
	if left, err := inbox.List(servedir.Of(g.store).Inbox()); err != nil || len(left) != 1 || left[0].ID != older.ID || len(m.Fields) != 5 {
		t.Errorf("left in the inbox: %+v, %v; %d fields", left, err, len(m.Fields))
	}
}

// TestImageAddCaptureRefuses: what keeps a capture from being published is said in one line,
// nothing is published, and what was sent stays.
func TestImageAddCaptureRefuses(t *testing.T) {
	g := newGoldenRoom(t)
	dir := servedir.Of(g.store).Inbox()
	refused := func(code int, says string, args ...string) {
		t.Helper()
		r := wantTroy(t, code, append([]string{"image", "add", "--force-unbootable"}, args...)...)
		if !strings.Contains(r.errOut, says) {
			t.Errorf("%q says %s, want %q", args, r.errOut, says)
		}
		if list := wantJSON[[]image.Manifest](t, exitOK, "image", "list"); len(list) != 1 {
			t.Errorf("%q published: %+v", args, list)
		}
	}
	refused(exitUsage, "either a FILE or --capture HOST", "pc")
	refused(exitUsage, "either a FILE or --capture HOST", "--capture", "golden", "pc", g.base)
	refused(exitUsage, "are for files", "--capture", "golden", "--compare", "pc")
	refused(exitFailed, "there is no capture of golden in "+dir, "--capture", "golden", "pc")

	g.w.write(map[string][]byte{"Users/anna/work.bin": bytes.Repeat([]byte("work"), 200_000), "Troy/machine.json": []byte(goldenSecret)})
	s := g.session()
	if err := g.upload(s, "golden", 3); err == nil {
		t.Fatal("the line was not cut")
	}
	refused(exitFailed, "is not finished: golden has sent ", "--capture", "golden", "pc")
	must(t, inbox.Remove(dir, s.ID))
	must(t, g.upload(s, "golden", 1000))
	refused(exitFailed, "the capture of golden changed the image pc, not other", "--capture", "golden", "other")
	refused(exitFailed, "the golden PC's own cannot be cleared: machine-file in", "--capture", "golden", "pc")
	pages := filepath.Join(dir, s.ID, "pages")
	b, err := os.ReadFile(pages)
	must(t, err)
	must(t, os.WriteFile(pages, bytes.ReplaceAll(b, []byte("work"), []byte("wörk")[:4]), 0o600))
	refused(exitFailed, "the inbox is damaged: region", "--capture", "golden", "pc")
	must(t, os.WriteFile(pages, b, 0o600))

	now := filepath.Join(t.TempDir(), "v2.img")
	must(t, os.WriteFile(now, g.w.disk(), 0o644))
	wantTroy(t, exitOK, "image", "add", "--force-unbootable", "pc", now)
	r := wantTroy(t, exitFailed, "image", "add", "--force-unbootable", "--capture", "golden", "pc")
	if want := "it changed pc version 1, and version 2 is the newest; nothing was published; bring golden to the newest version"; !strings.Contains(r.errOut, want) {
		t.Errorf("an old version: %s, want %q", r.errOut, want)
	}
	if left, err := inbox.List(dir); err != nil || len(left) != 1 || !left[0].Finished {
		t.Errorf("left in the inbox: %+v, %v", left, err)
	}
}
