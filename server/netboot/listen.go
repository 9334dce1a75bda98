package netboot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/ipv4"
)

// Listener holds the open ports of a Server.
type Listener struct {
	s                 *Server
	dhcp, proxy, tftp *ipv4.PacketConn
}

// Listen opens the three ports; Run then answers on them. The process may give up its privileges in
// between.
func (s *Server) Listen() (*Listener, error) {
	l := &Listener{s: s}
	var err error
	if !s.o.NoDHCP {
		if l.dhcp, err = listen(&net.UDPAddr{Port: PortDHCP}); err == nil {
			l.proxy, err = listen(&net.UDPAddr{Port: PortProxy})
		}
	}
	if err == nil {
		l.tftp, err = listen(&net.UDPAddr{Port: PortTFTP})
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("network boot: %w (a DHCP or TFTP server on this machine? then serve with --no-dhcp)", err)
	}
	return l, nil
}

// Close closes the ports.
func (l *Listener) Close() {
	if l.dhcp != nil {
		l.dhcp.Close()
	}
	if l.proxy != nil {
		l.proxy.Close()
	}
	if l.tftp != nil {
		l.tftp.Close()
	}
}

// Run answers until ctx ends or a port fails, and closes the ports.
func (l *Listener) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(ctx, l.Close)
	defer stop()
	var wg sync.WaitGroup
	if l.dhcp != nil {
		wg.Go(func() { cancel(l.s.serveDHCP(l.dhcp, PortDHCP)) })
		wg.Go(func() { cancel(l.s.serveDHCP(l.proxy, PortProxy)) })
	}
	wg.Go(func() { cancel(l.s.serveTFTP(ctx, l.tftp)) })
	wg.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("network boot: %w", err)
	}
	return nil
}

// listen opens a port and asks the kernel to say on which interface, and to which address, a packet
// came.
func listen(at *net.UDPAddr) (*ipv4.PacketConn, error) {
	c, err := net.ListenUDP("udp4", at)
	if err != nil {
		return nil, err
	}
	p := ipv4.NewPacketConn(c)
	if err := p.SetControlMessage(ipv4.FlagInterface|ipv4.FlagDst, true); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// serveDHCP answers what comes to one port.
func (s *Server) serveDHCP(c *ipv4.PacketConn, port int) error {
	buf := make([]byte, 64<<10)
	for {
		n, cm, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		source, ok := from.(*net.UDPAddr)
		if !ok || cm == nil {
			continue
		}
		s.handle(c, buf[:n], cm.IfIndex, source, port)
	}
}

// handle answers one packet. What cannot be sent is lost, as packets are; the client asks again.
func (s *Server) handle(c *ipv4.PacketConn, packet []byte, index int, from *net.UDPAddr, port int) {
	q, err := dhcpv4.FromBytes(packet)
	if err != nil || clientKind(q) == notClient {
		return
	}
	card := s.card(index)
	a := s.answer(q, card.self, port)
	if a == nil {
		return
	}
	answer, to := a.ToBytes(), destination(q, from, port)
	if !card.mayAsk(from, port) || !card.mayHear(to, small(answer, packet)) || !s.may(q.ClientHWAddr, to.AddrPort().Addr(), time.Now()) {
		return
	}
	cm := &ipv4.ControlMessage{IfIndex: index}
	if to.IP.Equal(net.IPv4bcast) {
		cm.Src = card.self.AsSlice()
	} else {
		cm = nil // the way to a relay may be another
	}
	if _, err := c.WriteTo(answer, cm, to); err != nil {
		s.note(to.AddrPort().Addr(), "%s: %v", q.ClientHWAddr, err)
		return
	}
	s.note(to.AddrPort().Addr(), "%s is sent to %q", q.ClientHWAddr, a.BootFileNameOption())
}

// may tells whether a client may be answered now. Its own share is asked for first: what it may not
// have is none of what all broadcasts share.
func (s *Server) may(client net.HardwareAddr, to netip.Addr, now time.Time) bool {
	return s.clients.Take(party(client), now) == 0 && s.answers.Take(to, now) == 0
}

// party makes of a hardware address one that package limit counts as one party: what it counts of
// IPv6 are the first eight bytes.
func party(client net.HardwareAddr) netip.Addr {
	a := [16]byte{0xfd}
	copy(a[1:8], client)
	return netip.AddrFrom16(a)
}

// small tells whether an answer is hardly larger than its question. Firmware behind a relay sends as
// much as it gets, give or take the length of a URL.
func small(answer, question []byte) bool { return len(answer) <= len(question)*5/4 }

// destination is where the answer goes (RFC 2131, section 4.1; PXE 2.1: at port 4011 to where the
// question came from).
func destination(q *dhcpv4.DHCPv4, from *net.UDPAddr, port int) *net.UDPAddr {
	switch {
	case port == PortProxy && !from.IP.IsUnspecified():
		return from
	case !q.GatewayIPAddr.IsUnspecified() && q.GatewayIPAddr != nil:
		return &net.UDPAddr{IP: q.GatewayIPAddr, Port: dhcpv4.ServerPort}
	case port == PortDHCP && !q.ClientIPAddr.IsUnspecified() && q.ClientIPAddr != nil:
		return &net.UDPAddr{IP: q.ClientIPAddr, Port: dhcpv4.ClientPort}
	}
	return &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ClientPort}
}
