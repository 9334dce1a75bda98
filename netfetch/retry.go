package netfetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"troy/internal/format"
	"troy/internal/tlskey"
	"troy/internal/wait"
)

// progressBytes is how much must have come, to all streams together, since the last progress for a
// failed try that brought something to count as progress. A server that gives a byte per connection
// makes none; on a slow line that many streams share, each of them does.
const progressBytes = 64 << 10

// oddAnswers is how many wrong answers (ErrProtocol) end a call: a server that
// breaks HTTP three times will do so again.
const oddAnswers = 3

// try makes one request. got is the number of bytes that stay useful for the
// next try.
type try func(ctx context.Context) (got int64, err error)

// retry runs f until it succeeds, fails for good, or makes no progress for
// GiveUpAfter. where describes the request; it is completed and returned on failure.
func (h *HTTP) retry(ctx context.Context, where FetchError, f try) error {
	start := time.Now()
	progress, mark := start, h.shared.received.Load()
	limit := h.o.backoff
	odd := 0
	for {
		where.Tries++
		h.shared.requests.Add(1)
		got, err := f(ctx)
		if err == nil {
			return nil
		}
		if came := h.shared.received.Load(); got > 0 && came-mark >= progressBytes {
			progress, mark, limit = time.Now(), came, h.o.backoff
		}
		delay := pause(err, limit)
		limit = min(2*limit, h.o.maxBackoff)
		where.Elapsed = time.Since(start)
		where.Err = err
		if ctx.Err() != nil {
			where.Err = contextError(ctx, err)
			return &where
		}
		if errors.Is(err, ErrProtocol) {
			odd++
		}
		if !temporary(err) || odd >= oddAnswers || time.Since(progress)+delay > h.o.GiveUpAfter {
			return &where
		}
		if h.o.OnRetry != nil {
			at := where
			h.o.OnRetry(&at, delay)
		}
		if wait.For(ctx, delay) != nil {
			where.Err = contextError(ctx, err)
			return &where
		}
		h.shared.retries.Add(1)
	}
}

// contextError says that the caller's context ended the work, and what the
// last failure before that was.
func contextError(ctx context.Context, last error) error {
	cause := context.Cause(ctx)
	if errors.Is(last, ctx.Err()) {
		return cause
	}
	return fmt.Errorf("%w; the last failure: %w", cause, last)
}

// pause draws the wait before the next try: what the server asked for, plus
// full jitter, so that machines that failed together do not return together.
func pause(err error, limit time.Duration) time.Duration {
	wait := rand.N(limit + 1)
	var s *statusError
	if errors.As(err, &s) {
		wait += s.retryAfter
	}
	return wait
}

// temporary reports whether another try can help. What is not known to be
// final is tried again: in a lab most failures are a cable or a restart.
func temporary(err error) bool {
	for _, final := range []error{ErrNotFound, ErrRefused, ErrNoRanges, ErrOutOfRange, ErrTooLarge, ErrName, ErrNoDocuments, ErrNoCalls, tlskey.ErrPin} {
		if errors.Is(err, final) {
			return false
		}
	}
	var cert *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	return !errors.As(err, &cert) && !errors.As(err, &authority)
}

// statusFailure turns an answer that is no success into an error.
func statusFailure(resp *http.Response, body io.Reader, now time.Time) error {
	e := &statusError{text: resp.Status, class: statusClass(resp.StatusCode)}
	if e.class == ErrBusy {
		e.retryAfter = retryAfter(resp.Header.Get("Retry-After"), now)
	}
	e.detail = shortText(resp, body)
	return e
}

func statusClass(status int) error {
	switch status {
	case http.StatusNotFound, http.StatusGone:
		return ErrNotFound
	case http.StatusRequestedRangeNotSatisfiable:
		return ErrOutOfRange
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return ErrBusy
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return ErrRefused
	}
	switch {
	case status >= 500:
		return ErrBusy
	case status >= 400:
		return ErrRefused
	}
	return ErrProtocol
}

// retryAfter reads the header's two forms: seconds and a date.
func retryAfter(value string, now time.Time) time.Duration {
	const most = 24 * time.Hour // longer is no wait but a refusal; GiveUpAfter ends it
	if s, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32); err == nil {
		return min(time.Duration(s)*time.Second, most)
	}
	if t, err := http.ParseTime(value); err == nil {
		return min(max(0, t.Sub(now)), most)
	}
	return 0
}

// shortText takes the first line of a plain-text error body, or the member
// "error" of a JSON one.
func shortText(resp *http.Response, body io.Reader) string {
	kind := resp.Header.Get("Content-Type")
	if !strings.HasPrefix(kind, "text/plain") && !strings.HasPrefix(kind, "application/json") {
		return ""
	}
	b, err := io.ReadAll(io.LimitReader(body, 4096)) // to the end: the connection is used again
	if err != nil {
		return ""
	}
	var failure struct {
		Error string `json:"error"`
	}
	if format.Unmarshal(b, &failure) == nil && failure.Error != "" {
		b = []byte(failure.Error)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return strings.Map(printable, line[:min(len(line), 300)])
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return -1
	}
	return r
}
