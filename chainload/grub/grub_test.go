package grub

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/internal/testing/needs"
)

// debian is a build of GRUB that make deps has fetched.
func debian(t *testing.T, build string) []byte {
	t.Helper()
	needs.Downloads(t)
	b, err := os.ReadFile(filepath.Join(os.Getenv("TROY_CACHE"), "loaders/usr/lib/grub/x86_64-efi-signed", build+".efi.signed"))
	if err != nil {
		t.Fatalf("%v; make deps fetches it", err)
	}
	return b
}

func TestVersion(t *testing.T) {
	b := debian(t, "grubnetx64")
	v, err := Version(bytes.NewReader(b))
	if err != nil || !strings.HasPrefix(v, "2.") || !bytes.Contains(b, []byte("GRUB  version %s")) {
		t.Errorf("Debian's GRUB is %q (%v)", v, err)
	}
	t.Logf("GRUB %s", v)
	for name, bad := range map[string][]byte{"empty": nil, "no program": []byte("MZ, but no program"), "cut off": b[:1<<10],
		"another's entry": bytes.Replace(b, []byte("\ngrub,"), []byte("\nblub,"), 1)} {
		if v, err := Version(bytes.NewReader(bad)); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: version %q, %v", name, v, err)
		}
	}
}

func TestHearsProxy(t *testing.T) {
	for version, want := range map[string]bool{"2.06": false, "2.12": true, "2.12~rc1": true, "2.14": true, "3.0": true, "1.99": false, "": true, "x": true} {
		if got := HearsProxy(version); got != want {
			t.Errorf("HearsProxy(%q) = %v", version, got)
		}
	}
}

// One build of each generation reads what lies beside it; the tests of whole machines start it.
func TestReadsBeside(t *testing.T) {
	v, err := Version(bytes.NewReader(debian(t, "grubx64")))
	if err != nil {
		t.Fatal(err)
	}
	beside := "gcdx64"
	if HearsProxy(v) { // the generation of 2.12
		beside = "grubx64"
	}
	for _, build := range []string{"gcdx64", "grubx64", "grubnetx64"} {
		if got := ReadsBeside(debian(t, build)); got != (build == beside) {
			t.Errorf("GRUB %s, %s: %v", v, build, got)
		}
	}
	if ReadsBeside(nil) || ReadsBeside([]byte("MZ")) {
		t.Error("what is no GRUB reads something")
	}
}

// FuzzVersion: whatever the file is, it ends in a version or in ErrUnknown.
func FuzzVersion(f *testing.F) {
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := Version(bytes.NewReader(b)); (err == nil) == (v == "") && !errors.Is(err, ErrUnknown) {
			t.Errorf("%q, %v", v, err)
		}
	})
}
