package params

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"troy/internal/blank"
	"troy/internal/errline"
	"troy/internal/kernelargs"
	"troy/netfetch"
)

// ErrSyntax is returned when a kernel parameter cannot be understood.
var ErrSyntax = errors.New("kernel parameter not understood")

// Network is what the kernel command line or the media's config file says about the network.
type Network struct {
	Static   *Static          // troy.ip; nil = DHCP
	Ports    []Port           // troy.port; empty = all wired ports
	First    net.HardwareAddr // BOOTIF: the port that the firmware loaded by, which is preferred; nil = not known
	Patience time.Duration    // troy.link-patience: how long to wait for a network; 0 = not said
	Servers  []string         // troy.server; base URLs, mirrors in their order
}

// MaxPatience is the longest Network.Patience.
const MaxPatience = 10 * time.Minute

// Static is an address that was given by hand.
type Static struct {
	Addr    netip.Prefix // IPv4 address and prefix length
	Gateway netip.Addr   // zero = none
	DNS     []netip.Addr // may be empty
	Port    Port         // "" = the first wired port with a carrier
}

// Parse reads texts in the form of the kernel command line, each of which overrides the ones
// before, so that the command line can follow the config file. The error names every word that is
// not understood and is an ErrSyntax; what was understood is returned with it.
func Parse(texts ...string) (Network, error) {
	var n Network
	var errs []error
	for _, text := range texts {
		for _, word := range kernelargs.Words(text) {
			key, value, _ := strings.Cut(word, "=")
			if err := n.set(blank.Trim(key), value); err != nil {
				errs = append(errs, fmt.Errorf("%w: %.100q: %v", ErrSyntax, word, err))
			}
		}
	}
	return n, errline.Join(errs...)
}

func (n *Network) set(key, value string) (err error) {
	switch key {
	case "troy.ip":
		n.Static, err = parseStatic(value)
	case "troy.port":
		n.Ports, err = parsePorts(value)
	case "troy.link-patience":
		n.Patience, err = parsePatience(value)
	case kernelargs.Port:
		// Boot loaders write it. One that has nothing to say is no fault of anybody's here.
		if mac := parseMAC(value); mac != nil {
			n.First = mac
		}
	case "troy.server":
		n.Servers, err = parseServers(value)
	}
	return err
}

// parseStatic reads the value of troy.ip.
func parseStatic(value string) (*Static, error) {
	value = blank.Trim(value)
	if value == "dhcp" {
		return nil, nil
	}
	first, rest, more := strings.Cut(value, ",")
	addr, err := netip.ParsePrefix(blank.Trim(first))
	if err != nil {
		return nil, errors.New("want dhcp or ADDRESS/LENGTH, e.g. 192.0.2.10/24")
	}
	s := &Static{Addr: addr}
	if err := CheckHost(addr); err != nil {
		return nil, err
	}
	for more {
		var part string
		part, rest, more = strings.Cut(rest, ",")
		if err := s.option(blank.Trim(part)); err != nil {
			return nil, err
		}
	}
	if s.Gateway == addr.Addr() {
		return nil, errors.New("the gateway is the address itself")
	}
	return s, nil
}

func (s *Static) option(part string) error {
	key, value, _ := strings.Cut(part, "=")
	if key == "port" {
		ports, err := parsePorts(value)
		if err != nil {
			return err
		}
		s.Port = ports[0]
		return nil
	}
	a, err := netip.ParseAddr(value)
	if err != nil || !IsHost(a) {
		return fmt.Errorf("%q: want gw=, dns= with an IPv4 address, or port=", part)
	}
	switch key {
	case "gw":
		s.Gateway = a
	case "dns":
		s.DNS = append(s.DNS, a)
	default:
		return fmt.Errorf("%q: want gw=, dns= or port=", part)
	}
	return nil
}

// IsHost reports whether one host can have this IPv4 address.
func IsHost(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a.As4()[0] != 0 && a.As4()[0] < 240
}

// CheckHost refuses what cannot be the address of one host in its subnet.
func CheckHost(p netip.Prefix) error {
	if !IsHost(p.Addr()) || p.Bits() < 1 {
		return fmt.Errorf("%v is no IPv4 address for a host", p)
	}
	if p.Bits() >= 31 { // RFC 3021: no network and broadcast address
		return nil
	}
	last := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	if p.Addr() == p.Masked().Addr() || p.Addr() == netip.AddrFrom4(last) {
		return fmt.Errorf("%v is the network itself or its broadcast address", p)
	}
	return nil
}

// parsePatience reads whole seconds.
func parsePatience(value string) (time.Duration, error) {
	n, err := strconv.Atoi(blank.Trim(value))
	if d := time.Duration(n) * time.Second; err == nil && n >= 1 && d <= MaxPatience {
		return d, nil
	}
	return 0, fmt.Errorf("want whole seconds from 1 to %d", MaxPatience/time.Second)
}

func parseServers(value string) ([]string, error) {
	var all []string
	for part := range strings.SplitSeq(value, ",") {
		u := netfetch.ServerURL(part)
		if u == "" {
			return nil, fmt.Errorf("%q: want http://HOST[:PORT], https://… or HOST[:PORT]", part)
		}
		all = append(all, u)
	}
	return all, nil
}
