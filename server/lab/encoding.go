package lab

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// encoding finds the first byte that is not UTF-8: in a comment, too, where the parser passes it
// over.
func (d *decoder) encoding(b []byte) *Error {
	if len(b) > 1 && (b[0] == 0) != (b[1] == 0) {
		return &Error{File: d.file, Line: 1, Column: 1, Found: "UTF-16 without a byte order mark", Expected: "UTF-8, or UTF-16 with one: save the file as UTF-8"}
	}
	line := 0
	for text := range bytes.Lines(b) {
		line++
		for at := 0; at < len(text); {
			r, n := utf8.DecodeRune(text[at:])
			if r == utf8.RuneError && n == 1 {
				return &Error{File: d.file, Line: line, Column: utf8.RuneCount(text[:at]) + 1, Found: fmt.Sprintf("the byte 0x%02x", text[at]), Expected: "UTF-8"}
			}
			at += n
		}
	}
	return nil
}

// tab finds the first line that is indented by a tab, which YAML does not take.
func (d *decoder) tab(b []byte) *Error {
	line := 0
	for text := range strings.Lines(string(b)) {
		line++
		if indent := text[:len(text)-len(strings.TrimLeft(text, " \t"))]; strings.Contains(indent, "\t") {
			return &Error{File: d.file, Line: line, Column: strings.Index(indent, "\t") + 1, Found: "a tab", Expected: "spaces: YAML takes no tab before a key"}
		}
	}
	return nil
}
