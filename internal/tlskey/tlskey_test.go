package tlskey

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// made is a key with what follows from it.
type made struct {
	key  *Key
	name string
	cert tls.Certificate
}

func newMade(t testing.TB) *made {
	t.Helper()
	k, err := New()
	if err != nil {
		t.Fatal(err)
	}
	m := &made{key: k}
	if m.name, err = k.Name(); err != nil {
		t.Fatal(err)
	}
	if m.cert, err = k.Certificate(); err != nil {
		t.Fatal(err)
	}
	return m
}

// serve tells each client which key it showed; the page is served with another key.
func serve(t *testing.T, own, page *made) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) > 0 {
			io.WriteString(w, Of(r.TLS.PeerCertificates[0]))
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Listener = tls.NewListener(s.Listener, Server(&own.cert, func() *tls.Certificate { return &page.cert }))
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func get(t *testing.T, s *httptest.Server, c *tls.Config) (string, error) {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: c.NextProtos[0] == "h2"}
	defer tr.CloseIdleConnections()
	r, err := (&http.Client{Transport: tr}).Get("https://" + s.Listener.Addr().String())
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return string(b), err
}

// TestBothWays: each end knows the other by its key, and a browser gets the page's certificate
// without being asked for one.
func TestBothWays(t *testing.T) {
	server, page, pc, other := newMade(t), newMade(t), newMade(t), newMade(t)
	s := serve(t, server, page)
	pinned := func(names ...string) func() []string { return func() []string { return names } }
	browser := Client(pinned(page.name), &pc.cert)
	browser.NextProtos = []string{"h2", "http/1.1"}
	for name, c := range map[string]struct {
		client  *tls.Config
		shown   string
		refused bool
	}{
		"a machine":           {client: Client(pinned(other.name, server.name), &pc.cert), shown: pc.name},
		"without a key":       {client: Client(pinned(server.name), nil)},
		"another server":      {client: Client(pinned(other.name), &pc.cert), refused: true},
		"no server":           {client: Client(pinned(), &pc.cert), refused: true},
		"any server":          {client: Unverified()},
		"a browser":           {client: browser},
		"the page is no peer": {client: Client(pinned(page.name), &pc.cert), refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			shown, err := get(t, s, c.client)
			if shown != c.shown || errors.Is(err, ErrPin) != c.refused || (err != nil) != c.refused {
				t.Errorf("the server saw %q, want %q; error %v", shown, c.shown, err)
			}
		})
	}
}

// TestOtherPrograms: curl names the keys as this package does.
func TestOtherPrograms(t *testing.T) {
	server, pc := newMade(t), newMade(t)
	s := serve(t, server, newMade(t))
	dir := t.TempDir()
	der, err := pc.key.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{"key.pem": {Type: "PRIVATE KEY", Bytes: der}, "cert.pem": {Type: "CERTIFICATE", Bytes: pc.cert.Certificate[0]}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sum, err := hex.DecodeString(server.name)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("curl", "-sSk", "--http1.1", "--cert", filepath.Join(dir, "cert.pem"), "--key", filepath.Join(dir, "key.pem"),
		"--pinnedpubkey", "sha256//"+base64.StdEncoding.EncodeToString(sum), "https://"+s.Listener.Addr().String()).Output()
	if err != nil || string(out) != pc.name {
		t.Errorf("curl: %q, %v, want %q", out, err, pc.name)
	}
}

func TestParse(t *testing.T) {
	m := newMade(t)
	der, err := m.key.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	if name, err := again.Name(); err != nil || name != m.name || !IsName(name) {
		t.Errorf("read back: %s, %v", name, err)
	}
	for name, b := range map[string][]byte{"nothing": nil, "cut": der[:len(der)-1], "other": bytes.Repeat([]byte{1}, 64)} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse(b); !errors.Is(err, ErrKey) {
				t.Errorf("Parse = %v", err)
			}
		})
	}
	for _, s := range []string{"", m.name[1:], m.name + "0", "X" + m.name[1:]} {
		if IsName(s) {
			t.Errorf("%q is a name", s)
		}
	}
}

// FuzzParse: what is read from a disk is a key or an error.
func FuzzParse(f *testing.F) {
	k, err := New()
	if err != nil {
		f.Fatal(err)
	}
	der, err := k.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Add(der[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := Parse(b)
		if err != nil {
			return
		}
		if name, err := k.Name(); err != nil || !IsName(name) {
			t.Errorf("a key without a name: %q, %v", name, err)
		}
	})
}
