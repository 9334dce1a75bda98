package vmlab

import (
	"io"
	"net"
	"sync"
)

// Forward takes connections to a loopback port outside of the network to a server on the network's
// host, as if they came from there: for programs that cannot be started inside. stop ends it and
// all connections.
func (n *Network) Forward(to string) (addr string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	f := &forwarder{n: n, to: to, open: map[net.Conn]bool{}}
	f.running.Go(func() { f.accept(l) })
	return l.Addr().String(), func() {
		l.Close()
		f.closeAll()
		f.running.Wait()
	}, nil
}

type forwarder struct {
	n       *Network
	to      string
	running sync.WaitGroup

	mu    sync.Mutex
	open  map[net.Conn]bool
	ended bool
}

func (f *forwarder) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return // closed
		}
		f.running.Go(func() { f.join(c) })
	}
}

// join connects both ends until one of them is closed. A server that is not there is a closed
// connection.
func (f *forwarder) join(near net.Conn) {
	defer near.Close()
	var far net.Conn
	err := f.n.Do(func() (err error) { far, err = net.Dial("tcp", f.to); return err })
	if err != nil || !f.keep(near, far) {
		return
	}
	defer f.drop(near, far)
	f.running.Go(func() {
		io.Copy(far, near) // ends with an error when the other direction does
		f.drop(near, far)
	})
	io.Copy(near, far)
}

func (f *forwarder) keep(both ...net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range both {
		if f.ended {
			c.Close()
			continue
		}
		f.open[c] = true
	}
	return !f.ended
}

func (f *forwarder) drop(both ...net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range both {
		c.Close()
		delete(f.open, c)
	}
}

func (f *forwarder) closeAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	for c := range f.open {
		c.Close()
	}
}
