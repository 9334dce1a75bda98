// Package grubenv reads and writes GRUB's environment block: 1024 bytes, a
// signature line, lines name=value, filled up with '#' (GRUB manual, 15.2).
// Values need no escapes here, so backslashes and newlines are refused.
package grubenv

import (
	"bytes"
	"errors"
	"fmt"
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

// lines returns the variables of a block as it has them.
func lines(block []byte) ([]string, error) {
	if len(block) != Size || !bytes.HasPrefix(block, []byte(signature)) {
		return nil, ErrCorrupt
	}
	rest := strings.TrimRight(string(block[len(signature):]), "#")
	if rest == "" {
		return nil, nil
	}
	if !strings.HasSuffix(rest, "\n") || strings.Contains(rest, "\\") {
		return nil, ErrCorrupt
	}
	return strings.Split(strings.TrimSuffix(rest, "\n"), "\n"), nil
}

// Get returns the value of a variable, empty when there is none.
func Get(block []byte, name string) (string, error) {
	all, err := lines(block)
	if err != nil {
		return "", err
	}
	for _, l := range all {
		if value, ok := strings.CutPrefix(l, name+"="); ok {
			return value, nil
		}
	}
	return "", nil
}

// Set returns the block with a variable set.
func Set(block []byte, name, value string) ([]byte, error) {
	all, err := lines(block)
	if err != nil {
		return nil, err
	}
	if strings.ContainsAny(name, "=\n\\#") || strings.ContainsAny(value, "\n\\#") {
		return nil, fmt.Errorf("%w: %s=%s cannot be kept", ErrCorrupt, name, value)
	}
	text := signature
	for _, l := range all {
		if !strings.HasPrefix(l, name+"=") {
			text += l + "\n"
		}
	}
	text += name + "=" + value + "\n"
	if len(text) > Size {
		return nil, fmt.Errorf("%w: no room for %s", ErrCorrupt, name)
	}
	return append([]byte(text), bytes.Repeat([]byte{'#'}, Size-len(text))...), nil
}
