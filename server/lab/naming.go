package lab

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"strconv"
	"strings"

	"troy/image/fields"
	"troy/server/protocol"
)

// Identity says whether machines get in Windows what is their own.
type Identity string

// Identity policies.
const (
	IdentityOff      Identity = "off"
	IdentityWanted   Identity = "wanted"   // what the version has a place for
	IdentityRequired Identity = "required" // a version without a place for all is not installed
)

func (v *Identity) parse(s string) error {
	*v = Identity(s)
	return oneOf(s, "off", "wanted", "required")
}
func (*Identity) want() string           { return "off, wanted or required" }
func (*Identity) schema() map[string]any { return enum("off", "wanted", "required") }

// Placeholders of patterns and of paths.
const (
	placeHost   = "{host}"
	placeRoom   = "{room}"
	placeNumber = "{number}" // the digits at the end of the host's name
)

// defaultPCName is the Pattern of rooms that have none.
const defaultPCName Pattern = placeHost

// Pattern gives names for Windows.
type Pattern string

var patternPattern = regexp.MustCompile(`^(?:[A-Za-z0-9-]|\{(?:host|room|number)\}){1,64}$`)

func (p *Pattern) parse(s string) error { *p = Pattern(s); return match(patternPattern, s) }
func (*Pattern) want() string {
	return `letters, digits, dashes and the placeholders {host}, {room}, {number} (the digits at the end of the host's name), in quotes`
}
func (*Pattern) schema() map[string]any { return pattern(patternPattern.String()) }

// varies says whether the pattern gives each machine of a room another name.
func (p Pattern) varies() bool {
	return strings.Contains(string(p), placeHost) || strings.Contains(string(p), placeNumber)
}

// Setting is the name of a number of the registry, see package fields.
type Setting string

func (v *Setting) parse(s string) error { *v = Setting(s); return oneOf(s, fields.Settings()...) }
func (*Setting) want() string           { return "one of " + strings.Join(fields.Settings(), ", ") }
func (*Setting) schema() map[string]any {
	var words []any
	for _, s := range fields.Settings() {
		words = append(words, s)
	}
	return enum(words...)
}

// Number is what a Setting gets.
type Number uint32

func (v *Number) parse(s string) error {
	n, err := strconv.ParseUint(s, 10, 32)
	*v = Number(n)
	return err
}
func (*Number) want() string {
	return fmt.Sprintf("a whole number from 0 to %d", uint32(math.MaxUint32))
}
func (*Number) schema() map[string]any {
	return map[string]any{"type": "integer", "minimum": 0, "maximum": uint32(math.MaxUint32)}
}

// Key names a value: a member of machine.json, or with slashes an element of the answer file.
type Key string

var keyPattern = regexp.MustCompile(`^(?:[^/\x00-\x1f]{1,128}|(?:specialize|oobeSystem)(?:/[^/\x00-\x1f]{1,128}){2,})$`)

func (v *Key) parse(s string) error {
	*v = Key(s)
	id := protocol.Identity{Values: []protocol.Value{{Key: s}}}
	if s == fields.NameSlot || id.Validate() != nil {
		return errWrong
	}
	return match(keyPattern, s)
}
func (*Key) want() string {
	return "a member of machine.json, without a slash; or an element of the answer file, such as specialize/Microsoft-Windows-Shell-Setup/RegisteredOwner (but ComputerName there is pc_name)"
}
func (*Key) schema() map[string]any { return pattern(keyPattern.String()) }

// Text is a value.
type Text string

func (v *Text) parse(s string) error {
	*v = Text(s)
	id := protocol.Identity{Values: []protocol.Value{{Key: "x", Text: s}}}
	return id.Validate()
}
func (*Text) want() string {
	return fmt.Sprintf("a text of at most %d bytes without control characters, in quotes if it looks like a number", protocol.MaxValue)
}
func (*Text) schema() map[string]any {
	return map[string]any{"type": "string", "maxLength": protocol.MaxValue}
}

// Path is the file of a secret: absolute, or relative to the folder of lab.yaml.
type Path string

var pathPattern = regexp.MustCompile(`^(?:[^{}\x00-\x1f]|\{(?:host|room|number)\}){1,256}$`)

func (p *Path) parse(s string) error { *p = Path(s); return match(pathPattern, s) }
func (*Path) want() string {
	return "the path of a file, from the folder of lab.yaml; with {host}, {room} or {number} (the digits at the end of the host's name) in quotes"
}
func (*Path) schema() map[string]any { return pattern(pathPattern.String()) }

// expand puts the place of a machine into a pattern or path; ok is false where it wants a number
// and the name ends in none.
func expand(text, room, host string) (string, bool) {
	number := host[len(strings.TrimRight(host, "0123456789")):]
	ok := number != "" || !strings.Contains(text, placeNumber)
	return strings.NewReplacer(placeHost, host, placeRoom, room, placeNumber, number).Replace(text), ok
}

// merged is a map with what it lacks of the one below.
func merged[K comparable, V any](m, below map[K]V) map[K]V {
	switch {
	case len(below) == 0:
		return m
	case len(m) == 0:
		return below
	}
	all := maps.Clone(below)
	maps.Copy(all, m)
	return all
}
