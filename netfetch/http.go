package netfetch

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// HTTPOptions holds what may be chosen; the zero value is right for a lab.
type HTTPOptions struct {
	// TLS says which servers are taken, and what is shown to them (package tlskey). nil = those that
	// the system's authorities vouch for.
	TLS *tls.Config
	// Now is the time that a date in Retry-After is compared with, see Clock. nil = time.Now.
	Now func() time.Time
	// GiveUpAfter is how long a call goes on without progress, including waits that the server
	// asked for. 0 = 2 minutes. The context may end it earlier.
	GiveUpAfter time.Duration
	// UserAgent names the program. "" = "troy".
	UserAgent string
	// OnRetry, if set, is called with each failed try that will be repeated, and the wait before
	// the next one. It must be safe for concurrent use.
	OnRetry func(err error, wait time.Duration)

	// For tests:

	stall      time.Duration // in which an answer must make progress; 0 = 20 seconds
	maxDiscard int64         // bytes read to no use to reach a range in a whole object; 0 = 8 MiB
	backoff    time.Duration // first wait before a retry, and
	maxBackoff time.Duration // the longest; 0 = 250 ms and 10 s

	dial func(ctx context.Context, network, addr string) (net.Conn, error) // nil = by TCP
}

const (
	minRate  = 1024     // slowest server put up with, bytes per second over the time of a stall
	maxRange = 64 << 20 // longest range that may be asked for
)

// HTTP reads objects under one base URL. It implements Source and is safe for
// concurrent use; connections are kept and used again.
type HTTP struct {
	base   *url.URL // path without a trailing slash
	o      HTTPOptions
	client *http.Client
	shared *shared
}

// shared is common to an HTTP and all made from it by Mirrors.Sub.
type shared struct {
	counters
	mu      sync.Mutex
	running map[*watchdog]struct{} // requests under way
}

// Stats counts what an HTTP and all made from it by Mirrors.Sub did.
type Stats struct {
	Requests  int64 // requests sent, retries included
	Retries   int64 // of these, repeated ones
	Stalls    int64 // requests ended by the stall watchdog
	Received  int64 // body bytes read from the network
	Discarded int64 // of these, read to no use (before the range, after a change)
}

type counters struct {
	requests, retries, stalls, received, discarded atomic.Int64
}

// NewHTTP checks the base URL (http or https, a host, no user, query or
// fragment; else ErrName). It does not talk to the server.
func NewHTTP(baseURL string, o *HTTPOptions) (*HTTP, error) {
	u, err := url.Parse(baseURL)
	if err != nil {
		return nil, fmt.Errorf("%w: base URL: %v", ErrName, err)
	}
	if err := checkBase(u); err != nil {
		return nil, err
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
	h := &HTTP{base: u, shared: &shared{running: map[*watchdog]struct{}{}}}
	if o != nil {
		h.o = *o
	}
	h.o.setDefaults()
	h.client = newClient(&h.o)
	return h, nil
}

func checkBase(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%w: base URL %q: want http:// or https://", ErrName, u.Redacted())
	case u.Hostname() == "":
		return fmt.Errorf("%w: base URL %q: no host", ErrName, u.Redacted())
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%w: base URL %q: user, query and fragment have no place here", ErrName, u.Redacted())
	}
	return nil
}

func (o *HTTPOptions) setDefaults() {
	o.GiveUpAfter = cmp.Or(o.GiveUpAfter, 2*time.Minute)
	o.UserAgent = cmp.Or(o.UserAgent, "troy")
	o.stall = cmp.Or(o.stall, 20*time.Second)
	o.maxDiscard = cmp.Or(o.maxDiscard, 8<<20)
	o.backoff = cmp.Or(o.backoff, 250*time.Millisecond)
	o.maxBackoff = cmp.Or(o.maxBackoff, 10*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
}

// newClient makes the transport. HTTP/1.1 only: each stream has its own TCP
// connection, so one lost packet holds up one stream. No gzip: ranges count
// bytes of the object, and packs are compressed already.
func newClient(o *HTTPOptions) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	dial := o.dial
	if dial == nil {
		dialer := &net.Dialer{Timeout: min(o.stall, max(o.GiveUpAfter, time.Second), 10*time.Second), KeepAlive: 15 * time.Second}
		dial = dialer.DialContext
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            dial,
			TLSClientConfig:        o.TLS.Clone(),
			DisableCompression:     true,
			MaxIdleConnsPerHost:    32,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			Protocols:              protocols,
			// No timeouts of its own: the watchdog covers every step.
		},
		CheckRedirect: checkRedirect,
	}
}

