// Package blank takes off what surrounds a name or URL that a person, a DHCP server or firmware
// wrote: white space, line ends, NUL bytes and other control characters, a byte order mark.
package blank

import (
	"strings"
	"unicode"
)

// Trim returns s without blanks at both ends. What is inside stays.
func Trim(s string) string { return strings.TrimFunc(s, is) }

// is reports whether r is a blank: it shows nothing and has no place in a name or URL.
func is(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == '\ufeff' }
