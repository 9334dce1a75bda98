// Package guid is the GUID as Windows and UEFI write it: on the disk the first three fields are
// little-endian (UEFI 2.10, appendix A; MS-DTYP 2.3.4.2), in text they are not.
package guid

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// GUID is a GUID in the byte order of the disk.
type GUID [16]byte

// New returns a random (version 4) GUID.
func New() GUID {
	var g GUID
	rand.Read(g[:]) // never fails (crypto/rand)
	g[7] = g[7]&0x0f | 0x40
	g[8] = g[8]&0x3f | 0x80
	return g
}

// Parse reads xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx in any case, with or without braces.
func Parse(s string) (g GUID, err error) {
	err = g.UnmarshalText([]byte(s))
	return g, err
}

// Must is Parse for the constants of a format: it panics on text that is not a GUID.
func Must(s string) GUID {
	g, err := Parse(s)
	if err != nil {
		panic(err) // a constant of the program, wrong at first run or never
	}
	return g
}

// String returns the GUID in lower case without braces.
func (g GUID) String() string {
	g = swap(g)
	h := hex.EncodeToString(g[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// IsZero reports whether g is the all-zero GUID.
func (g GUID) IsZero() bool { return g == GUID{} }

// MarshalText returns String; JSON shows a GUID as text.
func (g GUID) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText reads what Parse reads; after an error g is as it was.
func (g *GUID) UnmarshalText(text []byte) error {
	t := string(text)
	if strings.HasPrefix(t, "{") && strings.HasSuffix(t, "}") {
		t = t[1 : len(t)-1]
	}
	if len(t) != 36 || t[8] != '-' || t[13] != '-' || t[18] != '-' || t[23] != '-' {
		return fmt.Errorf("%.60q is not a GUID", text)
	}
	b, err := hex.DecodeString(t[:8] + t[9:13] + t[14:18] + t[19:23] + t[24:])
	if err != nil {
		return fmt.Errorf("%.60q is not a GUID", text)
	}
	*g = swap(GUID(b))
	return nil
}

// swap changes between the order of the disk and that of the text.
func swap(g GUID) GUID {
	binary.LittleEndian.PutUint32(g[0:], binary.BigEndian.Uint32(g[0:]))
	binary.LittleEndian.PutUint16(g[4:], binary.BigEndian.Uint16(g[4:]))
	binary.LittleEndian.PutUint16(g[6:], binary.BigEndian.Uint16(g[6:]))
	return g
}
