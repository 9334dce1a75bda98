package netboot

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// debianGRUB is the network build of GRUB that make deps has fetched.
func debianGRUB(t *testing.T) []byte {
	t.Helper()
	cache := os.Getenv("TROY_CACHE")
	if cache == "" {
		t.Fatal("TROY_CACHE is not set: run it by make")
	}
	b, err := os.ReadFile(filepath.Join(cache, "loaders/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed"))
	if err != nil {
		t.Fatalf("%v; make deps fetches it", err)
	}
	return b
}

func TestGRUBVersion(t *testing.T) {
	b := debianGRUB(t)
	v, err := grubVersion(bytes.NewReader(b))
	if err != nil || !strings.HasPrefix(v, "2.") || !bytes.Contains(b, []byte("GRUB  version %s")) {
		t.Errorf("Debian's GRUB is %q (%v)", v, err)
	}
	t.Logf("GRUB %s", v)
	for name, bad := range map[string][]byte{"empty": nil, "no program": []byte("MZ, but no program"), "cut off": b[:1<<10],
		"another's entry": bytes.Replace(b, []byte("\ngrub,"), []byte("\nblub,"), 1)} {
		if v, err := grubVersion(bytes.NewReader(bad)); !errors.Is(err, errNoSBAT) {
			t.Errorf("%s: version %q, %v", name, v, err)
		}
	}
}

func TestOlder(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{{"2.06", "2.12", true}, {"2.12", "2.12", false}, {"2.12~rc1", "2.12", false}, {"2.14", "2.12", false}, {"3.0", "2.12", false}, {"1.99", "2.12", true}, {"", "2.12", false}, {"x", "2.12", false}} {
		if got := older(c.a, c.b); got != c.want {
			t.Errorf("older(%q, %q) = %v", c.a, c.b, got)
		}
	}
}

// An old GRUB is made out of Debian's by its entry alone.
func TestAdvice(t *testing.T) {
	b := debianGRUB(t)
	v, err := grubVersion(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		version string
		o       Options
		iso     bool
		want    []string
	}{
		{"2.06", Options{Shim: true}, true, []string{"GRUB 2.06 does not hear of proxyDHCP"}},
		{"2.06", Options{Shim: true}, false, []string{"GRUB 2.06", "troy.iso is not there"}},
		{"2.06", Options{Shim: true, NoDHCP: true}, true, nil},
		{"2.06", Options{}, false, nil},
		{"2.12", Options{Shim: true}, true, nil},
	} {
		names := []string{FileShim}
		if c.iso {
			names = append(names, FileISO)
		}
		dir := bootFolder(t, names...)
		entry := bytes.Replace(b, []byte(",grub,"+v+","), []byte(",grub,"+c.version+","), 1)
		if err := os.WriteFile(filepath.Join(dir, FileGRUB), entry, 0o644); err != nil {
			t.Fatal(err)
		}
		c.o.Dir = dir
		s, err := New(&c.o)
		if err != nil {
			t.Fatal(err)
		}
		got := s.Advice()
		s.Close()
		if len(got) != len(c.want) {
			t.Errorf("GRUB %s, %+v: %q, want %q", c.version, c.o, got, c.want)
			continue
		}
		for i := range got {
			if !strings.Contains(got[i], c.want[i]) {
				t.Errorf("GRUB %s: %q, want %q", c.version, got[i], c.want[i])
			}
		}
	}
}
