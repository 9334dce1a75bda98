package netfetch

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Params is what the kernel command line or the media's config file says about
// the network.
type Params struct {
	Static     *Static  // troy.ip; nil = DHCP
	Interfaces []string // troy.port; empty = all wired ports
	Servers    []string // troy.server; base URLs, mirrors in their order
}

// ParseParams reads the troy.* network parameters out of texts in the form of the
// kernel command line. A later text overrides an earlier one, a later word an
// earlier one, so that the command line can follow the config file:
//
//	troy.ip=dhcp
//	troy.ip=192.0.2.10/24[,gw=192.0.2.1][,dns=192.0.2.53]…[,port=eth0]
//	troy.port=eth0[,eth1]…
//	troy.server=URL|HOST[:PORT][,URL|HOST[:PORT]]…
//
// Words are separated by white space; double quotes keep one together; a "#"
// at the beginning of a word makes the rest of its line a comment. Other words are ignored. The
// error names every word that is not understood and is an ErrSyntax; what was
// understood is returned with it.
func ParseParams(texts ...string) (Params, error) {
	var p Params
	var errs []error
	for _, text := range texts {
		for _, word := range words(text) {
			key, value, _ := strings.Cut(word, "=")
			if err := p.set(key, value); err != nil {
				errs = append(errs, fmt.Errorf("%w: %.100q: %v", ErrSyntax, word, err))
			}
		}
	}
	return p, errors.Join(errs...)
}

func (p *Params) set(key, value string) (err error) {
	switch key {
	case "troy.ip":
		p.Static, err = parseStatic(value)
	case "troy.port":
		p.Interfaces, err = parsePorts(value)
	case "troy.server":
		p.Servers, err = parseServers(value)
	}
	return err
}

// parseStatic reads the value of troy.ip.
func parseStatic(value string) (*Static, error) {
	if value == "dhcp" {
		return nil, nil
	}
	first, rest, more := strings.Cut(value, ",")
	addr, err := netip.ParsePrefix(first)
	if err != nil {
		return nil, errors.New("want dhcp or ADDRESS/LENGTH, e.g. 192.0.2.10/24")
	}
	s := &Static{Addr: addr}
	if err := checkHost(addr); err != nil {
		return nil, err
	}
	for more {
		var part string
		part, rest, more = strings.Cut(rest, ",")
		if err := s.option(part); err != nil {
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
		s.Interface = ports[0]
		return nil
	}
	a, err := netip.ParseAddr(value)
	if err != nil || !hostAddr(a) {
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

// checkHost refuses what cannot be the address of one host in its subnet.
func checkHost(p netip.Prefix) error {
	if !hostAddr(p.Addr()) || p.Bits() < 1 {
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

func parsePorts(value string) ([]string, error) {
	ports := strings.Split(value, ",")
	for _, name := range ports {
		if name == "" || len(name) > 15 || cleanText(name) == "" || strings.ContainsAny(name, "/:") {
			return nil, fmt.Errorf("%q is no name of a port", name)
		}
	}
	return ports, nil
}

func parseServers(value string) ([]string, error) {
	var all []string
	for part := range strings.SplitSeq(value, ",") {
		u := ServerURL(part)
		if u == "" {
			return nil, fmt.Errorf("%q: want http://HOST[:PORT], https://… or HOST[:PORT]", part)
		}
		all = append(all, u)
	}
	return all, nil
}

// words splits like the kernel does, with comments for files.
func words(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		all = append(all, lineWords(line)...)
	}
	return all
}

func lineWords(line string) []string {
	var all []string
	var word strings.Builder
	quoted := false
	end := func() {
		if word.Len() > 0 {
			all = append(all, word.String())
			word.Reset()
		}
	}
	for _, r := range line {
		switch {
		case r == '"':
			quoted = !quoted
		case !quoted && strings.ContainsRune(" \t\r\n\x00", r):
			end()
		case !quoted && r == '#' && word.Len() == 0:
			return all
		default:
			word.WriteRune(r)
		}
	}
	end()
	return all
}
