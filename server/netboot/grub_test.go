package netboot

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/chainload/grub"
	"troy/chainload/release"
)

// An old GRUB, or a new one, is made out of Debian's by its entry alone.
func TestAdvice(t *testing.T) {
	cache := os.Getenv("TROY_CACHE")
	if cache == "" {
		t.Fatal("TROY_CACHE is not set: run it by make")
	}
	b, err := os.ReadFile(filepath.Join(cache, "loaders/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed"))
	if err != nil {
		t.Fatalf("%v; make deps fetches it", err)
	}
	v, err := grub.Version(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		version string
		o       Options
		iso     bool
		want    []string
	}{
		{"2.06", Options{Shim: true}, true, []string{"GRUB 2.06 ignores proxyDHCP"}},
		{"2.06", Options{Shim: true}, false, []string{"GRUB 2.06", "troy.iso is not there"}},
		{"2.06", Options{Shim: true, NoDHCP: true}, true, nil},
		{"2.06", Options{}, false, nil},
		{"2.12", Options{Shim: true}, true, nil},
	} {
		t.Run(fmt.Sprintf("%s %v %v %v", c.version, c.o.Shim, c.o.NoDHCP, c.iso), func(t *testing.T) {
			names := []string{release.Shim}
			if c.iso {
				names = append(names, release.ISO)
			}
			dir := bootFolder(t, names...)
			entry := bytes.Replace(b, []byte(",grub,"+v+","), []byte(",grub,"+c.version+","), 1)
			if err := os.WriteFile(filepath.Join(dir, release.GRUB), entry, 0o644); err != nil {
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
				return
			}
			for i := range got {
				if !strings.Contains(got[i], c.want[i]) {
					t.Errorf("GRUB %s: %q, want %q", c.version, got[i], c.want[i])
				}
			}
		})
	}
}
