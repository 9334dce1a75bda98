package identity

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrMAC is returned for a text that is no MAC address of one port.
	ErrMAC = errors.New("not a MAC address of one network port, such as 52:54:00:12:34:56")
	// ErrUUID is returned for a text that is no UUID.
	ErrUUID = errors.New("not a UUID, such as 4c4c4544-0000-1000-8000-000000000001")
)

// MACPattern and UUIDPattern are what ParseMAC and ParseUUID read, for a JSON schema.
const (
	MACPattern  = `^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$|^[0-9A-Fa-f]{4}([.:-][0-9A-Fa-f]{4}){2}$|^[0-9A-Fa-f]{6}[:-]?[0-9A-Fa-f]{6}$`
	UUIDPattern = `^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$|^\{[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\}$|^[0-9A-Fa-f]{32}$`
)

// ParseMAC reads a MAC address in any usual notation (00:11:22:33:44:55, 00-11-22-33-44-55,
// 0011.2233.4455, 001122-334455, 001122334455, in any case) and spells it in lower case with
// colons. Addresses of groups, and those of one repeated byte, belong to no port.
func ParseMAC(s string) (string, error) {
	b, ok := digits(s, ":-.", 2, 4, 6, 12)
	if !ok || len(b) != 6 || alike(b) || b[0]&1 != 0 {
		return "", fmt.Errorf("%.60q is %w", s, ErrMAC)
	}
	text := make([]string, len(b))
	for i, x := range b {
		text[i] = hex.EncodeToString([]byte{x})
	}
	return strings.Join(text, ":"), nil
}

// digits decodes hex that one separator, if any, cuts into groups of the same length.
func digits(s, separators string, groups ...int) ([]byte, bool) {
	parts := []string{s}
	if i := strings.IndexAny(s, separators); i >= 0 {
		parts = strings.Split(s, s[i:i+1])
	}
	for _, p := range parts {
		if len(p) != len(parts[0]) {
			return nil, false
		}
	}
	for _, n := range groups {
		if len(parts[0]) == n {
			b, err := hex.DecodeString(strings.Join(parts, ""))
			return b, err == nil
		}
	}
	return nil, false
}

// ParseUUID reads a UUID in any case, with or without braces and dashes, and spells it in lower
// case with dashes, in the byte order in which it came; FoldUUID makes it comparable.
func ParseUUID(s string) (string, error) {
	t := s
	if strings.HasPrefix(t, "{") && strings.HasSuffix(t, "}") {
		t = t[1 : len(t)-1]
	}
	if len(t) == 36 && t[8] == '-' && t[13] == '-' && t[18] == '-' && t[23] == '-' {
		t = t[:8] + t[9:13] + t[14:18] + t[19:23] + t[24:]
	}
	b, err := hex.DecodeString(t)
	if err != nil || len(b) != 16 {
		return "", fmt.Errorf("%.60q is %w", s, ErrUUID)
	}
	return spell(b), nil
}

func spell(b []byte) string {
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// FoldUUID gives one spelling for a UUID in both byte orders: firmware, Windows and network boot
// disagree about that of the first three fields. s is spelled as ParseUUID does.
func FoldUUID(s string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 {
		return s
	}
	b[0], b[1], b[2], b[3] = b[3], b[2], b[1], b[0]
	b[4], b[5], b[6], b[7] = b[5], b[4], b[7], b[6]
	return min(s, spell(b))
}

// Fold reads a MAC address or a UUID, and gives the one spelling by which it is compared; ok is
// false for what is neither, or belongs to no machine in particular.
func Fold(s string) (folded string, ok bool) {
	if mac, err := ParseMAC(s); err == nil {
		return mac, true
	}
	id, err := ParseUUID(s)
	if err != nil || Placeholder(id) {
		return "", false
	}
	return FoldUUID(id), true
}

// placeholders are UUIDs that makers leave in boards, besides those of one repeated byte.
var placeholders = [...]string{
	"03000200-0400-0500-0006-000700080009",
	"00010203-0405-0607-0809-0a0b0c0d0e0f",
	"01234567-89ab-cdef-0123-456789abcdef",
	"12345678-1234-5678-90ab-cddeefaabbcc",
	"4c4c4544-0000-2010-8020-80c04f202020", // a Dell board without a service tag
	"6ab5b300-538d-1014-9fb5-b0684d007b53",
	"deadbeef-dead-beef-dead-beefdeadbeef",
}

// Placeholder tells whether a UUID, spelled as ParseUUID does, is one that many boards share.
func Placeholder(id string) bool {
	b, err := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
	if err != nil || alike(b) {
		return true
	}
	for _, p := range placeholders {
		if FoldUUID(p) == FoldUUID(id) {
			return true
		}
	}
	return false
}

func alike(b []byte) bool { return len(b) == 0 || bytes.Count(b, b[:1]) == len(b) }
