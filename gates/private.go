package gates

import (
	"net/netip"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxLine is the most bytes of a text in a result file.
const MaxLine = 300

// pattern is a kind of text that tells one PC or person from another.
type pattern struct {
	what string // replaces it, in brackets
	is   *regexp.Regexp
	sure func(string) bool // nil: every match is one
	keep string            // what stays in front of the brackets, as in regexp.Expand
}

// patterns are applied in this order: a UUID ends like a MAC address. They are never changed.
var patterns = []pattern{
	{"sid", regexp.MustCompile(`(?i)\bS-1-5-21(-[0-9]+)+`), nil, ""},
	{"uuid", regexp.MustCompile(`(?i)\{?\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b\}?`), nil, ""},
	{"product key", regexp.MustCompile(`\b[A-Z0-9]{5}(-[A-Z0-9]{5}){4}\b`), nil, ""},
	{"mac", regexp.MustCompile(`(?i)\b[0-9a-f]{2}([:-][0-9a-f]{2}){5}\b`), nil, ""},
	{"mac", regexp.MustCompile(`(?i)\b[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}\b`), letterAndDigit, ""},
	{"mac", regexp.MustCompile(`(?i)\b[0-9a-f]{12}\b`), letterAndDigit, ""},
	{"address", regexp.MustCompile(`\b[0-9]{1,3}(\.[0-9]{1,3}){3}\b`), isAddress, ""},
	{"address", regexp.MustCompile(`(?i)[0-9a-f]*(:[0-9a-f]*){2,8}`), isAddress, ""},
	{"mail", regexp.MustCompile(`[^\s@]+@[^\s@]+\.[^\s@]+`), nil, ""},
	{"user", regexp.MustCompile(`(?i)([\\/](users|home|documents and settings)[\\/])([^\\/\[:"|<>*?\r\n]+([\\/])|[^\\/\[:"|<>*?\s]+)`), nil, "$1"},
	{"host", regexp.MustCompile(`(\\\\)[A-Za-z0-9_][^\\\s\[]*`), nil, "$1"},
	{"number", regexp.MustCompile(`(?i)\b((?:serial(?:[ _-]?(?:number|no\.?))?|s/n|service tag|asset tag|product id)\s*(?:[:=#]|is)?\s*)([^\s\[]*[0-9][^\s\[]*)`), nil, "$1"},
}

func letterAndDigit(s string) bool {
	return strings.ContainsAny(s, "abcdefABCDEF") && strings.ContainsAny(s, "0123456789")
}

func isAddress(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && !a.IsUnspecified()
}

func (p *pattern) replace(line string) string {
	var out []byte
	end := 0
	for _, m := range p.is.FindAllStringSubmatchIndex(line, -1) {
		if p.sure != nil && !p.sure(line[m[0]:m[1]]) {
			continue
		}
		out = append(out, line[end:m[0]]...)
		out = p.is.ExpandString(out, p.keep, line, m)
		out = append(append(append(out, '['), p.what...), ']')
		if p.what == "user" && m[8] >= 0 {
			out = append(out, line[m[8]:m[9]]...) // the separator behind the name
		}
		end = m[1]
	}
	return string(append(out, line[end:]...))
}

// Clean makes a line of evidence out of a text: one line of printable characters, at most MaxLine
// bytes, in which what tells one PC or person from another is replaced by its kind in brackets, and
// each of the names by [name].
func Clean(text string, names []string) string {
	line := strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "\ufffd"), unicode.IsControl), " ")
	line = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, line)
	for _, name := range names {
		line = withoutName(line, name)
	}
	for range rounds {
		if line = strings.TrimSpace(short(line)); private(line) == "" {
			return line
		}
		for i := range patterns {
			line = patterns[i].replace(line)
		}
	}
	return "[removed]"
}

// rounds is how often a line is cleaned: cutting it, or what came out of a round, may look like a
// number again.
const rounds = 4

// short cuts a line that is too long between two characters.
func short(line string) string {
	if len(line) <= MaxLine {
		return line
	}
	cut := MaxLine - len("…")
	for !utf8.RuneStart(line[cut]) {
		cut--
	}
	return line[:cut] + "…"
}

// withoutName replaces a name where it is a word of its own.
func withoutName(line, name string) string {
	name = strings.TrimSpace(name)
	if len(name) < 2 {
		return line
	}
	is := regexp.MustCompile(`(?i)(^|[^\pL\pN])` + regexp.QuoteMeta(name) + `($|[^\pL\pN])`)
	for range 2 { // two that share the character between them
		line = is.ReplaceAllString(line, "${1}[name]${2}")
	}
	return line
}

// private tells what kind of thing a text holds that a result file must not; "": none.
func private(text string) string {
	for i := range patterns {
		if patterns[i].replace(text) != text {
			return patterns[i].what
		}
	}
	return ""
}
