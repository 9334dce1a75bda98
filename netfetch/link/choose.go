package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"troy/internal/errline"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	othersWithin = 500 * time.Millisecond // how long the offers of other ports are waited for
	probeTime    = 5 * time.Second        // longest Options.Useful
	settleTime   = 4 * time.Second        // from the start: then every port with a cable has a carrier
)

// candidate is an address that a port can have.
type candidate struct {
	port   netlink.Link
	rank   int                                  // the lower the better
	accept func(context.Context) (*Link, error) // asks for the lease
	refuse func(*Link)                          // gives it back
	held   *Link                                // the lease, if it was taken; the port has its address only while it is tried
	doubt  error                                // why Useful did not take it
}

// choice is what a port has to offer.
type choice struct {
	port    netlink.Link
	all     []*candidate
	close   func()     // ends what the candidates use
	verdict chan error // nil = one of them was chosen
}

// rank orders candidates: those whose DHCP server names the Troy server, then those of the port
// that the firmware loaded by.
func (s *search) rank(port netlink.Link, named bool) int {
	rank := 0
	if !named {
		rank += 2
	}
	if s.o.First != nil && !slices.Equal(s.o.First, port.Attrs().HardwareAddr) {
		rank++
	}
	return rank
}

// gather waits a moment for what other ports with a carrier have to offer.
func (s *search) gather(ctx context.Context, first *choice) []*choice {
	all := []*choice{first}
	timer := time.NewTimer(othersWithin)
	defer timer.Stop()
	best := func(c *choice) bool {
		return slices.ContainsFunc(c.all, func(k *candidate) bool { return k.rank == 0 })
	}
	for !slices.ContainsFunc(all, best) && s.waitsFor(all) {
		select {
		case c := <-s.found:
			all = append(all, c)
		case <-timer.C:
			return all
		case <-ctx.Done():
			return all
		}
	}
	return all
}

// waitsFor tells whether a port with a carrier has not offered anything yet.
func (s *search) waitsFor(but []*choice) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for index, p := range s.state {
		if p.Carrier && !p.tried && !slices.ContainsFunc(but, func(c *choice) bool { return c.port.Attrs().Index == index }) {
			return true
		}
	}
	return false
}

// choose tries what the ports have to offer, the best first, and returns the link that is useful.
// If none is, and nothing better is waited for, it is the best of those that can be had.
func (s *search) choose(ctx context.Context, ports []*choice) *Link {
	var all []*candidate
	for _, p := range ports {
		all = append(all, p.all...)
	}
	slices.SortStableFunc(all, func(a, b *candidate) int { return cmp.Compare(a.rank, b.rank) })
	link, won := s.try(ctx, all)
	switch {
	case link != nil:
	case s.last:
		link, won = s.settleFor(ctx, all)
	case time.Since(s.start) >= settleTime && !s.waitsFor(ports):
		link, won = s.settleFor(ctx, slices.DeleteFunc(slices.Clone(all), unreached))
	}
	for _, c := range all {
		if c != won && c.held != nil {
			c.refuse(c.held)
		}
	}
	for _, p := range ports {
		err := errElsewhere
		if won == nil {
			err = p.refusal()
		} else if slices.Contains(p.all, won) {
			err = nil
		}
		p.verdict <- err
	}
	return link
}

// unreached tells whether the server was not even reached, so that this may be the wrong network,
// or one for guests until 802.1X is through. A machine that refuses the connection is there.
func unreached(c *candidate) bool { return !errors.Is(c.doubt, unix.ECONNREFUSED) }

// errElsewhere is no fault of a port's.
var errElsewhere = errors.New("another port is used")

// refusal joins why nothing of a choice was taken.
func (c *choice) refusal() error {
	var errs []error
	for _, k := range c.all {
		errs = append(errs, k.doubt)
	}
	return errline.Join(errs...)
}

// try returns the first candidate that is useful.
func (s *search) try(ctx context.Context, all []*candidate) (*Link, *candidate) {
	for _, c := range all {
		link, err := s.take(ctx, c)
		if err == nil && s.o.Useful != nil {
			c.held = link
			probe, cancel := context.WithTimeout(ctx, probeTime)
			err = s.o.Useful(probe, link)
			cancel()
			if err != nil {
				s.update(c.port, func(p *Port) { p.useless = true })
				err = errline.Join(fmt.Errorf("%v is of no use: %w", link.Addr, err), deconfigure(c.port, link))
			}
		}
		if err == nil {
			return link, c
		}
		c.doubt = err
	}
	return nil, nil
}

// settleFor takes the best of those that could be had, though it is not known to be useful.
func (s *search) settleFor(ctx context.Context, all []*candidate) (*Link, *candidate) {
	for _, c := range all {
		if c.held == nil {
			continue
		}
		doubt := c.doubt
		link, err := s.take(ctx, c)
		if err == nil {
			link.Doubt = doubt
			return link, c
		}
		c.doubt, c.held = err, nil
	}
	return nil, nil
}

// take asks for the candidate's address and sets it.
func (s *search) take(ctx context.Context, c *candidate) (*Link, error) {
	link, err := c.accept(ctx)
	if err != nil {
		return nil, err
	}
	link.resolvConf = s.o.ResolvConf
	s.update(c.port, func(p *Port) { p.Addr = link.Addr })
	if err := configure(c.port, link); err != nil {
		c.refuse(link)
		return nil, errline.Join(err, deconfigure(c.port, link))
	}
	return link, nil
}
