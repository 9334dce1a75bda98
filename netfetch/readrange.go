package netfetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// ReadRange implements Source. It returns exactly n bytes, or what came of them and a *FetchError.
//
// An answer is taken only if it is the range asked for (206 with the exact
// Content-Range, no encoding). When a try ends early, the next one asks only
// for what is missing, bound to the same object by its strong ETag (If-Range);
// if the object changed, what was read of it is dropped. A server that sends the whole object
// instead of the range is read up to it, if that costs no more than 8 MiB; else it is asked again
// without If-Range (ErrChanged), or the answer is final (ErrNoRanges).
func (h *HTTP) ReadRange(ctx context.Context, name string, off, n int64) ([]byte, error) {
	where := FetchError{Server: h.String(), Object: name, Method: http.MethodGet, Offset: off, Length: n}
	switch {
	case off < 0 || n < 0 || off+n < off:
		where.Err = fmt.Errorf("%w: %d bytes at %d", ErrOutOfRange, n, off)
		return nil, &where
	case n > maxRange:
		where.Err = fmt.Errorf("%w: the limit of a range is %d", ErrTooLarge, int64(maxRange))
		return nil, &where
	}
	if n == 0 {
		return []byte{}, nil
	}
	r := &ranged{h: h, name: name, off: off, n: n}
	err := h.retry(ctx, where, r.try)
	return r.buf[:r.filled], err
}

// ranged is one range on its way.
type ranged struct {
	h      *HTTP
	name   string
	off, n int64

	buf    []byte // nil until the first answer was found right
	filled int64
	etag   string // strong ETag of the object buf[:filled] came from; "" = it had none
	total  int64  // its size; -1 = unknown
}

// try asks for what is missing.
func (r *ranged) try(ctx context.Context) (int64, error) {
	req, err := r.h.request(ctx, http.MethodGet, r.name)
	if err != nil {
		return 0, err
	}
	before := r.filled
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", r.off+r.filled, r.off+r.n-1))
	if r.bound() {
		req.Header.Set("If-Range", r.etag)
	}
	err = r.h.roundTrip(req, r.take)
	return max(0, r.filled-before), err
}

// bound reports whether the next answer has to be of the object that was read so far (If-Range).
func (r *ranged) bound() bool { return r.filled > 0 && r.etag != "" }

// take reads one answer.
func (r *ranged) take(resp *http.Response, body io.Reader) error {
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return fmt.Errorf("%w: body encoded as %q", ErrProtocol, e)
	}
	switch resp.StatusCode {
	case http.StatusPartialContent:
		return r.takePartial(resp, body)
	case http.StatusOK:
		return r.takeWhole(resp, body)
	}
	return statusFailure(resp, body, r.h.o.Now())
}

func (r *ranged) takePartial(resp *http.Response, body io.Reader) error {
	want := r.n - r.filled
	total, err := checkContentRange(resp.Header.Get("Content-Range"), r.off+r.filled, want)
	if err != nil {
		return err
	}
	if err := r.sameObject(strongETag(resp), total); err != nil {
		return err
	}
	if resp.ContentLength >= 0 && resp.ContentLength != want {
		return fmt.Errorf("%w: Content-Length %d for %d bytes", ErrProtocol, resp.ContentLength, want)
	}
	if err := r.fill(body); err != nil {
		return err
	}
	// Reading the end lets the connection be used again, and finds a body that goes on.
	if extra, _ := io.ReadFull(body, make([]byte, 1)); extra > 0 {
		r.drop() // a server that cannot count is not trusted
		return fmt.Errorf("%w: more bytes than the range holds", ErrProtocol)
	}
	return nil
}

