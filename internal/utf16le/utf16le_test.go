package utf16le

import (
	"bytes"
	"testing"
)

func TestString(t *testing.T) {
	for name, tc := range map[string]struct {
		b string
		s string
	}{
		"nothing":              {"", ""},
		"text":                 {"a\x00\xe4\x00\x00\x00", "aä\x00"},
		"pair":                 {"\x3d\xd8\x00\xde", "😀"},
		"high surrogate alone": {"\x3d\xd8a\x00", "\xed\xa0\xbda"},
		"high at the end":      {"a\x00\xff\xdb", "a\xed\xaf\xbf"},
		"low surrogate alone":  {"\x00\xdea\x00", "\xed\xb8\x80a"},
		"low before high":      {"\x00\xde\x3d\xd8", "\xed\xb8\x80\xed\xa0\xbd"},
		"high before a pair":   {"\x3d\xd8\x3d\xd8\x00\xde", "\xed\xa0\xbd😀"},
		"replacement":          {"\xfd\xff", "\ufffd"},
	} {
		t.Run(name, func(t *testing.T) {
			if s := String([]byte(tc.b)); s != tc.s {
				t.Errorf("String(%x) = %q, want %q", tc.b, s, tc.s)
			}
			if b := Append([]byte("before"), tc.s); string(b) != "before"+tc.b {
				t.Errorf("Append(%q) = %x, want %x", tc.s, b, tc.b)
			}
		})
	}
	if b := Append(nil, "\xff\xed\xa0"); !bytes.Equal(b, bytes.Repeat([]byte{0xfd, 0xff}, 3)) {
		t.Errorf("bytes that are no text become %x", b)
	}
}

// FuzzString: every sequence of units comes back.
func FuzzString(f *testing.F) {
	f.Add([]byte("\x3d\xd8\x00\xde\x00\xde\x3d\xd8a\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := Append(nil, String(b)); !bytes.Equal(got, b[:len(b)&^1]) {
			t.Fatalf("%x becomes %x", b, got)
		}
	})
}
