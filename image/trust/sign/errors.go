package sign

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrUnsigned is returned by Open for a store that has no metadata.
	ErrUnsigned = errors.New("trust: the store is not signed")
	// ErrExists is returned by Init when there is metadata, or a key that would be overwritten.
	ErrExists = errors.New("trust: exists already")
	// ErrKey is returned when a signing key is not there, is not the one that the root metadata
	// names, or does not open with the passphrase.
	ErrKey = errors.New("trust: signing key")
	// ErrNoTrust is returned where the folder of the admin key does not say what was trusted last.
	ErrNoTrust = errors.New("trust: nothing says which root to trust")
	// ErrDoubt is returned when the folder of the store is not what the admin key signed. Nothing
	// is signed or given out then; Rotate puts the folder back.
	ErrDoubt = errors.New("trust: the store is not what was signed")
	// ErrMissing is returned by SignAll for an image that is signed and that the store lacks as a
	// whole: an empty folder is what is left where its file system is not mounted.
	ErrMissing = errors.New("trust: missing")
	// ErrRefused is returned when the admin did not want to sign what was shown.
	ErrRefused = errors.New("trust: not signed")
)

// doubt makes an error an ErrDoubt, which it may be already.
func doubt(err error) error {
	if errors.Is(err, ErrDoubt) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDoubt, err)
}

// UnaskedError says what a signing would have signed, or left out, that its caller did not ask for.
// It is an ErrDoubt.
type UnaskedError struct {
	// Store is the folder.
	Store string
	// Differences are between what the caller asked for and what the store holds.
	Differences []Difference
}

// Error returns one line.
func (e *UnaskedError) Error() string {
	const most = 4
	var list []string
	for _, d := range e.Differences[:min(len(e.Differences), most)] {
		list = append(list, d.String())
	}
	if more := len(e.Differences) - most; more > 0 {
		list = append(list, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("%v: %s differs from it: %s", ErrDoubt, e.Store, strings.Join(list, "; "))
}

// Unwrap returns the class.
func (e *UnaskedError) Unwrap() error { return ErrDoubt }
