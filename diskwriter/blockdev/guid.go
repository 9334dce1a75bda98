package blockdev

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// GUID is an EFI GUID in the byte order of the disk: the first three fields are
// little-endian (UEFI 2.10, appendix A).
type GUID [16]byte

// String returns the lower-case text form without braces.
func (g GUID) String() string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(g[0:]),
		binary.LittleEndian.Uint16(g[4:]), binary.LittleEndian.Uint16(g[6:]), g[8:10], g[10:])
}

// IsZero reports whether g is all zeros, which marks an unused entry in a GPT.
func (g GUID) IsZero() bool { return g == GUID{} }

// MarshalText returns the same text as String, so that a GUID in JSON is readable.
func (g GUID) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText is the reverse of MarshalText; it accepts what ParseGUID accepts.
func (g *GUID) UnmarshalText(b []byte) error {
	v, err := ParseGUID(string(b))
	if err == nil {
		*g = v
	}
	return err
}

// ParseGUID reads the text form, in any case, with or without braces.
func ParseGUID(s string) (GUID, error) {
	var g GUID
	t := strings.TrimSuffix(strings.TrimPrefix(s, "{"), "}")
	if len(t) != 36 || t[8] != '-' || t[13] != '-' || t[18] != '-' || t[23] != '-' {
		return g, fmt.Errorf("%q is not a GUID", s)
	}
	b, err := hex.DecodeString(t[:8] + t[9:13] + t[14:18] + t[19:23] + t[24:])
	if err != nil {
		return g, fmt.Errorf("%q is not a GUID: %w", s, err)
	}
	binary.LittleEndian.PutUint32(g[0:], binary.BigEndian.Uint32(b[0:]))
	binary.LittleEndian.PutUint16(g[4:], binary.BigEndian.Uint16(b[4:]))
	binary.LittleEndian.PutUint16(g[6:], binary.BigEndian.Uint16(b[6:]))
	copy(g[8:], b[8:])
	return g, nil
}

// mustGUID makes the package's own constants; their text is tested.
func mustGUID(s string) GUID {
	g, _ := ParseGUID(s)
	return g
}

// Partition type GUIDs that Windows and UEFI use.
var (
	TypeESP         = mustGUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b") // EFI system partition
	TypeMSR         = mustGUID("e3c9e316-0b5c-4db8-817d-f92df00215ae") // Microsoft reserved
	TypeBasicData   = mustGUID("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7") // Windows data volume
	TypeWinRecovery = mustGUID("de94bba4-06d1-4d40-a16a-bfd50179d6ac") // Windows recovery
)

// AttrNoDriveLetter is the attribute bit of a basic data partition that keeps
// Windows from giving it a drive letter.
const AttrNoDriveLetter uint64 = 1 << 63
