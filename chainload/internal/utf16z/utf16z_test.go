package utf16z

import (
	"bytes"
	"testing"
	"unicode/utf8"
)

func TestCut(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want string
		n    int
		ok   bool
	}{
		"empty":       {"\x00\x00rest", "", 2, true},
		"text":        {"a\x00\xe4\x00\x00\x00x", "aä", 6, true},
		"pair":        {"\x3d\xd8\x00\xde\x00\x00", "😀", 6, true},
		"no end":      {"a\x00b\x00", "", 0, false},
		"half a unit": {"a\x00\x00", "", 0, false},
		"nothing":     {"", "", 0, false},
	} {
		if s, n, ok := Cut([]byte(c.in)); s != c.want || n != c.n || ok != c.ok {
			t.Errorf("%s: %q, %d, %v", name, s, n, ok)
		}
	}
}

// FuzzAppend: what was appended comes back.
func FuzzAppend(f *testing.F) {
	f.Add([]byte("before"), `\EFI\Microsoft\Boot\bootmgfw.efi`)
	f.Add([]byte{}, "ä😀")
	f.Fuzz(func(t *testing.T, before []byte, s string) {
		if !utf8.ValidString(s) || bytes.ContainsRune([]byte(s), 0) {
			return
		}
		b := Append(bytes.Clone(before), s)
		if !bytes.HasPrefix(b, before) {
			t.Fatalf("%x lost its begin %x", b, before)
		}
		if got, n, ok := Cut(b[len(before):]); got != s || n != len(b)-len(before) || !ok {
			t.Errorf("%q came back as %q, %d of %d bytes, %v", s, got, n, len(b)-len(before), ok)
		}
	})
}
