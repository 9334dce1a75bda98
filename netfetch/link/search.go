package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"troy/internal/errline"
	"troy/internal/wait"
	"troy/netfetch/params"

	"github.com/vishvananda/netlink"
)

const (
	scanEvery    = 250 * time.Millisecond // how often new ports are looked for
	carrierEvery = 50 * time.Millisecond  // how often a port is asked for its carrier
	probeTime    = 15 * time.Second       // longest Options.useful
	againAfter   = time.Second            // a port that was no use is tried again after this
)

// search is one Up: a goroutine per port that finds candidates, and run,
// which takes them one at a time.
type search struct {
	o     *Options
	start time.Time
	found chan *candidate // unbuffered: one that is not taken holds no lease
	ports sync.WaitGroup

	mu    sync.Mutex
	order []int // interface indexes as found
	state map[int]*Port
}

// candidate is a port that can have an address.
type candidate struct {
	port   netlink.Link
	accept func(context.Context) (*Link, error) // asks for the lease
	refuse func(*Link)                          // gives it back
	drop   func()                               // closes what accept would have used
	done   chan error                           // verdict: nil = chosen
}

func newSearch(o *Options) *search {
	return &search{o: o, start: time.Now(), found: make(chan *candidate), state: map[int]*Port{}}
}

// run looks for ports and candidates until one is useful.
func (s *search) run(ctx context.Context) (*Link, error) {
	scan := time.NewTicker(scanEvery)
	defer scan.Stop()
	for {
		if err := s.scan(ctx); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-scan.C:
		case c := <-s.found:
			link, err := s.consider(ctx, c)
			c.done <- err
			if err == nil {
				return link, nil
			}
		}
	}
}

// scan starts a goroutine for each wired port not seen before.
func (s *search) scan(ctx context.Context) error {
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("listing the network ports: %w", err)
	}
	for _, l := range links {
		a := l.Attrs()
		if !wired(l) || !s.wanted(a.Name) || s.known(a.Index) {
			continue
		}
		s.add(a.Index, &Port{Name: a.Name, MAC: a.HardwareAddr, Driver: driver(a.Name)})
		s.ports.Go(func() { s.watch(ctx, l) })
	}
	return nil
}

func (s *search) wanted(name string) bool {
	if s.o.Static != nil && s.o.Static.Interface != "" && s.o.Static.Interface != name {
		return false
	}
	return len(s.o.Interfaces) == 0 || slices.Contains(s.o.Interfaces, name)
}

// consider takes the candidate's address, sets it, and asks whether it is useful.
func (s *search) consider(ctx context.Context, c *candidate) (*Link, error) {
	link, err := c.accept(ctx)
	if err != nil {
		return nil, err
	}
	link.resolvConf = s.o.ResolvConf
	s.update(c.port, func(p *Port) { p.Addr = link.Addr })
	err = configure(c.port, link)
	if err == nil && s.o.useful != nil {
		probe, cancel := context.WithTimeout(ctx, probeTime)
		err = s.o.useful(probe, link)
		cancel()
	}
	if err != nil {
		c.refuse(link)
		return nil, errline.Join(err, deconfigure(c.port, link))
	}
	s.update(c.port, func(p *Port) { p.Chosen, p.Err = true, nil })
	return link, nil
}

// watch brings one port up and offers it whenever it can have an address.
func (s *search) watch(ctx context.Context, port netlink.Link) {
	for ctx.Err() == nil {
		c, err := s.prepare(ctx, port)
		if err == nil {
			err = s.offer(ctx, c)
			if err == nil {
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
		s.update(port, func(p *Port) { p.Err = err })
		if !errors.Is(err, errCarrier) {
			wait.For(ctx, againAfter) // its end shows above
		}
	}
}

// prepare waits for the carrier and, with DHCP, for an offer.
func (s *search) prepare(ctx context.Context, port netlink.Link) (*candidate, error) {
	if err := raise(port); err != nil {
		return nil, err
	}
	if err := s.carrier(ctx, port); err != nil {
		return nil, err
	}
	if s.o.Static != nil {
		return s.static(port), nil
	}
	return s.discover(ctx, port)
}

// offer hands the candidate to run and waits for its verdict.
func (s *search) offer(ctx context.Context, c *candidate) error {
	select {
	case s.found <- c:
		return <-c.done
	case <-ctx.Done():
		c.drop()
		return ctx.Err()
	}
}

// static makes a candidate of the address that was given by hand.
func (s *search) static(port netlink.Link) *candidate {
	a, st := port.Attrs(), s.o.Static
	link := &Link{Interface: a.Name, MAC: a.HardwareAddr, Addr: st.Addr, Gateway: st.Gateway, DNS: st.DNS}
	return &candidate{
		port:   port,
		accept: func(context.Context) (*Link, error) { return link, params.CheckHost(st.Addr) },
		refuse: func(*Link) {},
		drop:   func() {},
		done:   make(chan error, 1),
	}
}

// carrier waits until the port has one, and notes it.
func (s *search) carrier(ctx context.Context, port netlink.Link) error {
	for {
		up, err := hasCarrier(port)
		if err != nil {
			return err
		}
		s.update(port, func(p *Port) {
			if p.Carrier = up; up && p.Took == 0 {
				p.Took, p.Err = time.Since(s.start), nil
			}
		})
		if up {
			return nil
		}
		if err := wait.For(ctx, carrierEvery); err != nil {
			return err
		}
	}
}

func (s *search) known(index int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state[index] != nil
}

func (s *search) add(index int, p *Port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state[index] = p
	s.order = append(s.order, index)
	s.tell(*p)
}

// update changes what is known of a port and tells it, if it is news.
func (s *search) update(port netlink.Link, change func(*Port)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.state[port.Attrs().Index]
	before := p.String()
	change(p)
	if p.String() != before {
		s.tell(*p)
	}
}

func (s *search) tell(p Port) {
	if s.o.notify != nil {
		s.o.notify(p)
	}
}

func (s *search) seen() []Port {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Port, len(s.order))
	for i, index := range s.order {
		all[i] = *s.state[index]
	}
	return all
}