// checkRedirect follows a mirror's or CDN's redirects, but no POST, no endless
// chain, and never from TLS to plain HTTP.
func checkRedirect(req *http.Request, via []*http.Request) error {
	switch {
	case via[0].Method != http.MethodGet:
		return fmt.Errorf("%w: redirect of a %s to %s", ErrProtocol, via[0].Method, req.URL.Redacted())
	case len(via) > 5:
		return fmt.Errorf("%w: more than 5 redirects, the last to %s", ErrProtocol, req.URL.Redacted())
	case via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https":
		return fmt.Errorf("%w: redirect from TLS to %s", ErrProtocol, req.URL.Redacted())
	}
	return nil
}

// sub returns an HTTP for the objects under the given path of this one. It
// shares connections and counters. ErrName for paths that escape.
func (h *HTTP) sub(path string) (*HTTP, error) {
	path = strings.Trim(path, "/")
	if path == "" {
		return h, nil
	}
	if err := checkName(path); err != nil {
		return nil, err
	}
	under := *h
	under.base = h.base.JoinPath(escapePath(path))
	return &under, nil
}

// String gives the base URL.
func (h *HTTP) String() string { return h.base.String() }

// Stats gives the counters so far.
func (h *HTTP) Stats() Stats {
	c := &h.shared.counters
	return Stats{
		Requests: c.requests.Load(), Retries: c.retries.Load(), Stalls: c.stalls.Load(),
		Received: c.received.Load(), Discarded: c.discarded.Load(),
	}
}

// Reconnect gives up all connections: requests under way fail with ErrStalled inside and are tried
// again at once on new ones. Call it when the old ones are known to be dead, e.g. because the
// address changed.
func (h *HTTP) Reconnect() {
	h.shared.mu.Lock()
	for w := range h.shared.running {
		w.cancel(errReconnect)
	}
	h.shared.mu.Unlock()
	h.client.CloseIdleConnections()
}

var errReconnect = fmt.Errorf("%w: connection given up", ErrStalled)

// watch starts a watchdog that Reconnect can end; end stops it.
func (h *HTTP) watch(ctx context.Context) (_ context.Context, w *watchdog, end func()) {
	ctx, w = startWatchdog(ctx, h.o.stall, &h.shared.received)
	h.shared.mu.Lock()
	defer h.shared.mu.Unlock()
	h.shared.running[w] = struct{}{}
	return ctx, w, func() {
		h.shared.mu.Lock()
		delete(h.shared.running, w)
		h.shared.mu.Unlock()
		w.stop()
	}
}

// request makes the request for one object.
func (h *HTTP) request(ctx context.Context, method, name string) (*http.Request, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	u := h.base.JoinPath(escapePath(name))
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %v", ErrName, name, err)
	}
	req.Header.Set("User-Agent", h.o.UserAgent)
	req.Header.Set("Accept-Encoding", "identity")
	return req, nil
}

// checkName accepts slash-separated relative names without ".", ".." and
// empty parts: a name from a manifest cannot leave the base URL.
func checkName(name string) error {
	if !fs.ValidPath(name) || name == "." || strings.ContainsAny(name, "\\\x00\r\n") {
		return fmt.Errorf("%w: object name %q", ErrName, name)
	}
	return nil
}

// escapePath escapes each part of a name.
func escapePath(name string) string {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}
