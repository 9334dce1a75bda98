// Package memnet is a network in memory for tests on fake time (testing/synctest): its connections
// block on channels, so time goes on while all ends wait, which it does not do for sockets.
//
// A connection has no buffer, as net.Pipe has none: a Write ends when the other side has read.
// Nothing is lost, delayed or reordered; a misbehaving server is package fetchtest's.
package memnet

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"testing"
)

// Net is a network; the zero value is ready.
type Net struct {
	mu        sync.Mutex
	listeners map[string]*listener
	dialled   uint16
}

// client is the address of every client; each connection has a port of its own.
var client = netip.AddrFrom4([4]byte{10, 0, 0, 1})

// Serve answers the requests to an address such as "127.0.0.1:80" until the test ends.
func (n *Net) Serve(t testing.TB, addr string, h http.Handler) *http.Server {
	t.Helper()
	l, err := n.Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return s
}

// Listen opens an address.
func (n *Net) Listen(addr string) (net.Listener, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[addr] != nil {
		return nil, fmt.Errorf("listening on %s: %w", addr, syscall.EADDRINUSE)
	}
	if n.listeners == nil {
		n.listeners = map[string]*listener{}
	}
	l := &listener{n: n, addr: net.TCPAddrFromAddrPort(at), conns: make(chan net.Conn), done: make(chan struct{})}
	n.listeners[addr] = l
	return l, nil
}

// Dial connects with an address as net.Dialer.DialContext does; it is refused where nothing
// listens.
func (n *Net) Dial(ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[addr]
	n.dialled++
	from := net.TCPAddrFromAddrPort(netip.AddrPortFrom(client, n.dialled))
	n.mu.Unlock()
	refused := fmt.Errorf("dialling %s: %w", addr, syscall.ECONNREFUSED)
	if l == nil {
		return nil, refused
	}
	near, far := net.Pipe()
	select {
	case l.conns <- conn{far, l.addr, from}:
		return conn{near, from, l.addr}, nil
	case <-l.done:
		return nil, refused
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// conn is one end of a pipe that says where it is.
type conn struct {
	net.Conn
	local, remote net.Addr
}

// LocalAddr implements net.Conn.
func (c conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c conn) RemoteAddr() net.Addr { return c.remote }

type listener struct {
	n     *Net
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }

// Close implements net.Listener.
func (l *listener) Close() error {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	if l.n.listeners[l.addr.String()] != l {
		return net.ErrClosed
	}
	delete(l.n.listeners, l.addr.String())
	close(l.done)
	return nil
}
