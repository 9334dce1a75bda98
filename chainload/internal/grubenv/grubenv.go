// Package grubenv reads and writes GRUB's environment block: 1024 bytes, a
// signature line, lines name=value, filled up with '#' (GRUB manual, 15.2).
// Values need no escapes here, so backslashes and newlines are not written.
package grubenv

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Name of the file in the agent's directory on the ESP.
const Name = "grubenv"

// Next is the variable that says what GRUB starts once, and Windows its value
// for Windows Boot Manager. Other values are names of the agent's copies.
const (
	Next    = "next_entry"
	Windows = "windows"
)

// Direct is the variable that says whether GRUB may start Windows without the agent, and Made how
// often it has done so since that was last allowed: a digit, 0 to MaxMade. Both keep their length,
// so that allowing, counting and taking back change one byte each.
const (
	Direct  = "direct"
	Yes     = "y"
	No      = "n"
	Made    = "made"
	MaxMade = 4
)

// Size of the block, in bytes.
const Size = 1024

const signature = "# GRUB Environment Block\n"

// ErrCorrupt is the class of blocks that break the format.
var ErrCorrupt = errors.New("not an environment block of GRUB")

// New returns a block without variables.
func New() []byte {
	b := bytes.Repeat([]byte{'#'}, Size)
	copy(b, signature)
	return b
}

// lines returns the variables of a block as GRUB reads them, which takes what a cut write left behind
// the signature for text: lines that begin with # are none, a backslash takes the next byte along,
// what has no end of line is none, and a zero ends a name or value. A block that GRUB does not write
// to, because its last line has no end, is ErrCorrupt.
func lines(block []byte) (all []string, err error) {
	if len(block) != Size || !bytes.HasPrefix(block, []byte(signature)) {
		return nil, ErrCorrupt
	}
	rest := strings.TrimRight(string(block[len(signature):]), "#")
	if rest != "" && !strings.HasSuffix(rest, "\n") {
		return nil, ErrCorrupt
	}
	for rest != "" {
		if rest[0] == '#' {
			rest = rest[min(end(rest)+1, len(rest)):]
			continue
		}
		name, value, ok := strings.Cut(rest, "=")
		n := end(value)
		if !ok || n >= len(value) {
			break
		}
		name, _, _ = strings.Cut(name, "\x00")
		text, _, _ := strings.Cut(strings.ReplaceAll(value[:n], "\\", ""), "\x00")
		all, rest = append(all, name+"="+text), value[n+1:]
	}
	return all, nil
}

// end is where a line ends, len(s) where it does not.
func end(s string) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\n':
			return i
		case '\\':
			i++
		}
	}
	return len(s)
}

// plain tells whether a line can be written as it is; what a cut write left is left out.
func plain(l string) bool { return !strings.ContainsAny(l, "\n\\#\x00") }

// Get returns the value of a variable, empty when there is none. Of one that is set twice the last
// counts, as for GRUB.
func Get(block []byte, name string) (string, error) {
	all, err := lines(block)
	if err != nil {
		return "", err
	}
	for _, l := range slices.Backward(all) {
		if value, ok := strings.CutPrefix(l, name+"="); ok {
			return value, nil
		}
	}
	return "", nil
}

// Set returns the block with a variable set, in its place if it has one already, as GRUB does it.
func Set(block []byte, name, value string) ([]byte, error) {
	all, err := lines(block)
	if err != nil {
		return nil, err
	}
	if strings.ContainsAny(name, "=\n\\#") || strings.ContainsAny(value, "\n\\#") {
		return nil, fmt.Errorf("%w: %s=%s cannot be kept", ErrCorrupt, name, value)
	}
	all = slices.DeleteFunc(all, func(l string) bool { return !plain(l) })
	is := func(l string) bool { return strings.HasPrefix(l, name+"=") }
	line := name + "=" + value
	if i := slices.IndexFunc(all, is); i < 0 {
		all = append(all, line)
	} else {
		all[i] = line
		all = append(all[:i+1], slices.DeleteFunc(all[i+1:], is)...)
	}
	text := signature + strings.Join(all, "\n") + "\n"
	if len(text) > Size {
		return nil, fmt.Errorf("%w: no room for %s", ErrCorrupt, name)
	}
	return append([]byte(text), bytes.Repeat([]byte{'#'}, Size-len(text))...), nil
}
