package netfetch

import "context"

// Source gives ranges of named objects. It is the seam between what is
// fetched and how: HTTP is the first implementation, Mirrors and Limiter.Wrap
// decorate any other, a swarm can be a third without a change elsewhere.
//
// The bytes are claims. Nothing in this package knows their hashes: the caller checks them and can
// report wrong ones through Rejecter.
type Source interface {
	// ReadRange returns exactly n bytes of the object name, starting at byte off, or an error and the
	// first of these bytes, as many as came. It is safe for concurrent use.
	ReadRange(ctx context.Context, name string, off, n int64) ([]byte, error)

	// String names the source for a person (a URL, a list of mirrors); it contains no secrets.
	String() string
}

// Documents is a Source that also returns whole small documents, whose length the reader cannot
// know beforehand. HTTP is one; Mirrors and what Limiter.Wrap returns are, if their sources are.
// Use a type assertion.
type Documents interface {
	// Get returns the whole document name, or an error (ErrTooLarge if it is
	// longer than max bytes).
	Get(ctx context.Context, name string, max int64) ([]byte, error)
}

// Caller is a Source that also takes calls: HTTP does, and so do Mirrors of HTTPs.
type Caller interface {
	// PostJSON posts in as JSON and decodes the answer into out; it may be sent more than once.
	PostJSON(ctx context.Context, name string, in, out any) error
}

// Rejecter is a Source that can be told that bytes it returned were wrong (their hash did not
// match). Mirrors then asks another mirror when the same range is read again. Use a type assertion.
type Rejecter interface {
	// Reject reports that the last answer for this range was wrong, or for a whole document (off and
	// n are 0). It returns whether there is another mirror to ask for it.
	Reject(name string, off, n int64) bool
}
