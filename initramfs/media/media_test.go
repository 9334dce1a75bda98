package media

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/image/publish"
	"troy/image/trust/sign"
	"troy/initramfs"
	"troy/internal/testing/smallstore"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// writeText writes a file and returns its path.
func writeText(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// certificate is a self-signed one in PEM form.
func certificate(t *testing.T, until time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Site"}, NotBefore: until.AddDate(-1, 0, 0), NotAfter: until, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	must(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// What the config says and what flags say comes together in the files that the agent reads.
func TestConfig(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1767225600")
	dir := t.TempDir()
	store := filepath.Join(dir, "store")
	if _, err := publish.Init(store); err != nil {
		t.Fatal(err)
	}
	if _, err := sign.Init(store, time.Now(), &sign.Options{Keys: filepath.Join(dir, "keys")}); err != nil {
		t.Fatal(err)
	}
	ca := certificate(t, time.Now().AddDate(1, 0, 0))
	writeText(t, dir, "ca.pem", ca)
	config := writeText(t, dir, "media.yaml", "servers: [https://b.example:8443]\nca: ca.pem\nstore: store\nkeys: keys\narguments: [\"troy.port=eth0 \"]\nappend: console=ttyS1\nboot_url: \"http://boot/\\n\"\n")
	below, err := ReadConfig(config)
	must(t, err)
	m := (&Config{Servers: []string{" https://a.example\r\n"}, Arguments: []string{"troy.shell"}, Append: "console=tty0"}).Under(below).complete()
	files, err := m.files(time.Now())
	must(t, err)
	got := map[string]string{}
	for _, f := range files {
		got[filepath.Base(f.Name)] = string(f.Data)
	}
	if want := "troy.server=https://a.example,https://b.example:8443\ntroy.port=eth0\ntroy.shell\n"; !strings.HasSuffix(got["config"], want) {
		t.Errorf("config is %q, want %q at its end", got["config"], want)
	}
	if got["ca.pem"] != ca || got["built"] != "2026-01-01T00:00:00Z\n" || !strings.Contains(got["root.json"], `"root"`) {
		t.Errorf("files: %q", got)
	}
	if m.Append != "console=tty0" || m.BootURL != "http://boot/" {
		t.Errorf("kernel arguments %q, boot URL %q", m.Append, m.BootURL)
	}
	none, err := ReadConfig(writeText(t, dir, "empty.json", "{}"))
	must(t, err)
	if none = none.complete(); none.Append != DefaultAppend {
		t.Errorf("a config that says nothing: %+v", none)
	}
	if files, err := none.files(time.Now()); !errors.Is(err, ErrSources) {
		t.Errorf("a config without a root: %v, %v", files, err)
	}
}

// TestBootURL: network boot loads by HTTP where the first server can serve it so.
func TestBootURL(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"nothing":         {Config{}, ""},
		"plain HTTP":      {Config{Servers: []string{"http://a:8080/", "https://b"}}, "http://a:8080/boot/"},
		"blanks, slashes": {Config{Servers: []string{" http://a:8080//\n"}}, "http://a:8080/boot/"},
		"with TLS":        {Config{Servers: []string{"https://a", "http://b"}}, ""},
		"said otherwise":  {Config{Servers: []string{"http://a"}, BootURL: "http://b/"}, "http://b/"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.config.complete().BootURL; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestCertificateEnded: a certificate that no machine will take is refused.
func TestCertificateEnded(t *testing.T) {
	dir := t.TempDir()
	c := &Config{CA: writeText(t, dir, "old.pem", certificate(t, time.Now().AddDate(0, 0, -1)))}
	if _, err := c.files(time.Now()); err == nil || !strings.Contains(err.Error(), "CN=Site ended on") {
		t.Errorf("got %v", err)
	}
}

// TestOpen: mistakes show before anything is made, and what is missing is told.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	signed := smallstore.Make(t, dir)
	for name, c := range map[string]struct {
		o    Options
		want error
	}{
		"two sources":          {Options{Config: &Config{Root: "r", Store: "s"}}, ErrSources},
		"loaders that must be": {Options{Config: &Config{Store: signed}, NeedLoaders: true}, initramfs.ErrNoLoader},
		"no file of metadata":  {Options{Config: &Config{Root: filepath.Join(dir, "none")}}, fs.ErrNotExist},
		"no root":              {Options{Config: &Config{}}, ErrSources},
		"without loaders":      {Options{Config: &Config{Store: signed}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.Out, c.o.Loaders = out, dir
			m, err := Open(&c.o)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err == nil && len(m.Warnings()) != 1 {
				t.Errorf("warnings: %q", m.Warnings())
			}
			if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("something was made: %v", err)
			}
		})
	}
}
