package limit

import (
	"net/netip"
	"sync"
)

// Places is a number of places that parties hold for a while, such as connections. A party may hold
// as many as are free, so one alone gets half of them, two get two thirds, and there is always one
// for the next. The zero value has none.
type Places struct {
	Most int // places in all
	Each int // that one party may hold; 0 = no bound of its own. The loopback has none.

	mu    sync.Mutex
	taken int
	of    map[netip.Addr]int
}

// Take takes a place for an address, if it may have one. Give gives it back.
func (p *Places) Take(a netip.Addr) bool {
	a = Party(a)
	p.mu.Lock()
	defer p.mu.Unlock()
	has, free := p.of[a], p.Most-p.taken
	switch {
	case free <= 0:
		return false
	case a.IsLoopback():
	case has >= free, p.Each > 0 && has >= p.Each:
		return false
	}
	if p.of == nil {
		p.of = map[netip.Addr]int{}
	}
	p.of[a]++
	p.taken++
	return true
}

// Give gives a place back that Take took for the same address.
func (p *Places) Give(a netip.Addr) {
	a = Party(a)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.of[a]--; p.of[a] == 0 {
		delete(p.of, a)
	}
}

// Taken is how many places are held.
func (p *Places) Taken() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}
