package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"troy/internal/durable"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var errCarrier = errors.New("carrier lost")

// wired reports whether a link is a physical Ethernet port (or one end of a
// veth pair, which is one inside a container) and no part of a bridge or bond.
func wired(l netlink.Link) bool {
	a := l.Attrs()
	if t := l.Type(); t != "device" && t != "veth" {
		return false
	}
	if a.EncapType != "ether" || a.Flags&net.FlagLoopback != 0 || a.MasterIndex != 0 || len(a.HardwareAddr) != 6 {
		return false
	}
	return !exists("/sys/class/net", a.Name, "wireless") && !exists("/sys/class/net", a.Name, "phy80211")
}

func exists(parts ...string) bool {
	_, err := os.Stat(filepath.Join(parts...))
	return err == nil
}

// driver gives the name of the kernel driver behind a port, "" if there is none.
func driver(name string) string {
	target, err := os.Readlink(filepath.Join("/sys/class/net", name, "device/driver"))
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

// raise sets a port administratively up: without that many have no carrier.
func raise(port netlink.Link) error {
	if err := netlink.LinkSetUp(port); err != nil {
		return fmt.Errorf("setting the port up: %w", err)
	}
	return nil
}

// hasCarrier asks the kernel, now.
func hasCarrier(port netlink.Link) (bool, error) {
	l, err := netlink.LinkByIndex(port.Attrs().Index)
	if err != nil {
		return false, fmt.Errorf("asking for the carrier: %w", err)
	}
	return l.Attrs().RawFlags&unix.IFF_LOWER_UP != 0, nil
}

// configure sets address, MTU and routes, and writes the name servers.
func configure(port netlink.Link, l *Link) error {
	if err := netlink.AddrReplace(port, &netlink.Addr{IPNet: ipNet(l.Addr)}); err != nil {
		return fmt.Errorf("setting the address %v: %w", l.Addr, err)
	}
	if l.MTU > 0 {
		// A port that cannot have this MTU works with its own.
		if err := netlink.LinkSetMTU(port, l.MTU); err != nil {
			l.MTU = 0
		}
	}
	for _, r := range routes(port, l) {
		if err := netlink.RouteReplace(r); err != nil {
			return fmt.Errorf("setting the route to %v by %v: %w", r.Dst, r.Gw, err)
		}
	}
	return writeResolvConf(l)
}

// deconfigure takes the address off again; its routes go with it, and what else was set for it.
func deconfigure(port netlink.Link, l *Link) error {
	if l.MTU > 0 {
		_ = netlink.LinkSetMTU(port, port.Attrs().MTU) // as it was found
	}
	if l.resolvConf != "" && len(l.DNS) > 0 {
		_ = os.Remove(l.resolvConf)
	}
	err := netlink.AddrDel(port, &netlink.Addr{IPNet: ipNet(l.Addr)})
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("removing the address %v: %w", l.Addr, err)
	}
	return nil
}

// routes lists what l asks for. Gateways outside the subnet (/32 leases) are
// reached directly.
func routes(port netlink.Link, l *Link) []*netlink.Route {
	var all []*netlink.Route
	add := func(dst netip.Prefix, via netip.Addr) {
		r := &netlink.Route{LinkIndex: port.Attrs().Index, Dst: ipNet(dst)}
		if via.IsValid() && !via.IsUnspecified() {
			r.Gw = via.AsSlice()
			if !l.Addr.Contains(via) {
				r.Flags = int(netlink.FLAG_ONLINK)
			}
		} else {
			r.Scope = netlink.SCOPE_LINK
		}
		all = append(all, r)
	}
	for _, r := range l.Routes {
		add(r.Dst, r.Via)
	}
	if l.Gateway.IsValid() {
		add(netip.PrefixFrom(netip.IPv4Unspecified(), 0), l.Gateway)
	}
	return all
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

// writeResolvConf writes resolv.conf(5) if it was asked for and there is
// something to write. A lab without DNS needs none.
func writeResolvConf(l *Link) error {
	if l.resolvConf == "" || len(l.DNS) == 0 {
		return nil
	}
	var b strings.Builder
	if l.Domain != "" {
		fmt.Fprintf(&b, "search %s\n", l.Domain)
	}
	for _, a := range l.DNS {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	if err := durable.WriteFile(l.resolvConf, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("writing the name servers: %w", err)
	}
	return nil
}
