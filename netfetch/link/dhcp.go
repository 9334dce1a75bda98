package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"time"

	"troy/internal/blank"
	"troy/internal/errline"
	"troy/netfetch"
	"troy/netfetch/params"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
)

// optionServer is the DHCP option that may name the Troy server: a URL, or
// host[:port], as text. 224 is the first of the site-specific codes (RFC 3942).
const optionServer = dhcpv4.GenericOptionCode(224)

const (
	// The wait for an answer to the first request (what is sent right after the carrier came
	// is often lost), and to later ones: longer would sleep through the end of spanning tree.
	discoverFirst = 500 * time.Millisecond
	discoverMost  = 4 * time.Second
	requestWait   = 2 * time.Second // wait for the ACK; tried requestTries times
	requestTries  = 3
)

// discover sends DHCPDISCOVER until a useful offer comes or the carrier goes.
func (s *search) discover(ctx context.Context, port netlink.Link) (*candidate, error) {
	client, err := newClient4(port, discoverFirst)
	if err != nil {
		return nil, err
	}
	offer, err := s.firstOffer(ctx, port, client)
	if err != nil {
		return nil, errline.Join(err, client.Close())
	}
	c := &candidate{port: port, done: make(chan error, 1)}
	c.accept = func(ctx context.Context) (*Link, error) {
		defer client.Close()
		return request(ctx, port, client, offer)
	}
	c.refuse = func(l *Link) { release(port, l) }
	c.drop = func() { client.Close() }
	return c, nil
}

// firstOffer repeats one DISCOVER under the same transaction, so that a late
// answer to an earlier one counts.
func (s *search) firstOffer(ctx context.Context, port netlink.Link, client *nclient4.Client) (*dhcpv4.DHCPv4, error) {
	discover, err := dhcpv4.NewDiscovery(client.InterfaceAddr(), modifiers()...)
	if err != nil {
		return nil, fmt.Errorf("making a DHCP request: %w", err)
	}
	begin := time.Now()
	for wait := discoverFirst; ; wait = min(2*wait, discoverMost) {
		if up, err := hasCarrier(port); err != nil || !up {
			s.update(port, func(p *Port) { p.Carrier = false })
			return nil, errline.Join(errCarrier, err)
		}
		discover.NumSeconds = uint16(min(time.Since(begin)/time.Second, 0xffff))
		s.update(port, func(p *Port) { p.Requests++ })
		round, cancel := context.WithTimeout(ctx, wait+rand.N(wait/4))
		offer, err := client.SendAndRead(round, nclient4.DefaultServers, discover, usefulOffer)
		cancel()
		switch {
		case err == nil:
			addr, _ := addrOf(offer)
			s.update(port, func(p *Port) { p.Offers, p.Addr, p.Err = p.Offers+1, addr, nil })
			return offer, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nclient4.ErrNoResponse):
			return nil, fmt.Errorf("asking for an address: %w", err)
		}
	}
}

// newClient4 opens a DHCP client on the port. It must be opened again after each loss of
// the carrier: its receiver ends with the first error.
func newClient4(port netlink.Link, timeout time.Duration) (*nclient4.Client, error) {
	a := port.Attrs()
	client, err := nclient4.New(a.Name, nclient4.WithHWAddr(a.HardwareAddr),
		nclient4.WithTimeout(timeout+time.Minute), nclient4.WithRetry(1)) // contexts end the waits
	if err != nil {
		return nil, fmt.Errorf("opening the DHCP client: %w", err)
	}
	return client, nil
}

func modifiers() []dhcpv4.Modifier {
	return []dhcpv4.Modifier{
		dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(nclient4.MaxMessageSize)),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier("troy")),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer,
			dhcpv4.OptionDomainName, dhcpv4.OptionInterfaceMTU,
			dhcpv4.OptionClasslessStaticRoute, optionServer),
	}
}

