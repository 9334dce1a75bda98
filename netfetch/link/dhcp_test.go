package link

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"

	"troy/netfetch/params"
)

// ackMessage makes a DHCPACK with every option that is looked at.
func ackMessage(t testing.TB, change ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(dhcpv4.MessageTypeAck),
		dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 10)),
		dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithServerIP(net.IPv4(192, 0, 2, 1)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 0, 2, 1))),
		dhcpv4.WithRouter(net.IPv4(192, 0, 2, 1)),
		dhcpv4.WithDNS(net.IPv4(192, 0, 2, 53), net.IPv4(0, 0, 0, 0)),
		dhcpv4.WithLeaseTime(3600),
		dhcpv4.WithOption(dhcpv4.OptDomainName("lab.example")),
		dhcpv4.WithOption(dhcpv4.OptGeneric(optionServer, []byte("192.0.2.1:8080\x00"))),
		dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, []byte{5, 220})),
	}, change...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var portAttrs = netlink.LinkAttrs{Name: "eth0", MTU: 1500, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}

// leaseOf is the lease that comes with an answer.
func leaseOf(m *dhcpv4.DHCPv4) *lease { return &lease{ack: &message{DHCPv4: m}} }

func TestLinkOf(t *testing.T) {
	l, err := linkOf(&portAttrs, leaseOf(ackMessage(t)))
	if err != nil {
		t.Fatal(err)
	}
	if l.Addr.String() != "192.0.2.10/24" || l.Gateway.String() != "192.0.2.1" || len(l.DNS) != 1 || l.MTU != 1500 ||
		l.Server != "https://192.0.2.1:8080" || l.Domain != "lab.example" ||
		l.Lease != time.Hour || l.renewT != 30*time.Minute || l.rebind != 3150*time.Second {
		t.Errorf("link = %+v", l)
	}
	option := func(code dhcpv4.OptionCode, b ...byte) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptGeneric(code, b))
	}
	// The address is taken with a mask of so many bits, and this is said.
	odd := func(bits int, said string) func(*Link, error) bool {
		return func(l *Link, err error) bool {
			return err == nil && l.Addr.Bits() == bits && (l.MTU == 1500 || strings.Contains(said, "MTU") || strings.Contains(said, "26")) &&
				strings.Contains(strings.Join(l.Odd, "\n"), said) && (said != "") == (len(l.Odd) > 0)
		}
	}
	tests := []struct {
		name   string
		change dhcpv4.Modifier
		ok     func(l *Link, err error) bool
	}{
		{"no address", dhcpv4.WithYourIP(net.IPv4zero), func(l *Link, err error) bool { return err != nil }},
		{"loopback", dhcpv4.WithYourIP(net.IPv4(127, 0, 0, 1)), func(l *Link, err error) bool { return err != nil }},
		{"multicast", dhcpv4.WithYourIP(net.IPv4(224, 0, 0, 1)), func(l *Link, err error) bool { return err != nil }},
		{"mask with holes", option(dhcpv4.OptionSubnetMask, 255, 0, 255, 0), odd(24, "subnet mask 255.0.255.0")},
		{"mask of nothing", option(dhcpv4.OptionSubnetMask, 0, 0, 0, 0), odd(24, "subnet mask 0.0.0.0")},
		{"mask that makes it a broadcast address", option(dhcpv4.OptionSubnetMask, 255, 255, 255, 254-1), odd(24, "subnet mask 255.255.255.253")},
		{"mask of three bytes", option(dhcpv4.OptionSubnetMask, 255, 255, 0), odd(24, "option 1 is ffff00")},
		{"mask as text", option(dhcpv4.OptionSubnetMask, []byte("255.255.255.0")...), odd(24, "option 1 is 3235352e")},
		{"mask twice", option(dhcpv4.OptionSubnetMask, 255, 255, 0, 0, 255, 255, 0, 0), odd(16, "")},
		{"mask of one host", option(dhcpv4.OptionSubnetMask, 255, 255, 255, 255), odd(32, "")},
		{"no mask", dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionSubnetMask, nil)), func(l *Link, err error) bool { return err == nil && l.Addr.Bits() == 24 }},
		{"endless lease", dhcpv4.WithLeaseTime(0xffffffff), func(l *Link, err error) bool { return err == nil && l.Lease == 0 }},
		{"no lease time", dhcpv4.WithLeaseTime(0), func(l *Link, err error) bool { return err == nil && l.Lease == 0 }},
		{"T1 after T2", option(dhcpv4.OptionRenewTimeValue, 0, 0, 14, 15), func(l *Link, err error) bool {
			return err == nil && l.renewT == 30*time.Minute
		}},
		{"tiny MTU", option(dhcpv4.OptionInterfaceMTU, 0, 68), odd(24, "an MTU of 68")},
		{"MTU of nothing", option(dhcpv4.OptionInterfaceMTU, 0, 0), odd(24, "an MTU of 0")},
		{"MTU larger than the port's", option(dhcpv4.OptionInterfaceMTU, 255, 255), odd(24, "an MTU of 65535")},
		{"MTU of four bytes", option(dhcpv4.OptionInterfaceMTU, 0, 0, 5, 220), odd(24, "option 26 is")},
		{"server with a line feed", option(optionServer, []byte("a\nb")...), func(l *Link, err error) bool { return err == nil && l.Server == "" }},
		{"server with a line end", option(optionServer, []byte(" http://troy:8080/\r\n\x00")...), func(l *Link, err error) bool { return err == nil && l.Server == "http://troy:8080" }},
		{"server with a buffer's rest", option(optionServer, []byte("troy \x00\x00a\xff")...), func(l *Link, err error) bool { return err == nil && l.Server == "https://troy" }},
		{"server of blanks", option(optionServer, []byte(" \x00\n")...), func(l *Link, err error) bool { return err == nil && l.Server == "" }},
		{"domain with a line end", dhcpv4.WithOption(dhcpv4.OptDomainName(" lab.example\n\x00")), func(l *Link, err error) bool { return err == nil && l.Domain == "lab.example" }},
		{"server as URL", option(optionServer, []byte("https://troy/x/")...), func(l *Link, err error) bool { return err == nil && l.Server == "https://troy/x" }},
		{"domain with a line feed", dhcpv4.WithOption(dhcpv4.OptDomainName("a\nnameserver 6.6.6.6")), func(l *Link, err error) bool { return err == nil && l.Domain == "" }},
		// 0/0 by .254, 10/8 by .253: the router option does not count (RFC 3442).
		{"classless routes", option(dhcpv4.OptionClasslessStaticRoute, 0, 192, 0, 2, 254, 8, 10, 192, 0, 2, 253), func(l *Link, err error) bool {
			return err == nil && l.Gateway.String() == "192.0.2.254" && len(l.Routes) == 1 && l.Routes[0].Dst.String() == "10.0.0.0/8"
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l, err := linkOf(&portAttrs, leaseOf(ackMessage(t, test.change)))
			if !test.ok(l, err) {
				t.Errorf("link %+v, %v", l, err)
			}
		})
	}
}

