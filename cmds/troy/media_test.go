package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

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
func TestMediaSite(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1767225600")
	dir := t.TempDir()
	store := filepath.Join(dir, "store")
	wantTroy(t, exitOK, "init", "--keys", filepath.Join(dir, "keys"), store)
	ca := certificate(t, time.Now().AddDate(1, 0, 0))
	writeText(t, dir, "ca.pem", ca)
	config := writeText(t, dir, "media.yaml", "servers: [https://b.example:8443]\nca: ca.pem\nstore: store\narguments: [troy.port=eth0]\nappend: console=ttyS1\nboot_url: http://boot/\n")
	m := mediaConfig{Servers: []string{"https://a.example"}, Arguments: []string{"troy.shell"}, Append: "console=tty0"}
	must(t, m.load(config))
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
	if m.Append != "console=tty0" || m.BootURL != "http://boot/" || m.warning() != "" {
		t.Errorf("kernel arguments %q, boot URL %q, warning %q", m.Append, m.BootURL, m.warning())
	}
	var none mediaConfig
	if must(t, none.load(writeText(t, dir, "empty.json", "{}"))); none.warning() == "" || none.Append != defaultAppend {
		t.Errorf("a config that says nothing: %+v, no warning", none)
	}
}

// Each wrong thing gets one line that names it, before anything is made.
func TestMediaRefuses(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	file := func(name, text string) string { return writeText(t, dir, name, text) }
	text := file("text", "no certificate\n")
	for _, c := range []struct {
		code int
		args []string
		want string
	}{
		{exitUsage, []string{"--root", text, "--unsigned"}, "only one of root, store and unsigned"},
		{exitFailed, []string{"--config", filepath.Join(dir, "none.yaml")}, "no such file"},
		{exitFailed, []string{"--config", file("a.yaml", "server: x\n")}, `unknown field "server"`},
		{exitFailed, []string{"--config", file("b.yaml", "servers: x: y\n")}, "b.yaml: "},
		{exitFailed, []string{"--config", file("c.yaml", "servers: 5\n")}, "c.yaml: "},
		{exitFailed, []string{"--config", file("d.json", `{"ca": "missing.pem"}`)}, filepath.Join(dir, "missing.pem")},
		{exitFailed, []string{"--config", file("big.yaml", strings.Repeat("#\n", maxSiteFile))}, "that is another file"},
		{exitFailed, []string{"--server", "ftp://x"}, "troy.server=ftp://x"},
		{exitFailed, []string{"--server", "https://x"}, "needs a CA certificate"},
		{exitFailed, []string{"--argument", "port=eth0"}, `"port=eth0" is no argument`},
		{exitFailed, []string{"--argument", "troy.a\ntroy.unsigned"}, "is no argument"},
		{exitFailed, []string{"--argument", "troy.ip=1.2.3"}, "troy.ip=1.2.3"},
		{exitFailed, []string{"--ca", text}, "holds no certificate"},
		{exitFailed, []string{"--ca", file("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})))}, "holds a PRIVATE KEY"},
		{exitFailed, []string{"--ca", file("broken.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})))}, "certificate 1"},
		{exitFailed, []string{"--ca", file("old.pem", certificate(t, time.Now().AddDate(0, 0, -1)))}, "CN=Site ended on"},
		{exitFailed, []string{"--root", text}, text},
		{exitFailed, []string{"--store", dir}, dir},
		{exitFailed, []string{"--loaders", dir}, "shim-signed"},
	} {
		r := troy(append([]string{"media", "--kernel", "k", "--modules", "m", "--out", out}, c.args...)...)
		if r.code != c.code || !strings.Contains(r.errOut, c.want) {
			t.Errorf("%q: exit code %d, %q; want %d and %q", c.args, r.code, r.errOut, c.code, c.want)
		}
		if line, _, _ := strings.Cut(r.errOut, "\nusage"); strings.Count(strings.TrimSpace(line), "\n") > 0 {
			t.Errorf("%q: more than a line: %q", c.args, r.errOut)
		}
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Errorf("something was made (%v)", err)
	}
	wantTroy(t, exitUsage, "media", "--kernel", "k")
}
