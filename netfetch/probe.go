package netfetch

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"

	"troy/internal/tlskey"
)

// maxProbe is the most bytes of an answer that Probe reads.
const maxProbe = 4 << 10

// Probe asks a server once for a small object, to see whether it can be reached by the network that
// was just set up. Names are looked up with these name servers: Go reads resolv.conf only now and
// then, and it may still tell of another network; nil = as that file says. No key is
// checked: use the answer to choose a network and for nothing else.
func Probe(ctx context.Context, baseURL, name string, dns []netip.Addr) ([]byte, error) {
	dialer := &net.Dialer{}
	if len(dns) > 0 {
		next := 0
		dialer.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			server := netip.AddrPortFrom(dns[next%len(dns)], 53)
			next++
			return (&net.Dialer{}).DialContext(ctx, network, server.String())
		}}
	}
	h, t, err := unverified(baseURL, &HTTPOptions{dial: dialer.DialContext})
	if err != nil {
		return nil, err
	}
	defer t.CloseIdleConnections()
	req, err := h.request(ctx, http.MethodGet, name)
	if err != nil {
		return nil, err
	}
	resp, err := t.RoundTrip(req) // a redirect is an answer of somebody else
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: %s answers %s", ErrProtocol, h, resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxProbe))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h, err)
	}
	return b, nil
}

// unverified makes an HTTP that takes every key, and the transport for one request of it; its idle
// connections are to be closed.
func unverified(baseURL string, o *HTTPOptions) (*HTTP, *http.Transport, error) {
	h, err := NewHTTP(baseURL, o)
	if err != nil {
		return nil, nil, err
	}
	t := h.client.Transport.(*http.Transport)
	t.TLSClientConfig = tlskey.Unverified()
	return h, t, nil
}
