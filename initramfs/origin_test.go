package initramfs

import (
	"slices"
	"testing"
)

// The source packages are those that the package names, and itself where it names none.
func TestParseControl(t *testing.T) {
	for _, c := range []struct {
		name, text, pkg, version string
		sources                  []string
	}{
		{"signed", "Package: shim-signed\nVersion: 1.51~1+16.1-2\nSource: shim-signed (1.51~1)\nBuilt-Using: shim (= 16.1-2)\n", "shim-signed", "1.51~1+16.1-2",
			[]string{"shim (= 16.1-2)", "shim-signed (= 1.51~1)"}},
		{"of its own", "Package: ipxe\nVersion: 1.0.0-5\n", "ipxe", "1.0.0-5", []string{"ipxe (= 1.0.0-5)"}},
		{"source of the same version", "Package: libc6\nStatus: install ok installed\nSource: glibc\nVersion: 2.36-9\n", "libc6", "2.36-9", []string{"glibc (= 2.36-9)"}},
		{"of several", "Package: p\nVersion: 1\nBuilt-Using: a (= 1), b (= 2)\n", "p", "1", []string{"a (= 1)", "b (= 2)", "p (= 1)"}},
		{"nothing", "", "", "", []string{" (= )"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := parseControl(c.text)
			if p.Name != c.pkg || p.Version != c.version || !slices.Equal(p.Sources, c.sources) {
				t.Errorf("got %+v", p)
			}
		})
	}
}
