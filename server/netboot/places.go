package netboot

import (
	"net/netip"
	"slices"
)

// unheard is a transfer whose client has not answered yet.
type unheard struct {
	from netip.Addr
	stop func()
}

// begin takes a place for a transfer; end gives it back. stop is called if the client has not
// answered when too many others ask.
func (s *Server) begin(from netip.Addr, stop func()) (u *unheard, ok bool) {
	if !s.transfers.Take(from) {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unheard) >= unheardMost {
		s.unheard[0].stop()
		s.unheard = s.unheard[1:]
	}
	u = &unheard{from, stop}
	s.unheard = append(s.unheard, u)
	return u, true
}

// pending tells whether an address asks again and again, and never answered: it may be forged.
func (s *Server) pending(from netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, u := range s.unheard {
		if u.from == from {
			n++
		}
	}
	return n >= unheardEach
}

// heard notes that the client of a transfer is there.
func (s *Server) heard(u *unheard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unheard = slices.DeleteFunc(s.unheard, func(x *unheard) bool { return x == u })
}

func (s *Server) end(u *unheard) {
	s.heard(u)
	s.transfers.Give(u.from)
}
