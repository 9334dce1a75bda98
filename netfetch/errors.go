package netfetch

import (
	"errors"
	"fmt"
	"time"
)

// Classes of failure, for errors.Is. The typed errors (*FetchError,
// *MirrorsError) say where it happened and what was tried.
var (
	// ErrNotFound is returned when the server says that there is no such object.
	ErrNotFound = errors.New("no such object on the server")
	// ErrRefused is returned when the server refuses a request for good (4xx).
	ErrRefused = errors.New("the server refuses the request")
	// ErrBusy is returned when the server could not answer now (5xx, 429).
	ErrBusy = errors.New("the server cannot answer now")
	// ErrProtocol is returned when an answer is not what was asked for: another
	// range, an encoded body, a redirect that is not followed.
	ErrProtocol = errors.New("the answer is not what was asked for")
	// ErrNoRanges is returned when a server sends whole objects only and the
	// range lies too far inside to read up to it. It is an ErrProtocol.
	ErrNoRanges = fmt.Errorf("%w: the server ignores ranges", ErrProtocol)
	// ErrOutOfRange is returned when the object ends before the range does.
	ErrOutOfRange = errors.New("the object is shorter than the range")
	// ErrCut is returned when the connection ended before the answer did.
	ErrCut = errors.New("the answer was cut short")
	// ErrChanged is returned when an object changed between two parts of a range.
	ErrChanged = errors.New("the object changed on the server while it was read")
	// ErrStalled is returned when bytes stopped coming or came too slowly.
	ErrStalled = errors.New("the server went silent")
	// ErrTooLarge is returned for a document or a range larger than the caller allows.
	ErrTooLarge = errors.New("more bytes than allowed")
	// ErrNoDocuments is returned by Get on a decorator of a Source that has none.
	ErrNoDocuments = errors.New("the source gives ranges only, no whole documents")
	// ErrNoCalls is returned by Mirrors.PostJSON for a source that is no Caller.
	ErrNoCalls = errors.New("the source takes no calls")
	// ErrName is returned for object names and base URLs that cannot be used.
	ErrName = errors.New("unusable name")
)

// FetchError says which request failed, at which server, and what was tried.
type FetchError struct {
	Server string // base URL
	Object string // name under the base URL
	Method string // GET or POST
	Offset int64  // first byte asked for
	Length int64  // bytes asked for; 0 = the whole object

	Tries   int           // requests made
	Elapsed time.Duration // from the first to the last
	Err     error         // the last failure; wraps a class above, or the context's error
}

// Error gives one line: server, object, range, what was tried, what failed.
func (e *FetchError) Error() string {
	where := e.Object
	if e.Length > 0 {
		where = fmt.Sprintf("%s bytes %d-%d", e.Object, e.Offset, e.Offset+e.Length-1)
	}
	tries := "1 try"
	if e.Tries != 1 {
		tries = fmt.Sprintf("%d tries in %v", e.Tries, e.Elapsed.Round(time.Millisecond))
	}
	return fmt.Sprintf("%s: %s %s: %s: %v", e.Server, e.Method, where, tries, e.Err)
}

// Unwrap gives the last failure.
func (e *FetchError) Unwrap() error { return e.Err }

// statusError is an answer with a status that is no success.
type statusError struct {
	class      error
	text       string        // status line as sent
	detail     string        // first line of the body, if it is a short text
	retryAfter time.Duration // what the server asked for; 0 = nothing
}

func (e *statusError) Error() string {
	s := "server answers " + e.text
	if e.detail != "" {
		s += fmt.Sprintf(" (%s)", e.detail)
	}
	if e.retryAfter > 0 {
		s += fmt.Sprintf(", retry after %v", e.retryAfter)
	}
	return s
}

func (e *statusError) Unwrap() error { return e.class }
