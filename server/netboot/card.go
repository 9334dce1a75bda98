package netboot

import (
	"net"
	"net/netip"
	"slices"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// card is the network card on which a question came.
type card struct {
	self netip.Addr     // the server's address there; zero = it does not answer
	nets []netip.Prefix // that are reached there without a router
}

// card looks at an interface.
func (s *Server) card(index int) (c card) {
	i, err := net.InterfaceByIndex(index)
	if err != nil || len(s.o.Interfaces) > 0 && !slices.Contains(s.o.Interfaces, i.Name) {
		return card{}
	}
	all, err := i.Addrs()
	if err != nil {
		return card{}
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			c.nets = append(c.nets, p)
		}
	}
	switch {
	case s.o.Address.IsValid():
		c.self = s.o.Address.Unmap()
	case len(c.nets) > 0:
		c.self = c.nets[0].Addr()
	}
	return c
}

// holds tells whether an address is one of a single machine in a network of the card.
func (c *card) holds(a netip.Addr) bool {
	return slices.ContainsFunc(c.nets, func(p netip.Prefix) bool { return p.Contains(a) && !reserved(p, a) })
}

// reserved tells whether an address is the first or the last one of its network: that of the network
// itself, or of all its machines.
func reserved(p netip.Prefix, a netip.Addr) bool {
	below, above := a.Prev(), a.Next()
	return p.Bits() < 31 && (!below.IsValid() || !p.Contains(below) || !above.IsValid() || !p.Contains(above))
}

// mayAsk tells whether a question came from where clients and relays send: others may have forged
// their address to have somebody else get the answer.
func (c *card) mayAsk(from *net.UDPAddr, port int) bool {
	switch from.Port {
	case dhcpv4.ClientPort:
		return true
	case dhcpv4.ServerPort:
		return port == PortDHCP // a relay
	}
	return from.Port == PortProxy && port == PortProxy
}

// mayHear tells whether an answer may go to an address: by broadcast on the card's own cable, to one
// machine of its networks, or behind a router, if the answer is small.
func (c *card) mayHear(to *net.UDPAddr, small bool) bool {
	a := to.AddrPort().Addr().Unmap()
	switch {
	case to.IP.Equal(net.IPv4bcast):
		return true
	case c.holds(a):
		return a != c.self
	}
	return small && a.IsGlobalUnicast() && !slices.ContainsFunc(c.nets, func(p netip.Prefix) bool { return p.Contains(a) })
}
