package sign

import "errors"

var (
	// ErrUnsigned is returned by Open for a store that has no metadata.
	ErrUnsigned = errors.New("trust: the store is not signed")
	// ErrExists is returned by Init when there is metadata, or a key that would be overwritten.
	ErrExists = errors.New("trust: exists already")
	// ErrKey is returned when a signing key is not there, is not the one that the root metadata
	// names, or does not open with the passphrase.
	ErrKey = errors.New("trust: signing key")
	// ErrRepository is returned when the metadata of the admin's own store cannot be read.
	ErrRepository = errors.New("trust: the store's metadata is damaged")
)
