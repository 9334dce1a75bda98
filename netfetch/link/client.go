package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"troy/internal/errline"
	"troy/netfetch"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// client speaks DHCP on one port. The client of the library drops answers without a word, and the
// first one that it takes ends its question.
type client struct {
	conn    net.PacketConn
	mac     net.HardwareAddr
	packets chan packet                      // closed when the socket ends
	end     error                            // why it ended; read it after packets was closed
	done    chan struct{}                    // closed by close
	refused func(from netip.Addr, err error) // told of answers that are not taken; nil = nobody is
}

// packet is a datagram that came in.
type packet struct {
	b    []byte
	from netip.Addr
}

var (
	errSilent = errors.New("the DHCP server does not answer")
	errNak    = errors.New("the DHCP server refuses")
	everybody = &net.UDPAddr{IP: net.IPv4bcast, Port: nclient4.ServerPort}
)

// broadcast opens a client on a port that need not have an address. It must be opened again after
// each loss of the carrier.
func broadcast(port netlink.Link) (*client, error) {
	a := port.Attrs()
	conn, err := nclient4.NewRawUDPConn(a.Name, nclient4.ClientPort)
	if err != nil {
		return nil, fmt.Errorf("opening the DHCP client: %w", err)
	}
	return newClient(conn, a.HardwareAddr), nil
}

// unicast opens a client that asks one server, from the address that the port has. A refusal comes
// back by broadcast, so the socket is bound to the port, not to the address.
func unicast(ctx context.Context, port string, mac net.HardwareAddr) (*client, error) {
	lc := net.ListenConfig{Control: bindToPort(port)}
	conn, err := lc.ListenPacket(ctx, "udp4", fmt.Sprintf(":%d", nclient4.ClientPort))
	if err != nil {
		return nil, fmt.Errorf("opening the DHCP client: %w", err)
	}
	return newClient(conn, mac), nil
}

// bindToPort ties a socket to one network port.
func bindToPort(name string) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		control := c.Control(func(fd uintptr) {
			err = errline.Join(
				unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, name),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
		})
		return errline.Join(control, err)
	}
}

func newClient(conn net.PacketConn, mac net.HardwareAddr) *client {
	c := &client{conn: conn, mac: mac, packets: make(chan packet, 32), done: make(chan struct{})}
	go c.receive()
	return c
}

// receive takes datagrams from the socket until it ends.
func (c *client) receive() {
	defer close(c.packets)
	b := make([]byte, nclient4.MaxMessageSize)
	for {
		n, addr, err := c.conn.ReadFrom(b)
		if err != nil {
			c.end = err
			return
		}
		p := packet{b: bytes.Clone(b[:n])}
		if a, ok := addr.(*net.UDPAddr); ok {
			p.from = a.AddrPort().Addr().Unmap()
		}
		select {
		case c.packets <- p:
		case <-c.done:
			return
		}
	}
}

// close ends the client.
func (c *client) close() error {
	close(c.done)
	err := c.conn.Close()
	for range c.packets {
	}
	return err
}

// ask sends a question and hands its answers to take until that returns true, or ctx ends. An error
// of take says why it leaves an answer alone.
func (c *client) ask(ctx context.Context, to *net.UDPAddr, q *dhcpv4.DHCPv4, take func(*message) (bool, error)) error {
	if err := c.send(to, q); err != nil {
		return err
	}
	return c.hear(ctx, q.TransactionID, take)
}

func (c *client) send(to *net.UDPAddr, q *dhcpv4.DHCPv4) error {
	if _, err := c.conn.WriteTo(q.ToBytes(), to); err != nil {
		return fmt.Errorf("sending a DHCP request: %w", err)
	}
	return nil
}

// hear hands answers to take until that returns true, or ctx ends.
func (c *client) hear(ctx context.Context, xid dhcpv4.TransactionID, take func(*message) (bool, error)) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case p, ok := <-c.packets:
			if !ok {
				return fmt.Errorf("waiting for a DHCP answer: %w", c.end)
			}
			m, err := c.answer(p, xid)
			if m == nil && err == nil {
				continue // for another machine
			}
			done := false
			if err == nil {
				done, err = take(m)
			}
			if err != nil && c.refused != nil {
				c.refused(p.from, err)
			}
			if done {
				return nil
			}
		}
	}
}

// answer parses a datagram. It returns nothing for what is meant for other machines.
func (c *client) answer(p packet, xid dhcpv4.TransactionID) (*message, error) {
	m, err := parse(p.b, p.from)
	switch ours := bytes.Contains(p.b, c.mac); {
	case err != nil && ours:
		return nil, err
	case err != nil:
		return nil, nil
	case m.TransactionID == xid:
	case ours:
		return nil, fmt.Errorf("%w: it answers another question (transaction %v)", netfetch.ErrProtocol, m.TransactionID)
	default:
		return nil, nil
	}
	if m.OpCode != dhcpv4.OpcodeBootReply {
		return nil, fmt.Errorf("%w: it is no answer (operation %d)", netfetch.ErrProtocol, m.OpCode)
	}
	// Some servers leave the client's address out, or its length. The transaction is ours alone.
	to := make([]byte, 16)
	copy(to, p.b[28:snameAt])
	switch {
	case bytes.Equal(to[:len(c.mac)], c.mac):
	case bytes.Equal(to, make([]byte, 16)):
		m.note("it names no machine that it is for (chaddr)")
	default:
		return nil, fmt.Errorf("%w: it is for another machine, %v", netfetch.ErrProtocol, net.HardwareAddr(to[:len(c.mac)]))
	}
	return m, nil
}
