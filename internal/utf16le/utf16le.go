// Package utf16le turns strings into little-endian UTF-16 and back without loss. Windows accepts
// surrogates without a partner in names and paths; a string holds each of them as the three bytes
// that the scheme of UTF-8 gives it, which are not valid UTF-8.
package utf16le

import (
	"bytes"
	"encoding/binary"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// Append adds s to b.
func Append(b []byte, s string) []byte {
	for _, u := range Units(s) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// Units returns the UTF-16 units of s. Other bytes that are not UTF-8 become U+FFFD.
func Units(s string) []uint16 {
	units := make([]uint16, 0, len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			if u, ok := surrogate(s[i:]); ok {
				r, n = u, 3
			}
		}
		if utf16.IsSurrogate(r) {
			units = append(units, uint16(r))
		} else {
			units = utf16.AppendRune(units, r)
		}
		i += n
	}
	return units
}

// surrogate returns the surrogate that s begins with.
func surrogate(s string) (rune, bool) {
	if len(s) < 3 || s[0] != 0xed || s[1] < 0xa0 || s[1] > 0xbf || s[2] < 0x80 || s[2] > 0xbf {
		return 0, false
	}
	return 0xd000 | rune(s[1]&0x3f)<<6 | rune(s[2]&0x3f), true
}

// String returns the string that b holds. An odd last byte is left out.
func String(b []byte) string {
	s := make([]byte, 0, len(b))
	for len(b) >= 2 {
		r := rune(binary.LittleEndian.Uint16(b))
		b = b[2:]
		if utf16.IsSurrogate(r) && len(b) >= 2 {
			if p := utf16.DecodeRune(r, rune(binary.LittleEndian.Uint16(b))); p != utf8.RuneError {
				r, b = p, b[2:]
			}
		}
		if utf16.IsSurrogate(r) {
			s = append(s, 0xe0|byte(r>>12), 0x80|byte(r>>6)&0xbf, 0x80|byte(r)&0xbf)
			continue
		}
		s = utf8.AppendRune(s, r)
	}
	return string(s)
}

// Plain turns a text file as editors of Windows write it into UTF-8 without a byte order mark: one
// in UTF-16 of either order, or in UTF-8, with that mark. Another one is given back as it is.
func Plain(b []byte) []byte {
	switch {
	case bytes.HasPrefix(b, []byte{0xff, 0xfe}):
		return []byte(String(b[2:]))
	case bytes.HasPrefix(b, []byte{0xfe, 0xff}):
		swapped := slices.Clone(b[2:])
		for i := 1; i < len(swapped); i += 2 {
			swapped[i-1], swapped[i] = swapped[i], swapped[i-1]
		}
		return []byte(String(swapped))
	}
	return bytes.TrimPrefix(b, []byte("\ufeff"))
}
