package link

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"strings"
	"time"

	"troy/internal/blank"
	"troy/netfetch"
	"troy/netfetch/params"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
)

// optionServer is the DHCP option that may name the Troy server: a URL, or
// host[:port], as text. 224 is the first of the site-specific codes (RFC 3942).
const optionServer = dhcpv4.GenericOptionCode(224)

// minMTU is what every machine takes (RFC 791); less is a mistake.
const minMTU = 576

// lease is what a server gave, and when.
type lease struct {
	ack    *message
	server netip.Addr // whom to ask for more; zero = not known
	at     time.Time
}

// renewed is the lease after another answer. Some servers leave options out of a renewal; then
// those of before hold.
func (l *lease) renewed(ack *message, at time.Time) *lease {
	full, head := *ack, *ack.DHCPv4
	head.Options = maps.Clone(l.ack.Options)
	maps.Copy(head.Options, ack.Options)
	full.DHCPv4 = &head
	server := ack.server()
	if !server.IsValid() {
		server = l.server
	}
	return &lease{ack: &full, server: server, at: at}
}

// linkOf makes a Link of a lease.
func linkOf(a *netlink.LinkAttrs, lease *lease) (*Link, error) {
	ack := lease.ack
	addr, err := ack.addr()
	if err != nil {
		return nil, err
	}
	l := &Link{Interface: a.Name, MAC: a.HardwareAddr, Addr: addr, lease: lease}
	l.DNS = addrs(ack.DNS())
	l.Domain = cleanText(ack.DomainName())
	l.Server = ack.troyServer()
	l.MTU = ack.mtu(a.MTU)
	l.setRoutes(ack)
	l.setTimes(ack)
	l.Odd = ack.odd
	return l, nil
}

// troyServer is the URL that option 224 gives, "" = none.
func (m *message) troyServer() string {
	return netfetch.ServerURL(cleanText(string(m.GetOneOption(optionServer))))
}

// mtu is the size of packets that the server wants, if it is less than what the port has: a larger
// one is a mistake more often than of use. 0 = that of the port.
func (m *message) mtu(port int) int {
	b := m.fixed(dhcpv4.OptionInterfaceMTU, 2)
	if b == nil {
		return 0
	}
	mtu := int(binary.BigEndian.Uint16(b))
	if mtu < minMTU || mtu > port {
		m.note("option 26 gives an MTU of %d", mtu)
		return 0
	}
	return mtu
}

// setRoutes follows RFC 3442: with option 121 the router option is not used.
func (l *Link) setRoutes(ack *message) {
	for _, r := range ack.ClasslessStaticRoute() {
		if r.Dest == nil {
			continue
		}
		dst, ok := netip.AddrFromSlice(r.Dest.IP.To4())
		via, ok2 := netip.AddrFromSlice(r.Router.To4())
		ones, bits := r.Dest.Mask.Size()
		switch {
		case !ok || !ok2 || bits != 32:
		case ones == 0 && !l.Gateway.IsValid():
			l.Gateway = via
		default:
			l.Routes = append(l.Routes, Route{netip.PrefixFrom(dst, ones).Masked(), via})
		}
	}
	if gw := addrs(ack.Router()); len(gw) > 0 && !l.Gateway.IsValid() && len(l.Routes) == 0 {
		l.Gateway = gw[0]
	}
}

// setTimes reads lease time, T1 and T2 (RFC 2131, section 4.4.5). Nonsense gets the
// standard shares. The longest possible lease is for ever, and so is one without a time.
func (l *Link) setTimes(ack *message) {
	const forEver = 0xffffffff * time.Second
	lease := ack.seconds(dhcpv4.OptionIPAddressLeaseTime)
	if lease == 0 || lease == forEver {
		return
	}
	l.Lease = lease
	l.renewT, l.rebind = ack.seconds(dhcpv4.OptionRenewTimeValue), ack.seconds(dhcpv4.OptionRebindingTimeValue)
	if l.renewT == 0 {
		l.renewT = lease / 2
	}
	if l.rebind == 0 {
		l.rebind = lease / 8 * 7
	}
	if l.renewT > l.rebind || l.rebind > lease {
		ack.note("a lease of %v with T1 %v and T2 %v", lease, l.renewT, l.rebind)
		l.renewT, l.rebind = lease/2, lease/8*7
	}
}

// seconds is the value of an option that holds a time; 0 = none.
func (m *message) seconds(code dhcpv4.OptionCode) time.Duration {
	if b := m.fixed(code, 4); b != nil {
		return time.Duration(binary.BigEndian.Uint32(b)) * time.Second
	}
	return 0
}

// addr gives the address that a message carries. Without a mask (option 1) that makes sense the
// class of the address counts, as RFC 950 has it.
func (m *message) addr() (netip.Prefix, error) {
	a, ok := netip.AddrFromSlice(m.YourIPAddr.To4())
	if !ok || !params.IsHost(a) {
		return netip.Prefix{}, fmt.Errorf("%w: the DHCP server gives %v", netfetch.ErrProtocol, m.YourIPAddr)
	}
	class, _ := net.IP(a.AsSlice()).DefaultMask().Size()
	mask := m.fixed(dhcpv4.OptionSubnetMask, 4)
	if mask == nil {
		return netip.PrefixFrom(a, class), nil
	}
	ones, bits := net.IPMask(mask).Size()
	if bits != 32 || params.CheckHost(netip.PrefixFrom(a, ones)) != nil {
		m.note("option 1 gives %v the subnet mask %v; that of its class counts", a, net.IP(mask))
		ones = class
	}
	return netip.PrefixFrom(a, ones), nil
}

// addrs keeps the usable of a list.
func addrs(ips []net.IP) []netip.Addr {
	var all []netip.Addr
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip.To4()); ok && params.IsHost(a) {
			all = append(all, a)
		}
	}
	return all
}

// cleanText takes off the blanks around a name or URL, and what follows a NUL: servers that write C
// strings send the rest of their buffer. A text with anything else that has no place in a name is
// dropped, because it goes to screens and into resolv.conf.
func cleanText(s string) string {
	s, _, _ = strings.Cut(blank.Trim(s), "\x00")
	s = blank.Trim(s)
	for _, r := range s {
		if r <= ' ' || r >= 0x7f {
			return ""
		}
	}
	return s
}
