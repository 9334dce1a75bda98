package link

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"troy/internal/errline"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
)

const (
	// The wait for an answer to the first request (what is sent right after the carrier came
	// is often lost), and to later ones: longer would sleep through the end of spanning tree.
	discoverFirst = 500 * time.Millisecond
	discoverMost  = 4 * time.Second
	offersWithin  = 300 * time.Millisecond // after the first offer: the first need not be the best
	requestWait   = 2 * time.Second        // wait for the ACK; tried requestTries times
	requestTries  = 3
)

// discover sends DHCPDISCOVER until useful offers come or the carrier goes.
func (s *search) discover(ctx context.Context, port netlink.Link) (*choice, error) {
	c, err := broadcast(port)
	if err != nil {
		return nil, err
	}
	c.refused = func(from netip.Addr, err error) {
		s.update(port, func(p *Port) { p.Refused, p.Why = p.Refused+1, fmt.Sprintf("from %v: %v", from, err) })
	}
	offers, err := s.offers(ctx, port, c)
	if err != nil {
		return nil, errline.Join(err, c.close())
	}
	ch := &choice{port: port, close: func() { _ = c.close() }, verdict: make(chan error, 1)}
	for _, offer := range offers {
		ch.all = append(ch.all, &candidate{
			port: port, rank: s.rank(port, offer.troyServer() != ""),
			accept: func(ctx context.Context) (*Link, error) { return request(ctx, port, c, offer) },
			refuse: func(l *Link) { release(c, l.lease) },
		})
	}
	return ch, nil
}

// offers repeats one DISCOVER under the same transaction, so that a late answer to an earlier one
// counts. It returns what comes within a short time; after one that names the Troy server no more
// is waited for.
func (s *search) offers(ctx context.Context, port netlink.Link, c *client) (offers []*message, err error) {
	discover, err := newQuestion(c.mac, dhcpv4.MessageTypeDiscover)
	if err != nil {
		return nil, err
	}
	take := func(m *message) (bool, error) {
		if err := m.offers(); err != nil {
			return false, err
		}
		same := func(o *message) bool { return o.server() == m.server() && o.YourIPAddr.Equal(m.YourIPAddr) }
		if !slices.ContainsFunc(offers, same) {
			offers = append(offers, m)
		}
		addr, err := m.addr()
		s.update(port, func(p *Port) { p.Offers, p.Addr, p.Err = len(offers), addr, nil })
		return true, err
	}
	begin := time.Now()
	for pause := discoverFirst; len(offers) == 0; pause = min(2*pause, discoverMost) {
		if up, err := hasCarrier(port); err != nil || !up {
			s.update(port, func(p *Port) { p.Carrier = false })
			return nil, errline.Join(errCarrier, err)
		}
		discover.NumSeconds = uint16(min(time.Since(begin)/time.Second, 0xffff))
		s.update(port, func(p *Port) { p.Requests++ })
		if err := within(ctx, pause+rand.N(pause/4), func(ctx context.Context) error { return c.ask(ctx, everybody, discover, take) }); err != nil {
			return nil, fmt.Errorf("asking for an address: %w", err)
		}
	}
	named := func(m *message) bool { return m.troyServer() != "" }
	for end := begin.Add(time.Since(begin) + offersWithin); !slices.ContainsFunc(offers, named) && time.Now().Before(end); {
		if err := within(ctx, time.Until(end), func(ctx context.Context) error { return c.hear(ctx, discover.TransactionID, take) }); err != nil {
			return nil, fmt.Errorf("asking for an address: %w", err)
		}
	}
	return offers, nil
}

// within does something for a limited time, whose end is no error.
func within(ctx context.Context, d time.Duration, do func(context.Context) error) error {
	round, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	err := do(round)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// newQuestion makes a message of a client.
func newQuestion(mac net.HardwareAddr, kind dhcpv4.MessageType, more ...dhcpv4.Modifier) (*dhcpv4.DHCPv4, error) {
	q, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithHwAddr(mac),
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(nclient4.MaxMessageSize)),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier("troy")),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer,
			dhcpv4.OptionDomainName, dhcpv4.OptionInterfaceMTU,
			dhcpv4.OptionClasslessStaticRoute, optionServer),
	}, more...)...)
	if err != nil {
		return nil, fmt.Errorf("making a DHCP request: %w", err)
	}
	return q, nil
}

