// Package digest is a SHA-256 that documents can hold.
package digest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// Sum is a SHA-256. As text it is 64 lower-case hex digits.
type Sum [sha256.Size]byte

// String returns the 64 lower-case hex digits.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// MarshalText returns the 64 lower-case hex digits.
func (s Sum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads 64 lower-case hex digits and nothing else: each sum has one spelling.
func (s *Sum) UnmarshalText(b []byte) error {
	var read Sum
	if len(b) != hex.EncodedLen(len(s)) {
		return fmt.Errorf("a SHA-256 has 64 hex digits, found %d characters", len(b))
	}
	if _, err := hex.Decode(read[:], b); err != nil {
		return err
	}
	if read.String() != string(b) {
		return errors.New("SHA-256 is not in lower case")
	}
	*s = read
	return nil
}
