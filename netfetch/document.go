package netfetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	"troy/internal/format"
)

// maxAnswer bounds the answer to a PostJSON, bytes.
const maxAnswer = 1 << 20

// Get reads a whole small object of at most max bytes (else ErrTooLarge). The
// error is a *FetchError.
func (h *HTTP) Get(ctx context.Context, name string, max int64) ([]byte, error) {
	where := FetchError{Server: h.String(), Object: name, Method: http.MethodGet}
	var doc []byte
	err := h.retry(ctx, where, func(ctx context.Context) (int64, error) {
		req, err := h.request(ctx, http.MethodGet, name)
		if err != nil {
			return 0, err
		}
		return 0, h.roundTrip(req, func(resp *http.Response, body io.Reader) error {
			doc, err = h.document(resp, body, max)
			return err
		})
	})
	return doc, err
}

// PostJSON posts in as JSON and decodes the answer into out; with a nil out any answer will do. The
// request is repeated on failure, so it must be one that may arrive twice. An answer over 1 MiB, or
// one that package format refuses, is an ErrProtocol. The error is a *FetchError.
func (h *HTTP) PostJSON(ctx context.Context, name string, in, out any) error {
	where := FetchError{Server: h.String(), Object: name, Method: http.MethodPost}
	payload, err := format.Marshal(in)
	if err != nil {
		where.Err = fmt.Errorf("encoding the request: %w", err)
		return &where
	}
	return h.retry(ctx, where, func(ctx context.Context) (int64, error) {
		return 0, h.post(ctx, name, payload, out)
	})
}

func (h *HTTP) post(ctx context.Context, name string, payload []byte, out any) error {
	req, err := h.request(ctx, http.MethodPost, name)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Body = io.NopCloser(bytes.NewReader(payload))
	req.ContentLength = int64(len(payload))
	return h.roundTrip(req, func(resp *http.Response, body io.Reader) error {
		answer, err := h.document(resp, body, maxAnswer)
		if err != nil || out == nil {
			return err
		}
		if err := format.Unmarshal(answer, out); err != nil {
			return fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		return nil
	})
}

// document reads a whole body.
func (h *HTTP) document(resp *http.Response, body io.Reader, max int64) ([]byte, error) {
	if resp.StatusCode < 200 || resp.StatusCode > 299 || resp.StatusCode == http.StatusPartialContent {
		return nil, statusFailure(resp, body, h.o.Now())
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return nil, fmt.Errorf("%w: body encoded as %q", ErrProtocol, e)
	}
	if resp.ContentLength > max {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, resp.ContentLength, max)
	}
	if resp.ContentLength < 0 && !slices.Contains(resp.TransferEncoding, "chunked") {
		return nil, fmt.Errorf("%w: neither Content-Length nor chunks: it may be cut short", ErrProtocol)
	}
	b, err := io.ReadAll(io.LimitReader(body, max+1))
	switch {
	case err != nil:
		return nil, cut(err, int64(len(b)), resp.ContentLength)
	case int64(len(b)) > max:
		return nil, fmt.Errorf("%w: over %d bytes", ErrTooLarge, max)
	}
	return b, nil
}

// roundTrip sends the request under the watchdog and hands the answer to take.
// What is left of the body is closed, not read.
func (h *HTTP) roundTrip(req *http.Request, take func(*http.Response, io.Reader) error) error {
	ctx, dog, end := h.watch(req.Context())
	defer end()
	resp, err := h.client.Do(req.WithContext(ctx))
	if err == nil {
		defer resp.Body.Close()
		dog.restart()
		err = take(resp, dog.reader(resp.Body))
	}
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, ErrStalled) {
		h.shared.stalls.Add(1)
		// The kept connections may lead to the same dead end (a new address, a
		// restarted server): the next try opens its own.
		h.client.CloseIdleConnections()
		return cause
	}
	return plain(err, req.URL)
}

// plain takes the URL off an error that names the one that was asked for: the
// FetchError says it. A redirect's stays.
func plain(err error, asked *url.URL) error {
	var u *url.Error
	if errors.As(err, &u) && u.URL == asked.String() {
		return u.Err
	}
	return err
}
