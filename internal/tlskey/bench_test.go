package tlskey

import (
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"
)

// counted counts what one end of a connection sends and receives.
type counted struct {
	net.Conn
	sent, received *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.received.Add(int64(n))
	return n, err
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// BenchmarkStart is what TLS with keys on both ends costs a start over the loopback: its time, of both
// ends together, and its bytes; and a key, which a machine makes once.
func BenchmarkStart(b *testing.B) {
	server, pc := newMade(b), newMade(b)
	l, err := tls.Listen("tcp", "127.0.0.1:0", Server(&server.cert, nil))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	var sent, received atomic.Int64
	config := Client(func() []string { return []string{server.name} }, &pc.cert)
	b.Run("connection", func(b *testing.B) {
		for b.Loop() {
			raw, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			c := tls.Client(counted{raw, &sent, &received}, config)
			one := []byte{1}
			if _, err := c.Write(one); err != nil { // so that the server has seen the machine's key
				b.Fatal(err)
			}
			if _, err := io.ReadFull(c, one); err != nil {
				b.Fatal(err)
			}
			c.Close()
		}
		b.ReportMetric(float64(sent.Load())/float64(b.N), "B-sent/op")
		b.ReportMetric(float64(received.Load())/float64(b.N), "B-received/op")
	})
	b.Run("new key", func(b *testing.B) {
		for b.Loop() {
			newMade(b)
		}
	})
}
