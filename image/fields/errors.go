package fields

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrNoField: the version has no place for a value that is to be written.
	ErrNoField = errors.New("the version has no such field")
	// ErrRoom: a value is longer than its place.
	ErrRoom = errors.New("the value does not fit its field")
	// ErrIllegal: Windows could not use a value.
	ErrIllegal = errors.New("illegal value")
	// ErrNotPrivate: a value is a secret, and every user of the PC could read it in its place.
	ErrNotPrivate = errors.New("users of the PC could read the secret")
)

// NoFieldError names the field that a version lacks. It unwraps to ErrNoField.
type NoFieldError struct {
	Name string
	// Slot is the element that an answer file lacks, "" if the field itself is missing.
	Slot string
}

// Error names what is missing and where the reason is found.
func (e *NoFieldError) Error() string {
	if e.Slot != "" {
		return fmt.Sprintf("the answer file of the version has no element %s to fill", e.Slot)
	}
	return fmt.Sprintf("the version has no field %s ('troy image show' says why)", e.Name)
}

// Unwrap returns ErrNoField.
func (e *NoFieldError) Unwrap() error { return ErrNoField }

// RoomError has the numbers of a value that is too long. It unwraps to ErrRoom.
type RoomError struct {
	Name, Where string
	Need, Room  int64 // bytes
}

// Error names the field, the place and the numbers.
func (e *RoomError) Error() string {
	return fmt.Sprintf("%s needs %d bytes in %s, which has room for %d", e.Name, e.Need, e.Where, e.Room)
}

// Unwrap returns ErrRoom.
func (e *RoomError) Unwrap() error { return ErrRoom }

// ValueError says why a value cannot be used. It unwraps to ErrIllegal.
type ValueError struct{ Name, Reason string }

// Error names the field and the reason.
func (e *ValueError) Error() string { return e.Name + ": " + e.Reason }

// Unwrap returns ErrIllegal.
func (e *ValueError) Unwrap() error { return ErrIllegal }

// NotPrivateError names a place for a secret that is not private. It unwraps to ErrNotPrivate.
type NotPrivateError struct{ Name, Where string }

// Error names the field, the place, and for a file what mends it.
func (e *NotPrivateError) Error() string {
	if !strings.HasPrefix(e.Where, `\`) {
		return fmt.Sprintf("%s takes no secret: users of the PC can read %s", e.Name, e.Where)
	}
	return fmt.Sprintf("%s takes no secret: users of the PC can read it; run '%s' in the Windows of the image and publish the next version", e.Name, Mend(e.Where))
}

// Unwrap returns ErrNotPrivate.
func (e *NotPrivateError) Unwrap() error { return ErrNotPrivate }

// Mend is the command by which an administrator lets nobody else read a file of C: in Windows.
func Mend(path string) string {
	return "icacls C:" + path + " /inheritance:r /grant:r *S-1-5-18:F *S-1-5-32-544:F"
}