// request asks for the lease that was offered; silence is asked again. A server that does not say
// which it is is called by the address it sends from: the request has to say whose offer is taken.
func request(ctx context.Context, port netlink.Link, c *client, offer *message) (*Link, error) {
	to := []dhcpv4.Modifier{dhcpv4.WithTransactionID(offer.TransactionID), dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr))}
	id := offer.fixed(dhcpv4.OptionServerIdentifier, 4)
	if id == nil && offer.server().IsValid() {
		id = offer.server().AsSlice()
	}
	if id != nil {
		to = append(to, dhcpv4.WithOption(dhcpv4.OptServerIdentifier(id)))
	}
	q, err := newQuestion(c.mac, dhcpv4.MessageTypeRequest, to...)
	if err != nil {
		return nil, err
	}
	for range requestTries {
		ack, err := acknowledged(ctx, requestWait, c, everybody, q, offer)
		if errors.Is(err, errSilent) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("asking %s for the address it offered: %w", offer.who(), err)
		}
		got := &lease{ack: ack, server: ack.server(), at: time.Now()}
		if !got.server.IsValid() {
			got.server = offer.server()
		}
		if offer.fixed(dhcpv4.OptionServerIdentifier, 4) == nil {
			ack.note("the offer does not say whose it is (option 54)")
		}
		return linkOf(port.Attrs(), got)
	}
	return nil, fmt.Errorf("asking %s for the address it offered: %w", offer.who(), errSilent)
}

// acknowledged sends a request and waits for the answer. before is what the server, or whoever of
// its kind answers now, said before. Servers that were not asked have no say (RFC 2131 does not
// have a client look who acknowledges; here it must be the same server, or the same address).
func acknowledged(ctx context.Context, wait time.Duration, c *client, to *net.UDPAddr, q *dhcpv4.DHCPv4, before *message) (ack *message, err error) {
	id := before.fixed(dhcpv4.OptionServerIdentifier, 4)
	err = within(ctx, wait, func(ctx context.Context) error {
		return c.ask(ctx, to, q, func(m *message) (bool, error) {
			other := m.fixed(dhcpv4.OptionServerIdentifier, 4)
			same := id == nil || other == nil || slices.Equal(id, other)
			switch k := m.kind(); {
			case k == dhcpv4.MessageTypeOffer:
				return false, nil // to the same transaction, and late
			case k != dhcpv4.MessageTypeAck && k != dhcpv4.MessageTypeNak:
				return false, notWanted(k)
			case !same && (k == dhcpv4.MessageTypeNak || !m.YourIPAddr.Equal(before.YourIPAddr)):
				return false, errors.New("it is of a server that was not asked")
			}
			_, err := m.addr()
			if m.kind() == dhcpv4.MessageTypeAck && err != nil {
				return false, err
			}
			if other == nil {
				m.note("the acknowledgement does not say whose it is (option 54)")
			}
			ack = m
			return true, nil
		})
	})
	switch {
	case err != nil:
		return nil, err
	case ack == nil:
		return nil, errSilent
	case ack.kind() == dhcpv4.MessageTypeNak:
		return nil, fmt.Errorf("%w: %.80q", errNak, ack.Message())
	}
	return ack, nil
}

// release gives a lease back; the server does not answer, so nothing is known of failure.
func release(c *client, l *lease) {
	if !l.server.IsValid() {
		return
	}
	q, err := newQuestion(c.mac, dhcpv4.MessageTypeRelease,
		dhcpv4.WithClientIP(l.ack.YourIPAddr), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(l.server.AsSlice())))
	if err != nil {
		return
	}
	delete(q.Options, dhcpv4.OptionParameterRequestList.Code()) // RFC 2131, table 5
	delete(q.Options, dhcpv4.OptionMaximumDHCPMessageSize.Code())
	_ = c.send(&net.UDPAddr{IP: l.server.AsSlice(), Port: nclient4.ServerPort}, q)
}
