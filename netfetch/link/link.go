package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"troy/netfetch/params"
)

// ErrNoLink is returned when no wired port gave a useful address.
var ErrNoLink = errors.New("no wired port gave a useful address")

// Options holds what may be chosen; the zero value asks for an address by
// DHCP on every wired port.
type Options struct {
	// Static is the address to use instead of DHCP. nil = DHCP.
	Static *params.Static
	// Ports limits the search to those that one of these matches. Empty = all wired ones.
	Ports []params.Port
	// First is the MAC address of the port that is preferred. nil = none is.
	First net.HardwareAddr
	// Wait is how long to try. 0 = 90 seconds: carrier (3 s), a switch port in spanning
	// tree (30 s) and a slow DHCP server in a row.
	Wait time.Duration
	// ResolvConf is the file to write the name servers to, if there are any.
	// "" = none is written. (Go's resolver reads /etc/resolv.conf.)
	ResolvConf string
	// Useful, if set, is called once a port has its address, to see e.g. whether the server
	// answers. On an error the address is removed and what else there is is tried; this port gets
	// another chance later. Where nothing is useful Up settles for one that is not: Link.Doubt.
	Useful func(context.Context, *Link) error

	// only is the kernel's name of the one port that is looked at; "" = see above.
	only string
	// notify, if set, is called whenever something is seen on a port, by several goroutines, one at
	// a time.
	notify func(Port)
}

// Link is a port with an address, ready for use. It is a snapshot: Keep
// gives a new one when something changes.
type Link struct {
	Interface string // the kernel's name of the port
	MAC       net.HardwareAddr
	Addr      netip.Prefix
	Gateway   netip.Addr // zero = none
	Routes    []Route    // further routes the DHCP server gave (option 121)
	DNS       []netip.Addr
	Domain    string
	MTU       int           // 0 = as the port has it
	Server    string        // Troy server the DHCP server names (option 224, text), "" = none
	Lease     time.Duration // 0 = for ever
	Took      time.Duration // from the call of Up
	Odd       []string      // where the DHCP server breaks the rules, or gives what cannot be used
	Doubt     error         // why Options.Useful did not take it; nil = it did

	lease          *lease        // nil = static
	renewT, rebind time.Duration // T1 and T2 of RFC 2131, from the lease's creation
	resolvConf     string
	ports          []Port // what was seen on every port
}

// Route is one route of the DHCP server's.
type Route struct {
	Dst netip.Prefix
	Via netip.Addr
}

// Port says what was seen on one port.
type Port struct {
	Name     string
	MAC      net.HardwareAddr
	Driver   string        // kernel driver, "" = not known
	Carrier  bool          // a cable with something alive at the other end
	Took     time.Duration // from Up to the first carrier; 0 = none so far
	Requests int           // DHCPDISCOVER messages sent
	Offers   int           // useful offers that came back
	Addr     netip.Prefix  // address the port got or was offered
	Err      error         // the last thing that went wrong
	Refused  int           // answers that came back and could not be taken
	Why      string        // what the last of these was, and from whom
	Chosen   bool          // this port is the Link

	tried   bool // what it has to offer was tried
	useless bool // it had an address, of no use
}

// label names the port in each way that troy.port takes.
func (p *Port) label() string {
	if p.Driver == "" {
		return fmt.Sprintf("%s (%s)", p.Name, p.MAC)
	}
	return fmt.Sprintf("%s (%s, %s)", p.Name, p.Driver, p.MAC)
}

// String gives one line for a screen.
func (p Port) String() string {
	s := p.label()
	switch {
	case p.Chosen:
		s += ": " + p.Addr.String()
	case !p.Carrier && p.Took == 0:
		s += ": no carrier (cable?)"
	case !p.Carrier:
		s += ": carrier lost"
	case p.Offers > 0:
		s += ": offered " + p.Addr.String()
	case p.Refused > 0:
		s += fmt.Sprintf(": carrier, %d DHCP answers, none of them of use; the last came %s", p.Refused, p.Why)
	case p.Requests == 1:
		s += ": carrier, asking for an address"
	case p.Requests > 1:
		s += fmt.Sprintf(": carrier, no DHCP answer to %d requests", p.Requests)
	default:
		s += ": carrier"
	}
	if p.Err != nil && !p.Chosen {
		s += ": " + p.Err.Error()
	}
	return s
}

// Error is returned when no port gave a useful address. It is an
// ErrNoLink and wraps the context's error.
type Error struct {
	Took  time.Duration
	Ports []Port // what was seen; empty = the machine has no wired port with a driver that is meant
	Other []Port // wired ports that Options.Ports, or the port of Options.Static, leaves out
	Err   error
}

// Error gives one line with what was seen on each port.
func (e *Error) Error() string {
	if len(e.Ports) == 0 && len(e.Other) > 0 {
		names := make([]string, len(e.Other))
		for i, p := range e.Other {
			names[i] = p.label()
		}
		return fmt.Sprintf("%v in %v: none of the wired ports is the one to use (troy.port): %s", ErrNoLink, e.Took.Round(time.Second), strings.Join(names, "; "))
	}
	if len(e.Ports) == 0 {
		return fmt.Sprintf("%v in %v: no wired port was found (driver missing?)", ErrNoLink, e.Took.Round(time.Second))
	}
	seen := make([]string, len(e.Ports))
	for i, p := range e.Ports {
		seen[i] = p.String()
	}
	return fmt.Sprintf("%v in %v: %s", ErrNoLink, e.Took.Round(time.Second), strings.Join(seen, "; "))
}

// Unwrap gives the class and the reason the search ended.
func (e *Error) Unwrap() []error { return []error{ErrNoLink, e.Err} }

var errWaited = errors.New("the time to wait for a link is over")

// Up raises all wired ports at once and returns one that has a useful address, with address and
// routes set. Ports that appear later (a slow driver) are tried too; the others are left up,
// without address. The error is a *Error.
func Up(ctx context.Context, o *Options) (*Link, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	opts.Wait = cmp.Or(opts.Wait, 90*time.Second)
	ctx, cancel := context.WithTimeoutCause(ctx, opts.Wait+lastTime, errWaited)
	defer cancel()
	s := newSearch(&opts)
	link, err := s.run(ctx)
	cancel()
	s.ports.Wait()
	if err != nil {
		return nil, &Error{Took: time.Since(s.start), Ports: s.seen(), Other: slices.Collect(maps.Values(s.other)), Err: err}
	}
	link.Took, link.ports = time.Since(s.start), s.seen()
	return link, nil
}
