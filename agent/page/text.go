package page

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/unicode/norm"
)

// most bounds a text in bytes, before it is looked at: no page shows as much.
const most = 4 << 10

// like are characters that have no parts, and look like others.
var like = map[rune]string{
	'ł': "l", 'Ł': "L", 'đ': "d", 'Đ': "D", 'ø': "o", 'Ø': "O", 'œ': "oe", 'Œ': "OE", 'ẞ': "SS",
	'‘': "'", '’': "'", '‚': "'", '“': `"`, '”': `"`, '„': `"`, '–': "-", '—': "-", '‐': "-", '‑': "-", '€': "EUR",
}

// Text makes of what somebody else said one that a console shows: one line of characters of its
// font.
func Text(s string) string {
	if len(s) > most {
		s = s[:most]
	}
	var b strings.Builder
	for _, r := range norm.NFC.String(strings.ToValidUTF8(s, "?")) {
		b.WriteString(glyph(r))
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// glyph is what the font has in place of a character.
func glyph(r rune) string {
	switch {
	case unicode.IsSpace(r):
		return " "
	case shows(r):
		return string(r)
	case like[r] != "":
		return like[r]
	case unicode.Is(unicode.Mn, r): // of the character before it
		return ""
	}
	var parts strings.Builder
	for _, p := range norm.NFKD.String(string(r)) {
		if shows(p) {
			parts.WriteRune(p)
		}
	}
	if text := strings.TrimSpace(parts.String()); text != "" {
		return text
	}
	return "?"
}

// shows tells whether the font has a character.
func shows(r rune) bool {
	if r < ' ' || r == 0x7f || unicode.IsControl(r) {
		return false
	}
	_, ok := charmap.CodePage437.EncodeRune(r)
	return ok
}

func length(s string) int { return utf8.RuneCountInString(s) }

// cut shortens a line to so many characters.
func cut(s string, width int) string {
	if length(s) <= width {
		return s
	}
	const dots = "..."
	return strings.TrimRight(string([]rune(s)[:max(width-len(dots), 0)]), " ") + dots[:min(len(dots), width)]
}

// line is a text of one line as long as there is room for.
func line(s string) string { return cut(Text(s), inner) }

// wrap breaks a text at spaces into lines of so many characters, and cuts what is over.
func wrap(s string, width, most int) []string {
	words := strings.Fields(Text(s))
	var lines []string
	now := ""
	for _, w := range words {
		for length(w) > width { // no space to break at
			if now != "" {
				lines, now = append(lines, now), ""
			}
			lines, w = append(lines, string([]rune(w)[:width])), string([]rune(w)[width:])
		}
		switch {
		case now == "":
			now = w
		case length(now)+1+length(w) <= width:
			now += " " + w
		default:
			lines, now = append(lines, now), w
		}
	}
	if now != "" {
		lines = append(lines, now)
	}
	if len(lines) > most {
		last := lines[most-1] + "..."
		if length(last) > width {
			last = cut(lines[most-1]+"....", width)
		}
		lines = append(lines[:most-1], last)
	}
	return lines
}
