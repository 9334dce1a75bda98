// Package kernelargs reads and filters kernel arguments: what the kernel command line and the
// media's config file say, which arguments pass through the boot loaders, and which are worth
// handing on to the next start.
package kernelargs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrInvalid is the class of arguments that do not arrive at the kernel as they were written.
var ErrInvalid = errors.New("kernel arguments not usable")

// Arguments that belong to one start only.
const (
	Copy  = "troy.copy"  // which of the agent's copies on the ESP runs; GRUB on the ESP adds it
	Disk  = "troy.disk"  // work on this disk only
	Shell = "troy.shell" // stop in a shell
	Port  = "BOOTIF"     // by which network port the firmware loaded; boot loaders add it
)

// maxLine is COMMAND_LINE_SIZE of x86 less the final NUL.
const maxLine = 2047

// Words splits text as the kernel does: at white space, double quotes keep a word together and are
// removed. For files a "#" at the beginning of a word makes the rest of its line a comment.
func Words(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		all = append(all, lineWords(line)...)
	}
	return all
}

func lineWords(line string) []string {
	var all []string
	var word strings.Builder
	quoted := false
	end := func() {
		if word.Len() > 0 {
			all = append(all, word.String())
			word.Reset()
		}
	}
	for _, r := range line {
		switch {
		case r == '"':
			quoted = !quoted
		case !quoted && strings.ContainsRune(" \t\r\n\x00", r):
			end()
		case !quoted && r == '#' && word.Len() == 0:
			return all
		default:
			word.WriteRune(r)
		}
	}
	end()
	return all
}

// Value returns the value of the last word of text with that key: "" for a word without "=". ok is
// false if there is none.
func Value(text, key string) (value string, ok bool) {
	for _, word := range Words(text) {
		if k, v, _ := strings.Cut(word, "="); k == key {
			value, ok = v, true
		}
	}
	return value, ok
}

// Keep returns what the next start needs of the command line of a running kernel. What boot loaders
// add is dropped, and what a person adds for one start. The rest may be what this kind of machine
// needs to start at all.
func Keep(line string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(line), func(word string) bool {
		key, _, _ := strings.Cut(word, "=")
		return slices.Contains([]string{"BOOT_IMAGE", "initrd", Copy, Disk, Shell, Port}, key)
	}), " ")
}

// OfThisStart returns the words of a running kernel's command line that were not kept from an
// earlier start: those behind the one that GRUB on the ESP adds to the kept ones. A line without
// that word is all of this start.
func OfThisStart(line string) string {
	words := strings.Fields(line)
	for i, word := range slices.Backward(words) {
		if key, _, _ := strings.Cut(word, "="); key == Copy {
			words = words[i+1:]
			break
		}
	}
	return strings.Join(words, " ")
}

// Check returns an ErrInvalid unless all boot loaders hand the line on to the kernel as it is.
func Check(line string) error {
	if len(line) > maxLine {
		return fmt.Errorf("%w: %d bytes, the kernel takes %d", ErrInvalid, len(line), maxLine)
	}
	for i, r := range line {
		if r < ' ' || r > '~' {
			return fmt.Errorf("%w: not printable ASCII at byte %d", ErrInvalid, i)
		}
		if strings.ContainsRune(`'"\`, r) {
			return fmt.Errorf("%w: %q at byte %d: quotes and backslashes do not pass through the boot loader", ErrInvalid, r, i)
		}
	}
	return nil
}

// safe are the characters that mean nothing to GRUB.
const safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._=,:/@+-"

// Plain reports whether text has only characters that mean nothing to GRUB.
func Plain(text string) bool { return strings.Trim(text, safe) == "" }

// ForGRUB writes a line that Check takes for GRUB's configuration: it quotes each word that has a
// character GRUB would interpret.
func ForGRUB(line string) string {
	words := strings.Fields(line)
	for i, w := range words {
		if !Plain(w) {
			words[i] = "'" + w + "'"
		}
	}
	return strings.Join(words, " ")
}
