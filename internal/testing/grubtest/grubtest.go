// Package grubtest is for tests: what GRUB does with its environment block, by the configuration
// that package selfboot writes. The tests in QEMU show that GRUB does the same.
//
// GRUB reads the block like this (lib/envblk.c of 2.06 and 2.12): behind the signature, lines
// NAME=VALUE; a line that begins with # is none; a backslash takes the next byte along; a value
// without an end of line is none, and neither is what follows; a zero ends names and values. It sets a variable in its place,
// moving what is behind, and writes the whole block, in place; it does not if the last line has no end.
package grubtest

import (
	"bytes"
	"slices"
	"strings"
)

const size = 1024

var signature = []byte("# GRUB Environment Block\n")

// vars reads a block; ok is false if GRUB takes it for none.
func vars(block []byte) (all map[string]string, ok bool) {
	if !bytes.HasPrefix(block, signature) {
		return nil, false
	}
	all = map[string]string{}
	for p := len(signature); p < len(block); p = lineEnd(block, p) + 1 {
		if block[p] == '#' {
			continue
		}
		n := bytes.IndexByte(block[p:], '=')
		if n < 0 {
			break
		}
		end := lineEnd(block, p+n+1)
		if end >= len(block) {
			break
		}
		name, _, _ := strings.Cut(string(block[p:p+n]), "\x00")
		value, _, _ := strings.Cut(strings.ReplaceAll(string(block[p+n+1:end]), `\`, ""), "\x00")
		all[name] = value
		p = end
	}
	return all, true
}

func lineEnd(block []byte, p int) int {
	for p < len(block) && block[p] != '\n' {
		if block[p] == '\\' {
			p++
		}
		p++
	}
	return p
}

// save sets a variable as GRUB does; ok is false if it refuses to.
func save(block []byte, name, value string) (next []byte, ok bool) {
	if !bytes.HasPrefix(block, signature) {
		return nil, false
	}
	used := len(bytes.TrimRight(block, "#"))
	if block[used-1] != '\n' {
		return nil, false
	}
	line := []byte(name + "=" + value + "\n")
	for p := len(signature); p < used; p = lineEnd(block, p) + 1 {
		if bytes.HasPrefix(block[p:], []byte(name+"=")) {
			return fitted(slices.Concat(block[:p], line, block[min(lineEnd(block, p)+1, used):used]))
		}
	}
	return fitted(slices.Concat(block[:used], line))
}

func fitted(text []byte) (block []byte, ok bool) {
	if len(text) > size {
		return nil, false
	}
	return append(text, bytes.Repeat([]byte{'#'}, size-len(text))...), true
}

// Start is a start of a copy of the agent by the firmware.
type Start struct {
	Copy     string // a or b
	Woken    bool   // not by a person
	Key      bool   // Esc was pressed
	ReadOnly bool   // GRUB cannot write the block
}

// What GRUB starts, besides a or b.
const (
	Windows = "windows" // by an order, once
	Direct  = "direct"  // Windows, without the agent
)

// Boot tells what GRUB starts, and what the block is then.
func (s Start) Boot(block []byte) (starts string, after []byte) {
	v, _ := vars(block)
	set := func(name, value string) (ok bool) {
		next, ok := save(block, name, value)
		if ok = ok && !s.ReadOnly; ok {
			block = next
		}
		return ok
	}
	once, made := v["next_entry"], v["made"]
	if once != "" {
		if !set("next_entry", "") || once != Windows && once != other(s.Copy) {
			return s.Copy, block
		}
		return once, block
	}
	i := strings.Index("0123", made)
	if v["direct"] == "y" && len(made) == 1 && i >= 0 && !s.Woken && !s.Key && set("made", "1234"[i:i+1]) {
		return Direct, block
	}
	return s.Copy, block
}

func other(c string) string {
	if c == "a" {
		return "b"
	}
	return "a"
}
