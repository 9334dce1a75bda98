// Package utf16z reads and writes strings of UTF-16, little-endian, with a NUL at the end, as UEFI
// and the BCD store have them.
package utf16z

import (
	"encoding/binary"
	"unicode/utf16"
)

// Append adds s to b.
func Append(b []byte, s string) []byte {
	for _, u := range utf16.Encode([]rune(s + "\x00")) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// Cut reads the string at the begin of b and tells how many bytes it took, the NUL included; ok is
// false if it has no end.
func Cut(b []byte) (s string, n int, ok bool) {
	var units []uint16
	for ; n+2 <= len(b); n += 2 {
		u := binary.LittleEndian.Uint16(b[n:])
		if u == 0 {
			return string(utf16.Decode(units)), n + 2, true
		}
		units = append(units, u)
	}
	return "", 0, false
}
