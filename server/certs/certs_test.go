package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var names = []string{"troy.example", "127.0.0.1", "::1"}

func newDir(t *testing.T, now time.Time) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "certs")
	if err := Init(dir, names, now); err != nil {
		t.Fatal(err)
	}
	return dir
}

func pool(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, FileCA))
	p := x509.NewCertPool()
	if err != nil || !p.AppendCertsFromPEM(b) {
		t.Fatal(err)
	}
	return p
}

// TestServe talks TLS with the certificate, and OpenSSL agrees that it is right.
func TestServe(t *testing.T) {
	dir := newDir(t, time.Now())
	k, err := NewKeeper(dir, time.Now(), func(line string) { t.Error(line) })
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return k.Pair(), nil }})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: log.New(io.Discard, "", 0)}
	go s.Serve(l)
	defer s.Close()
	get := func(p *x509.CertPool) error {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p}}}
		defer c.CloseIdleConnections()
		r, err := c.Get("https://" + l.Addr().String())
		if err == nil {
			r.Body.Close()
		}
		return err
	}
	if err := get(pool(t, dir)); err != nil {
		t.Errorf("with the authority: %v", err)
	}
	if err := get(pool(t, newDir(t, time.Now()))); err == nil {
		t.Error("another authority is taken")
	}
	out, err := exec.Command("openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "troy.example", "-CAfile", filepath.Join(dir, FileCA), filepath.Join(dir, FileServer)).CombinedOutput()
	if err != nil {
		t.Errorf("openssl: %v\n%s", err, out)
	}
	for name, mode := range map[string]os.FileMode{FileCAKey: 0o600, FileServerKey: 0o600, FileCA: 0o644, FileServer: 0o644} {
		t.Run(name, func(t *testing.T) {
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%v, %v", info.Mode(), err)
			}
		})
	}
}

func TestInitChangesNothing(t *testing.T) {
	dir := newDir(t, time.Now())
	before, _ := os.ReadFile(filepath.Join(dir, FileCAKey))
	if err := Init(dir, names, time.Now()); !errors.Is(err, ErrExists) {
		t.Errorf("again: %v", err)
	}
	if after, _ := os.ReadFile(filepath.Join(dir, FileCAKey)); string(after) != string(before) {
		t.Error("the key was changed")
	}
	for _, bad := range [][]string{nil, {""}, {"a b"}, {"../x"}, {"http://x"}} {
		t.Run(fmt.Sprintf("%q", bad), func(t *testing.T) {
			if err := Init(t.TempDir(), bad, time.Now()); !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: %v", bad, err)
			}
		})
	}
}

func TestRenew(t *testing.T) {
	begin := time.Now()
	dir := newDir(t, begin)
	renew := func(at time.Duration, names []string, want bool) *x509.Certificate {
		t.Helper()
		got, err := Renew(dir, names, begin.Add(at))
		if err != nil || got != want {
			t.Fatalf("after %v: renewed %v, %v, want %v", at, got, err, want)
		}
		leaf, err := readLeaf(dir)
		if err != nil {
			t.Fatal(err)
		}
		return leaf
	}
	first := renew(0, names, false)
	renew(LeafTime-RenewTime-time.Hour, nil, false)
	second := renew(LeafTime-RenewTime+time.Hour, nil, true)
	if second.SerialNumber.Cmp(first.SerialNumber) == 0 || !slices.Equal(Names(first), Names(second)) || !second.NotAfter.After(first.NotAfter) {
		t.Errorf("second: %v until %v", Names(second), second.NotAfter)
	}
	if third := renew(LeafTime, []string{"other.example"}, true); Names(third)[0] != "other.example" {
		t.Errorf("names %v", Names(third))
	}
	// What cannot be read is not made again.
	for _, name := range []string{FileServerKey, FileServer} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.Rename(path, path+".kept"), os.Mkdir(path, 0o700)); err != nil {
			t.Fatal(err)
		}
		if renewed, err := Renew(dir, []string{"third.example"}, begin.Add(LeafTime)); renewed || err == nil || !strings.Contains(err.Error(), "is a directory") {
			t.Errorf("%s is a folder: renewed %v, %v", name, renewed, err)
		}
		if err := errors.Join(os.Remove(path), os.Rename(path+".kept", path)); err != nil {
			t.Fatal(err)
		}
	}
	// A crash between key and certificate.
	if err := os.WriteFile(filepath.Join(dir, FileServerKey), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	renew(LeafTime, nil, true)
	// The authority's own end bounds the server's.
	if last := renew(caTime-time.Hour, nil, true); last.NotAfter.Sub(begin) > caTime {
		t.Errorf("holds until %v", last.NotAfter)
	}
	if err := os.Remove(filepath.Join(dir, FileCAKey)); err != nil {
		t.Fatal(err)
	}
	if _, err := Renew(dir, nil, begin.Add(caTime)); !errors.Is(err, ErrNoKey) {
		t.Errorf("without the key: %v", err)
	}
	var notes []string
	if _, err := NewKeeper(dir, begin.Add(caTime), func(line string) { notes = append(notes, line) }); err != nil || len(notes) != 1 {
		t.Errorf("a keeper without the authority's key: %v, %q", err, notes)
	}
}

func TestForeignFiles(t *testing.T) {
	dir, other := newDir(t, time.Now()), newDir(t, time.Now())
	b, _ := os.ReadFile(filepath.Join(other, FileCAKey))
	if err := os.WriteFile(filepath.Join(dir, FileCAKey), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Renew(dir, []string{"x.example"}, time.Now()); !errors.Is(err, ErrInvalid) {
		t.Errorf("another authority's key: %v", err)
	}
	b, _ = os.ReadFile(filepath.Join(other, FileCA))
	if err := os.WriteFile(filepath.Join(dir, FileCA), b, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); !errors.Is(err, ErrInvalid) {
		t.Errorf("another authority: %v", err)
	}
}

// TestGiven: a certificate from elsewhere is taken as it is, never renewed, and read again when its
// files change.
func TestGiven(t *testing.T) {
	now := time.Now()
	given := func(names ...string) string {
		dir := t.TempDir()
		if err := Init(dir, names, now); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{FileCA, FileCAKey} {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	dir := given("a.example")
	note := func(line string) { t.Error(line) }
	k, err := NewKeeper(dir, now.Add(LeafTime), note)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "new"), os.DirFS(given("b.example"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{FileServerKey, FileServer} {
		if err := os.Rename(filepath.Join(dir, "new", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.look(now, note); err != nil {
		t.Fatal(err)
	}
	if got := Names(k.Pair().Leaf); !slices.Equal(got, []string{"b.example"}) {
		t.Errorf("the page's names are %q", got)
	}
}

// TestLoadKey: a server makes its key once, and takes no file that holds another thing.
func TestLoadKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.key")
	first, made, err := LoadKey(path)
	if err != nil || !made {
		t.Fatalf("made %t, %v", made, err)
	}
	again, made, err := LoadKey(path)
	if err != nil || made {
		t.Fatalf("made again %t, %v", made, err)
	}
	a, errA := first.Name()
	b, errB := again.Name()
	if a != b || errA != nil || errB != nil {
		t.Errorf("another key was read: %v, %v", errA, errB)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := LoadKey(path); !errors.Is(err, ErrInvalid) {
		t.Errorf("a damaged file: %v", err)
	}
}