func TestOffers(t *testing.T) {
	offer := dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer)
	for name, test := range map[string]struct {
		change dhcpv4.Modifier
		refuse string // "" = it is taken
	}{
		"a good one":              {func(*dhcpv4.DHCPv4) {}, ""},
		"of a proxyDHCP server":   {dhcpv4.WithYourIP(net.IPv4zero), "proxyDHCP"},
		"of a loopback address":   {dhcpv4.WithYourIP(net.IPv4(127, 0, 0, 1)), "127.0.0.1"},
		"without server":          {func(m *dhcpv4.DHCPv4) { m.DeleteOption(dhcpv4.OptionServerIdentifier) }, ""},
		"another kind of message": {dhcpv4.WithMessageType(dhcpv4.MessageTypeNak), "type NAK"},
		"an answer of BOOTP":      {func(m *dhcpv4.DHCPv4) { m.DeleteOption(dhcpv4.OptionDHCPMessageType) }, "no message type"},
	} {
		t.Run(name, func(t *testing.T) {
			err := (&message{DHCPv4: ackMessage(t, offer, test.change)}).offers()
			if (err == nil) != (test.refuse == "") || err != nil && !strings.Contains(err.Error(), test.refuse) {
				t.Errorf("error %v, want %q", err, test.refuse)
			}
		})
	}
}

// FuzzAnswer takes any packet. The seeds are ackMessage with one change each.
func FuzzAnswer(f *testing.F) {
	port := &netlink.Dummy{LinkAttrs: portAttrs}
	head := header(append(make([]byte, 28), portAttrs.HardwareAddr...))
	f.Add(slices.Concat(head, typed(2), fromSwitch, maskOf24))
	f.Add(slices.Concat(head, typed(2), maskOf24, []byte{12, 20, 'a'}))
	f.Add(slices.Concat(head[:fileAt], fromSwitch, make([]byte, 122), head[cookieAt:], typed(2), []byte{52, 1, 3}, endOption))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &client{mac: portAttrs.HardwareAddr}
		var xid dhcpv4.TransactionID
		copy(xid[:], b[min(len(b), 4):])
		m, err := c.answer(packet{b: b, from: netip.MustParseAddr("192.0.2.1")}, xid)
		if m == nil || err != nil {
			return
		}
		if !params.IsHost(m.server()) || len(strings.Join(m.odd, "")) > 600 {
			t.Errorf("server %v, odd %q", m.server(), m.odd)
		}
		_ = m.offers()
		l, err := linkOf(&portAttrs, &lease{ack: m})
		if err != nil {
			return
		}
		if !params.IsHost(l.Addr.Addr()) || l.Addr.Bits() < 1 || l.MTU > portAttrs.MTU || l.Lease < 0 || l.renewT > l.rebind || l.rebind > l.Lease ||
			strings.ContainsAny(l.Domain+l.Server, "\n\r\x00 ") || strings.ContainsAny(strings.Join(l.Odd, ""), "\n\r\x00") {
			t.Errorf("link = %+v", l)
		}
		for _, r := range routes(port, l) {
			if r.Dst == nil {
				t.Errorf("a route without destination: %+v", l)
			}
		}
	})
}
