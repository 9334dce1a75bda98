package inbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"troy/image"
	"troy/image/capture"
	"troy/internal/format"
	"troy/internal/tlskey"
	"troy/server/jsonhttp"
)

const (
	// maxCalls is how many pieces are worked on at once; further ones wait.
	maxCalls = 4
	// callTime is how long a piece may take to arrive, and to be flushed.
	callTime = 2 * time.Minute
)

// Orders decide who may capture.
type Orders interface {
	// Allowed tells whether there is an order to capture the machine with this key, and what it is
	// called. It is asked at each call.
	Allowed(key string) (host string, ok bool)
}

// Nobody are the orders of a server that has none.
type Nobody struct{}

// Allowed implements Orders.
func (Nobody) Allowed(string) (string, bool) { return "", false }

// handler answers the calls.
type handler struct {
	s       *Store
	orders  Orders
	decoder *capture.Decoder
	calls   chan struct{}
	mux     *http.ServeMux
}

// Handler answers the calls of machines to a store, as the package comment of capture lists them.
func Handler(s *Store, orders Orders) (http.Handler, error) {
	d, err := capture.NewDecoder()
	if err != nil {
		return nil, err
	}
	h := &handler{s, orders, d, make(chan struct{}, maxCalls), http.NewServeMux()}
	for pattern, f := range map[string]func(*call) error{
		"GET " + capture.Prefix + "{id}":                       h.held,
		"PUT " + capture.Prefix + "{id}":                       h.begin,
		"PUT " + capture.Prefix + "{id}/{region}":              h.put,
		"PUT " + capture.Prefix + "{id}/" + capture.FinishName: h.finish,
	} {
		h.mux.HandleFunc(pattern, h.allowed(f))
	}
	return h.mux, nil
}

// call is one call of a machine that may capture.
type call struct {
	w             http.ResponseWriter
	r             *http.Request
	id, key, host string
}

// errOrder is returned for a machine that was not asked to send anything.
var errOrder = errors.New("no order to capture this machine")

// allowed lets pass who may capture, before anything else of the request is read.
func (h *handler) allowed(f func(*call) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{w: w, r: r, id: strings.ToLower(r.PathValue("id"))}
		ok := r.TLS != nil && len(r.TLS.PeerCertificates) > 0
		if ok {
			c.key = tlskey.Of(r.TLS.PeerCertificates[0])
			c.host, ok = h.orders.Allowed(c.key)
		}
		err := errOrder
		if ok {
			control := http.NewResponseController(w) // a slow line gets its time; what has no deadlines goes without
			_ = control.SetReadDeadline(time.Now().Add(callTime))
			_ = control.SetWriteDeadline(time.Now().Add(2 * callTime))
			err = f(c)
		}
		if err != nil {
			jsonhttp.Fail(w, status(err), err)
		}
	}
}

// status is the code of an answer, as the package comment lists them.
func status(err error) int {
	var long *http.MaxBytesError
	for _, s := range []struct {
		err  error
		code int
	}{
		{errOrder, http.StatusForbidden}, {ErrStranger, http.StatusForbidden}, {ErrNone, http.StatusNotFound},
		{ErrFinished, http.StatusConflict}, {ErrOther, http.StatusConflict}, {ErrFull, http.StatusInsufficientStorage},
		{capture.ErrPiece, http.StatusUnprocessableEntity}, {format.ErrMalformed, http.StatusUnprocessableEntity},
		{image.ErrUnsupported, http.StatusUnprocessableEntity}, {image.ErrInvalid, http.StatusUnprocessableEntity},
	} {
		if errors.Is(err, s.err) {
			return s.code
		}
	}
	if errors.As(err, &long) {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusServiceUnavailable
}

// body reads up to max bytes of the request.
func (c *call) body(max int64) ([]byte, error) {
	return io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, max))
}

// document reads a document of the request.
func (c *call) document(k *format.Kind, v any) error {
	b, err := c.body(capture.MaxDocument)
	if err != nil {
		return err
	}
	if err := k.Read(b, v); err != nil && !errors.Is(err, format.ErrMalformed) {
		return fmt.Errorf("%w: %w", image.ErrUnsupported, err)
	} else if err != nil {
		return err
	}
	return nil
}

func (c *call) ok() error {
	jsonhttp.Write(c.w, http.StatusOK, struct{}{})
	return nil
}

func (h *handler) begin(c *call) error {
	var a capture.About
	if err := c.document(&capture.AboutKind, &a); err != nil {
		return err
	}
	if err := a.Check(); err != nil {
		return err
	}
	if err := h.s.Begin(c.id, c.key, c.host, &a); err != nil {
		return err
	}
	return c.ok()
}

func (h *handler) held(c *call) error {
	held, err := h.s.Held(c.id, c.key)
	if err != nil {
		return err
	}
	b := held.Encode()
	c.w.Header().Set("Content-Type", "application/octet-stream")
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	_, _ = c.w.Write(b) // the machine may be gone
	return nil
}

func (h *handler) put(c *call) error {
	about, err := h.s.About(c.id, c.key)
	if err != nil {
		return err
	}
	if err := h.enter(c.r.Context()); err != nil {
		return err
	}
	defer func() { <-h.calls }()
	b, err := c.body(capture.MaxPiece)
	if err != nil {
		return err
	}
	p, sum, err := h.decoder.Decode(b, about.Session.VirtualSize)
	if err != nil {
		return err
	}
	if c.r.PathValue("region") != strconv.FormatInt(p.Region, 10) {
		return fmt.Errorf("%w: region %d sent as %.40q", capture.ErrPiece, p.Region, c.r.PathValue("region"))
	}
	if err := h.s.Put(c.id, c.key, p, sum); err != nil {
		return err
	}
	return c.ok()
}

// enter waits for a turn to hold a piece.
func (h *handler) enter(ctx context.Context) error {
	select {
	case h.calls <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *handler) finish(c *call) error {
	var t capture.Totals
	if err := c.document(&capture.TotalsKind, &t); err != nil {
		return err
	}
	if err := h.s.Finish(c.id, c.key, &t); err != nil {
		return err
	}
	return c.ok()
}
