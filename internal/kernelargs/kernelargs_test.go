package kernelargs

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestWords(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"none":     {" \t\r\n\x00", nil},
		"line":     {"quiet a=b\n", []string{"quiet", "a=b"}},
		"quotes":   {`x="a b" "c d=e"`, []string{"x=a b", "c d=e"}},
		"comments": {"# media\na # old\nb#c", []string{"a", "b#c"}},
		"not open": {`a="b c`, []string{"a=b c"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Words(c.text); !slices.Equal(got, c.want) {
				t.Errorf("Words(%q) = %q, want %q", c.text, got, c.want)
			}
		})
	}
}

func TestValue(t *testing.T) {
	for name, c := range map[string]struct {
		text, want string
		ok         bool
	}{
		"none":      {"quiet troy.copys=a xtroy.copy=a", "", false},
		"one":       {"quiet troy.copy=a", "a", true},
		"last":      {"troy.copy=a troy.copy=b\n", "b", true},
		"flag":      {"troy.copy", "", true},
		"commented": {"# troy.copy=a", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := Value(c.text, Copy); got != c.want || ok != c.ok {
				t.Errorf("Value(%q, %q) = %q, %t; want %q, %t", c.text, Copy, got, ok, c.want, c.ok)
			}
		})
	}
}

func TestKeep(t *testing.T) {
	for line, want := range map[string]string{
		"": "",
		"BOOT_IMAGE=/troy/vmlinuz quiet console=ttyS0 troy.server=https://a,https://b\n": "quiet console=ttyS0 troy.server=https://a,https://b",
		"quiet initrd=initramfs.cpio.zst troy.copy=b troy.shell troy.disk=/dev/sdb":      "quiet",
		"quiet BOOTIF=01-52:54:00:12:34:56":                                              "quiet",
		"quiet pci=nomsi troy.ip=10.0.0.7/24 troy.unsigned panic=30":                     "quiet pci=nomsi troy.ip=10.0.0.7/24 troy.unsigned panic=30",
		"troy.disks=1 initrds": "troy.disks=1 initrds",
	} {
		t.Run(line, func(t *testing.T) {
			if got := Keep(line); got != want {
				t.Errorf("Keep(%q) = %q, want %q", line, got, want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct{ line, want string }{
		"none":         {"", ""},
		"usual":        {"quiet console=ttyS0,115200 a=$b&c#d", ""},
		"longest":      {strings.Repeat("x", 2047), ""},
		"too long":     {strings.Repeat("x", 2048), "2048 bytes"},
		"line break":   {"a\nreboot", "not printable ASCII at byte 1"},
		"umlaut":       {"größe", "not printable ASCII at byte 2"},
		"single quote": {"a='b c'", `'\'' at byte 2`},
		"double quote": {`a"b`, `'"' at byte 1`},
		"backslash":    {`a\b`, `'\\' at byte 1`},
	} {
		t.Run(name, func(t *testing.T) {
			err := Check(c.line)
			if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("Check(%q) = %v, want %q", c.line, err, c.want)
			}
		})
	}
}

func TestForGRUB(t *testing.T) {
	const line = "  quiet console=ttyS0,115200  a=$b troy.server=https://[fd00::1]:8443/?a&b#c;d "
	const want = "quiet console=ttyS0,115200 'a=$b' 'troy.server=https://[fd00::1]:8443/?a&b#c;d'"
	if got := ForGRUB(line); got != want {
		t.Errorf("ForGRUB(%q) = %s, want %s", line, got, want)
	}
}
