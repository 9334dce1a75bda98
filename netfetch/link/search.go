package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"troy/internal/wait"
	"troy/netfetch/params"

	"github.com/vishvananda/netlink"
)

const (
	scanEvery    = 250 * time.Millisecond // how often new ports are looked for
	carrierEvery = 50 * time.Millisecond  // how often a port is asked for its carrier
	againAfter   = time.Second            // a port that gave nothing is tried again after this
	uselessAfter = 3 * time.Second        // and one whose network is of no use after this
	lastTime     = 10 * time.Second       // how long one of those is waited for at the end
)

// search is one Up: a goroutine per port that finds what it has to offer, and run, which chooses.
type search struct {
	o     *Options
	start time.Time
	found chan *choice // unbuffered: one that is not taken holds no lease
	last  bool         // the time is over: the next address is taken, whatever it is of use for
	ports sync.WaitGroup

	mu    sync.Mutex
	order []int // interface indexes as found
	state map[int]*Port
	other map[int]Port // wired ports that Options leaves out
}

func newSearch(o *Options) *search {
	return &search{o: o, start: time.Now(), found: make(chan *choice), state: map[int]*Port{}, other: map[int]Port{}}
}

// run looks for ports and what they have to offer until something is useful.
func (s *search) run(ctx context.Context) (*Link, error) {
	scan := time.NewTicker(scanEvery)
	defer scan.Stop()
	over := time.NewTimer(s.o.Wait)
	defer over.Stop()
	for {
		if err := s.scan(ctx); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-over.C:
			if !s.useless() {
				return nil, errWaited
			}
			s.last = true
		case <-scan.C:
		case c := <-s.found:
			if link := s.choose(ctx, s.gather(ctx, c)); link != nil {
				return link, nil
			}
		}
	}
}

// useless tells whether a port had an address that was of no use.
func (s *search) useless() bool {
	return slices.ContainsFunc(s.seen(), func(p Port) bool { return p.useless && p.Carrier })
}

// scan starts a goroutine for each wired port not seen before.
func (s *search) scan(ctx context.Context) error {
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("listing the network ports: %w", err)
	}
	for _, l := range links {
		a := l.Attrs()
		if !wired(l) || s.known(a.Index) {
			continue
		}
		p := Port{Name: a.Name, MAC: a.HardwareAddr, Driver: driver(a.Name)}
		if !s.wanted(&p) {
			s.other[a.Index] = p
			continue
		}
		s.add(a.Index, &p)
		s.ports.Go(func() { s.watch(ctx, l) })
	}
	return nil
}

func (s *search) wanted(port *Port) bool {
	is := func(p params.Port) bool { return p.Matches(port.Name, port.Driver, port.MAC) }
	switch st := s.o.Static; {
	case s.o.only != "":
		return s.o.only == port.Name
	case st != nil && st.Port != "" && !is(st.Port):
		return false
	}
	return len(s.o.Ports) == 0 || slices.ContainsFunc(s.o.Ports, is)
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
		pause := againAfter
		s.update(port, func(p *Port) {
			if p.Err = err; p.useless {
				pause = uselessAfter
			}
		})
		if !errors.Is(err, errCarrier) {
			wait.For(ctx, pause) // its end shows above
		}
	}
}

// prepare waits for the carrier and, with DHCP, for offers.
func (s *search) prepare(ctx context.Context, port netlink.Link) (*choice, error) {
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

// offer hands the choice to run and waits for its verdict.
func (s *search) offer(ctx context.Context, c *choice) error {
	defer c.close()
	select {
	case s.found <- c:
		err := <-c.verdict
		s.update(c.port, func(p *Port) {
			if p.tried = true; err == nil {
				p.Chosen, p.Err = true, nil
			}
		})
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// static makes a choice of the address that was given by hand.
func (s *search) static(port netlink.Link) *choice {
	a, st := port.Attrs(), s.o.Static
	one := &candidate{
		port: port,
		accept: func(context.Context) (*Link, error) {
			return &Link{Interface: a.Name, MAC: a.HardwareAddr, Addr: st.Addr, Gateway: st.Gateway, DNS: st.DNS}, params.CheckHost(st.Addr)
		},
		refuse: func(*Link) {},
		rank:   s.rank(port, false),
	}
	return &choice{port: port, all: []*candidate{one}, close: func() {}, verdict: make(chan error, 1)}
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
