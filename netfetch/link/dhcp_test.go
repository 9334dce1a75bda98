package link

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
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

var portAttrs = netlink.LinkAttrs{Name: "eth0", HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}

func TestLinkOf(t *testing.T) {
	l, err := linkOf(&portAttrs, &nclient4.Lease{ACK: ackMessage(t)})
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
	tests := []struct {
		name   string
		change dhcpv4.Modifier
		ok     func(l *Link, err error) bool
	}{
		{"no address", dhcpv4.WithYourIP(net.IPv4zero), func(l *Link, err error) bool { return err != nil }},
		{"loopback", dhcpv4.WithYourIP(net.IPv4(127, 0, 0, 1)), func(l *Link, err error) bool { return err != nil }},
		{"multicast", dhcpv4.WithYourIP(net.IPv4(224, 0, 0, 1)), func(l *Link, err error) bool { return err != nil }},
		{"mask with holes", option(dhcpv4.OptionSubnetMask, 255, 0, 255, 0), func(l *Link, err error) bool { return err != nil }},
		{"no mask", dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionSubnetMask, nil)), func(l *Link, err error) bool { return err == nil && l.Addr.Bits() == 24 }},
		{"endless lease", dhcpv4.WithLeaseTime(0xffffffff), func(l *Link, err error) bool { return err == nil && l.Lease == 0 }},
		{"no lease time", dhcpv4.WithLeaseTime(0), func(l *Link, err error) bool { return err == nil && l.Lease == 0 }},
		{"T1 after T2", option(dhcpv4.OptionRenewTimeValue, 0, 0, 14, 15), func(l *Link, err error) bool {
			return err == nil && l.renewT == 30*time.Minute
		}},
		{"tiny MTU", option(dhcpv4.OptionInterfaceMTU, 0, 68), func(l *Link, err error) bool { return err == nil && l.MTU == 0 }},
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
		l, err := linkOf(&portAttrs, &nclient4.Lease{ACK: ackMessage(t, test.change)})
		if !test.ok(l, err) {
			t.Errorf("%s: link %+v, %v", test.name, l, err)
		}
	}
}

func TestUsefulOffer(t *testing.T) {
	offer := dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer)
	for name, test := range map[string]struct {
		change dhcpv4.Modifier
		want   bool
	}{
		"a good one":              {func(*dhcpv4.DHCPv4) {}, true},
		"of a proxyDHCP server":   {dhcpv4.WithYourIP(net.IPv4zero), false},
		"without server":          {func(m *dhcpv4.DHCPv4) { m.DeleteOption(dhcpv4.OptionServerIdentifier) }, false},
		"another kind of message": {dhcpv4.WithMessageType(dhcpv4.MessageTypeNak), false},
	} {
		if got := usefulOffer(ackMessage(t, offer, test.change)); got != test.want {
			t.Errorf("an offer %s: useful = %v", name, got)
		}
	}
}

// FuzzLinkOf takes any packet that the DHCP library takes. The seeds are ackMessage with one change
// each.
func FuzzLinkOf(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		usefulOffer(m)
		l, err := linkOf(&portAttrs, &nclient4.Lease{ACK: m})
		if err != nil {
			return
		}
		if !params.IsHost(l.Addr.Addr()) || l.Addr.Bits() < 1 || l.Lease < 0 || l.renewT > l.rebind || l.rebind > l.Lease || strings.ContainsAny(l.Domain+l.Server, "\n\r\x00 ") {
			t.Errorf("link = %+v", l)
		}
		port := &netlink.Dummy{LinkAttrs: portAttrs}
		for _, r := range routes(port, l) {
			if r.Dst == nil {
				t.Errorf("a route without destination: %+v", l)
			}
		}
	})
}
