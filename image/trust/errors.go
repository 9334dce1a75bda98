package trust

import (
	"errors"
	"fmt"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

var (
	// ErrUntrusted is the class of everything that a Client refuses; the errors below are in it.
	ErrUntrusted = errors.New("trust: refused")
	// ErrExpired: signed correctly, but too long ago. A clock that is wrong looks the same.
	ErrExpired = errors.New("expired")
	// ErrRollback: signed correctly, but older than what was trusted before, or not what belongs
	// together.
	ErrRollback = errors.New("older than or other than what belongs there")
	// ErrSignature: not signed by the keys that are trusted for it.
	ErrSignature = errors.New("not signed by a trusted key")
	// ErrContent: length or hash is not what was signed, or nothing of that name was signed.
	ErrContent = errors.New("not what was signed")
	// ErrPermit: what is done only by the admin's permit, without one that is for this machine and in
	// force.
	ErrPermit = errors.New("no signed permit")
)

// RefusedError says which document of which source was refused. It unwraps to ErrUntrusted, to one
// of the errors below it where the cause is known, and to the cause.
type RefusedError struct {
	// Source is the source as it names itself, Name the document.
	Source, Name string
	// Class is ErrExpired, ErrRollback, ErrSignature, ErrContent, ErrPermit or nil.
	Class error
	// Err is the cause, may be nil.
	Err error
}

// Error returns one line.
func (e *RefusedError) Error() string {
	parts := []string{fmt.Sprintf("trust: %s from %s refused", e.Name, e.Source)}
	for _, err := range []error{e.Class, e.Err} {
		if err != nil {
			parts = append(parts, strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	return strings.Join(parts, ": ")
}

// Unwrap returns the classes and the cause.
func (e *RefusedError) Unwrap() []error {
	list := []error{ErrUntrusted}
	for _, err := range []error{e.Class, e.Err} {
		if err != nil {
			list = append(list, err)
		}
	}
	return list
}

// classOf sorts the errors of go-tuf.
func classOf(err error) error {
	for _, c := range []struct{ tuf, class error }{
		{&metadata.ErrExpiredMetadata{}, ErrExpired},
		{&metadata.ErrBadVersionNumber{}, ErrRollback},
		{&metadata.ErrUnsignedMetadata{}, ErrSignature},
		{&metadata.ErrLengthOrHashMismatch{}, ErrContent},
	} {
		if errors.Is(err, c.tuf) {
			return c.class
		}
	}
	return nil
}