// takeWhole handles a 200: the server ignores ranges, or If-Range did not
// match. Either way the body starts at byte 0 of an object that may be another.
func (r *ranged) takeWhole(resp *http.Response, body io.Reader) error {
	bound, before := r.bound(), r.etag
	r.drop()
	r.etag, r.total = strongETag(resp), resp.ContentLength
	if resp.ContentLength >= 0 && resp.ContentLength < r.off+r.n {
		return fmt.Errorf("%w: it holds %d bytes", ErrOutOfRange, resp.ContentLength)
	}
	if r.off > r.h.o.maxDiscard && bound {
		// It may be another of several servers behind one name. Nothing is kept now, so the next
		// try asks without If-Range and shows whether this one has ranges.
		return fmt.Errorf("%w: ETag %s; before: %s", ErrChanged, strongETag(resp), before)
	}
	if r.off > r.h.o.maxDiscard {
		return fmt.Errorf("%w: it sends the whole object, and the range starts at byte %d (limit %d)",
			ErrNoRanges, r.off, r.h.o.maxDiscard)
	}
	skipped, err := io.CopyN(io.Discard, body, r.off)
	r.h.shared.discarded.Add(skipped)
	if err != nil {
		return cut(err, skipped, r.off+r.n)
	}
	return r.fill(body)
}

// sameObject drops what was read if this answer is of another object.
func (r *ranged) sameObject(etag string, total int64) error {
	if r.filled > 0 && (etag != r.etag || total != r.total) {
		old, oldTotal := r.etag, r.total
		r.drop()
		return fmt.Errorf("%w: ETag %s, size %d; before: %s, %d", ErrChanged, etag, total, old, oldTotal)
	}
	r.etag, r.total = etag, total
	return nil
}

// drop forgets what was read.
func (r *ranged) drop() {
	r.h.shared.discarded.Add(r.filled)
	r.filled, r.etag, r.total = 0, "", -1
}

func (r *ranged) fill(body io.Reader) error {
	if r.buf == nil {
		r.buf = make([]byte, r.n)
	}
	n, err := io.ReadFull(body, r.buf[r.filled:])
	r.filled += int64(n)
	if err != nil {
		return cut(err, r.filled, r.n)
	}
	return nil
}

// cut names an early end of a body; other errors stay what they are.
func cut(err error, got, want int64) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w after %d of %d bytes", ErrCut, got, want)
	}
	return fmt.Errorf("%w after %d of %d bytes: %w", ErrCut, got, want, err)
}

// strongETag gives the validator that If-Range may be used with; "" = none.
func strongETag(resp *http.Response) string {
	etag := resp.Header.Get("ETag")
	if len(etag) < 2 || etag[0] != '"' || etag[len(etag)-1] != '"' {
		return ""
	}
	return etag
}

// checkContentRange accepts exactly "bytes off-(off+n-1)/total" (RFC 9110,
// section 14.4) and returns the total, -1 if it is unknown.
func checkContentRange(value string, off, n int64) (int64, error) {
	first, last, total, ok := parseContentRange(value)
	switch {
	case !ok:
		return 0, fmt.Errorf("%w: Content-Range %.80q", ErrProtocol, value)
	case total >= 0 && total < off+n:
		return 0, fmt.Errorf("%w: it holds %d bytes", ErrOutOfRange, total)
	case first != off || last != off+n-1:
		return 0, fmt.Errorf("%w: bytes %d-%d came, %d-%d were asked for", ErrProtocol, first, last, off, off+n-1)
	}
	return total, nil
}

// parseContentRange reads "bytes 0-99/1000" or "bytes 0-99/*" (total -1).
func parseContentRange(value string) (first, last, total int64, ok bool) {
	rest, ok := strings.CutPrefix(value, "bytes ")
	span, size, ok2 := strings.Cut(rest, "/")
	a, b, ok3 := strings.Cut(span, "-")
	if !ok || !ok2 || !ok3 {
		return 0, 0, 0, false
	}
	first, ok = decimal(a)
	last, ok2 = decimal(b)
	total, ok3 = -1, true
	if size != "*" {
		total, ok3 = decimal(size)
	}
	inside := first <= last && (total < 0 || last < total)
	return first, last, total, ok && ok2 && ok3 && inside
}

// decimal reads digits alone: no sign, no spaces.
func decimal(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, false
	}
	return int64(n), true
}
