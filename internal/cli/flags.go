package cli

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Size is a flag that takes a number of bytes with a binary suffix.
type Size int64

// String implements flag.Value.
func (s *Size) String() string { return strconv.FormatInt(int64(*s), 10) }

// Set implements flag.Value.
func (s *Size) Set(text string) error {
	digits, shift := text, 0
	if n := len(text); n > 0 {
		if i := strings.IndexByte("KMGT", text[n-1]&^0x20); i >= 0 {
			digits, shift = text[:n-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n == 0 || n > math.MaxInt64>>shift {
		return errors.New("want a number of bytes, with K, M, G or T for binary multiples")
	}
	*s = Size(n << shift)
	return nil
}

// Type is the word for the value in a command's help.
func (s *Size) Type() string { return "size" }

// List is a flag that may be given several times.
type List []string

// String implements flag.Value.
func (l *List) String() string { return strings.Join(*l, " ") }

// Set implements flag.Value.
func (l *List) Set(s string) error {
	*l = append(*l, s)
	return nil
}

// Type is the word for the value in a command's help.
func (l *List) Type() string { return "text" }
