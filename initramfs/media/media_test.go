package media

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/image"
	"troy/image/publish"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/initramfs/bundle"
	"troy/internal/testing/smallstore"
	"troy/internal/tlskey"
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

// What the config says and what flags say comes together in the files that the agent reads.
func TestConfig(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1767225600")
	dir := t.TempDir()
	store := filepath.Join(dir, "store")
	if _, err := publish.Init(store); err != nil {
		t.Fatal(err)
	}
	repo, err := sign.Init(store, time.Now(), &sign.Options{Keys: filepath.Join(dir, "keys")})
	must(t, err)
	opened, err := image.OpenStore(store)
	must(t, err)
	key := strings.Repeat("5", tlskey.Size)
	must(t, repo.SetServers(t.Context(), opened, []trust.Server{{Key: key, URLs: []string{"https://c.example"}}}, time.Now()))
	config := writeText(t, dir, "media.yaml", "servers: [https://b.example:8443]\nstore: store\nkeys: keys\narguments: [\"troy.port=eth0 \"]\nappend: console=ttyS1\nboot_url: \"http://boot/\\n\"\n")
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
	if !strings.Contains(got["servers.json"], key) || got["built"] != "2026-01-01T00:00:00Z\n" || !strings.Contains(got["root.json"], `"root"`) {
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

// TestOpen: mistakes show before anything is made.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	signed := smallstore.Make(t, dir)
	for name, c := range map[string]struct {
		o    Options
		want error
	}{
		"two sources":         {Options{Config: &Config{Root: "r", Store: "s"}}, ErrSources},
		"no bundle":           {Options{Config: &Config{Store: signed}}, bundle.ErrAbsent},
		"no file of metadata": {Options{Config: &Config{Root: filepath.Join(dir, "none")}}, fs.ErrNotExist},
		"no root":             {Options{Config: &Config{}}, ErrSources},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.Out, c.o.Bundle = out, dir
			if _, err := Open(&c.o); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("something was made: %v", err)
			}
		})
	}
}
