package link

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"troy/netfetch"
	"troy/netfetch/params"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Where the parts of a DHCP message lie (RFC 2131, figure 1), and its shortest length.
const (
	snameAt, fileAt, cookieAt, optionsAt = 44, 108, 236, 240
)

// message is an answer of a DHCP server, read with more patience than dhcpv4.FromBytes has.
type message struct {
	*dhcpv4.DHCPv4
	from netip.Addr // who sent it, or the relay; zero = not known
	odd  []string   // where it breaks the rules without being useless
}

// parse reads a DHCP message as far as it can be read: without an end option, up to an option that
// is cut off, and with the options that did not fit and lie in sname and file (option 52).
func parse(b []byte, from netip.Addr) (*message, error) {
	if len(b) < optionsAt {
		return nil, fmt.Errorf("%w: %d bytes are no DHCP message", netfetch.ErrProtocol, len(b))
	}
	header, err := dhcpv4.FromBytes(append(bytes.Clone(b[:optionsAt]), dhcpv4.OptionEnd.Code()))
	if err != nil {
		return nil, fmt.Errorf("%w: no DHCP message: %v", netfetch.ErrProtocol, err)
	}
	m := &message{DHCPv4: header, from: from}
	m.read("the options", b[optionsAt:])
	m.unload(b)
	return m, nil
}

// unload reads the options in file, then those in sname, if option 52 says that they hold any.
func (m *message) unload(b []byte) {
	const file, sname = 1, 2
	overload := m.Options.Get(dhcpv4.OptionOptionOverload)
	if len(overload) == 0 {
		return
	}
	if len(overload) > 1 || overload[0] < file || overload[0] > file|sname {
		m.note("option 52 (overload) is %.8x", overload)
		return
	}
	if overload[0]&file != 0 {
		m.BootFileName = ""
		m.read("the field file", b[fileAt:cookieAt])
	}
	if overload[0]&sname != 0 {
		m.ServerHostName = ""
		m.read("the field sname", b[snameAt:fileAt])
	}
}

// read takes the options of one field. The values of an option that is there several times are
// joined (RFC 3396). Half a value is none.
func (m *message) read(field string, b []byte) {
	for len(b) > 0 {
		code := b[0]
		b = b[1:]
		switch {
		case code == dhcpv4.OptionPad.Code():
			continue
		case code == dhcpv4.OptionEnd.Code():
			return
		case len(b) == 0:
			m.note("%s: option %d has no length", field, code)
			return
		}
		size := int(b[0])
		if b = b[1:]; size > len(b) {
			m.note("%s: option %d is cut off after %d of %d bytes", field, code, len(b), size)
			return
		}
		m.Options[code] = append(m.Options[code], b[:size]...)
		b = b[size:]
	}
	m.note("%s have no end option", field)
}

// note keeps what is odd, once.
func (m *message) note(format string, a ...any) {
	if s := fmt.Sprintf(format, a...); !slices.Contains(m.odd, s) {
		m.odd = append(m.odd, s)
	}
}

// fixed returns the value of an option that has n bytes; nil if it is not there, or something else.
// A server that repeats itself means it once.
func (m *message) fixed(code dhcpv4.OptionCode, n int) []byte {
	v := m.Options.Get(code)
	if len(v) == 0 {
		return nil
	}
	first := v[:min(n, len(v))]
	if len(v)%n != 0 || !bytes.Equal(v, bytes.Repeat(first, len(v)/n)) {
		m.note("option %d is %.8x, not one value of %d bytes", code.Code(), v, n)
		return nil
	}
	return first
}

// kind is the type of the message; 0 = it has none, as answers of BOOTP.
func (m *message) kind() dhcpv4.MessageType {
	if v := m.fixed(dhcpv4.OptionDHCPMessageType, 1); v != nil {
		return dhcpv4.MessageType(v[0])
	}
	return dhcpv4.MessageTypeNone
}

// server is whom to ask for more: who the message says it is of, else who sent it.
func (m *message) server() netip.Addr {
	named, _ := netip.AddrFromSlice(m.fixed(dhcpv4.OptionServerIdentifier, 4))
	next, _ := netip.AddrFromSlice(m.ServerIPAddr.To4())
	for _, a := range []netip.Addr{named, m.from, next} {
		if params.IsHost(a) {
			return a
		}
	}
	return netip.Addr{}
}

// who names the sender for people.
func (m *message) who() string {
	if a := m.server(); a.IsValid() {
		return a.String()
	}
	return "a server without an address"
}

var errProxy = errors.New("it gives no address (proxyDHCP)")

// offers returns nil if the message offers an address, and else what it is.
func (m *message) offers() error {
	if k := m.kind(); k != dhcpv4.MessageTypeOffer {
		return notWanted(k)
	}
	if m.YourIPAddr.IsUnspecified() {
		return errProxy
	}
	_, err := m.addr()
	return err
}

func notWanted(k dhcpv4.MessageType) error {
	if k == dhcpv4.MessageTypeNone {
		return fmt.Errorf("%w: it has no message type (option 53)", netfetch.ErrProtocol)
	}
	return fmt.Errorf("%w: it is a message of type %v", netfetch.ErrProtocol, k)
}