// usefulOffer leaves out answers without an address, as proxyDHCP servers send them.
func usefulOffer(m *dhcpv4.DHCPv4) bool {
	_, err := addrOf(m)
	return m.MessageType() == dhcpv4.MessageTypeOffer && err == nil && m.ServerIdentifier() != nil
}

// request asks for the lease that was offered; silence is asked again.
func request(ctx context.Context, port netlink.Link, client *nclient4.Client, offer *dhcpv4.DHCPv4) (*Link, error) {
	for range requestTries {
		round, cancel := context.WithTimeout(ctx, requestWait)
		lease, err := client.RequestFromOffer(round, offer, modifiers()...)
		cancel()
		var nak *nclient4.ErrNak
		switch {
		case err == nil:
			return linkOf(port.Attrs(), lease)
		case errors.As(err, &nak), !errors.Is(err, context.DeadlineExceeded), ctx.Err() != nil:
			return nil, fmt.Errorf("asking %v for the address it offered: %w", offer.ServerIdentifier(), err)
		}
	}
	return nil, fmt.Errorf("asking %v for the address it offered: %w", offer.ServerIdentifier(), errSilent)
}

// release gives a lease back; the server does not answer, so nothing is
// known of failure.
func release(port netlink.Link, l *Link) {
	client, err := newClient4(port, requestWait)
	if err != nil {
		return
	}
	defer client.Close()
	_ = client.Release(l.lease)
}

// linkOf makes a Link of a lease.
func linkOf(a *netlink.LinkAttrs, lease *nclient4.Lease) (*Link, error) {
	ack := lease.ACK
	addr, err := addrOf(ack)
	if err != nil {
		return nil, err
	}
	l := &Link{Interface: a.Name, MAC: a.HardwareAddr, Addr: addr, lease: lease}
	l.DNS = addrs(ack.DNS())
	l.Domain = cleanText(ack.DomainName())
	l.Server = netfetch.ServerURL(cleanText(string(ack.GetOneOption(optionServer))))
	if b := ack.GetOneOption(dhcpv4.OptionInterfaceMTU); len(b) == 2 {
		if mtu := int(binary.BigEndian.Uint16(b)); mtu >= 576 {
			l.MTU = mtu
		}
	}
	l.setRoutes(ack)
	l.setTimes(ack)
	return l, nil
}

// setRoutes follows RFC 3442: with option 121 the router option is not used.
func (l *Link) setRoutes(ack *dhcpv4.DHCPv4) {
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
// standard shares. The longest possible lease is for ever.
func (l *Link) setTimes(ack *dhcpv4.DHCPv4) {
	const forEver = 0xffffffff * time.Second
	lease := ack.IPAddressLeaseTime(forEver)
	if lease <= 0 || lease == forEver {
		return
	}
	l.Lease = lease
	l.renewT, l.rebind = ack.IPAddressRenewalTime(lease/2), ack.IPAddressRebindingTime(lease/8*7)
	if l.renewT <= 0 || l.renewT > l.rebind || l.rebind > lease {
		l.renewT, l.rebind = lease/2, lease/8*7
	}
}

// addrOf gives the address a message carries. Without a mask (option 1) the
// class of the address counts, as RFC 950 has it.
func addrOf(m *dhcpv4.DHCPv4) (netip.Prefix, error) {
	a, ok := netip.AddrFromSlice(m.YourIPAddr.To4())
	if !ok || !params.IsHost(a) {
		return netip.Prefix{}, fmt.Errorf("%w: the DHCP server gives %v", netfetch.ErrProtocol, m.YourIPAddr)
	}
	mask := m.SubnetMask()
	if len(mask) == 0 {
		mask = net.IP(a.AsSlice()).DefaultMask()
	}
	ones, bits := mask.Size()
	if bits != 32 || ones == 0 {
		return netip.Prefix{}, fmt.Errorf("%w: the DHCP server gives the subnet mask %v", netfetch.ErrProtocol, mask)
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
