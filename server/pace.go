package server

import (
	"container/heap"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	turnMin  = 4 << 10               // bytes of the smallest turn
	turnMost = 64 << 10              // and of the largest
	turnsDue = 8                     // missed turns that a machine gets back after a moment without
	paceLag  = 20 * time.Millisecond // what a late timer may make good
)

// pacer keeps all answers from the store together to a rate, and gives the machines even shares of
// it: start-time fair queueing (Goyal, Vin, Cheng 1996) over the parties of package limit: a
// machine that has a whole IPv6 network to take addresses from gets no more than others. A sender
// asks for each turn beforehand; the one that had least is next. Connections of one take turns
// among themselves, so many streams get no more than one.
//
// It works whatever lies between here and the machines, as long as the rate is below what that
// carries: nothing then piles up in a queue where TCP connections would have to fight for room.
type pacer struct {
	turn int64 // bytes of one turn

	mu      sync.Mutex
	line    *rate.Limiter // bytes that the line can take; in debt while a turn goes out
	clients map[netip.Addr]*paced
	waiting pacedHeap
	virtual int64 // highest start tag of a turn given
	timer   *time.Timer
}

// paced is one machine.
type paced struct {
	tag   int64 // bytes: the start tag of its next turn
	turns []*turn
	index int // in the heap; -1 = waits for nothing
}

// turn is the right to send some bytes.
type turn struct {
	bytes int64
	given chan struct{} // closed when it is given
}

// newPacer returns nil, which does not limit, for a rate of 0 bytes per second or less.
func newPacer(perSecond int64) *pacer {
	if perSecond <= 0 {
		return nil
	}
	turn := min(max(perSecond/512, turnMin), turnMost)
	late := perSecond * int64(paceLag) / int64(time.Second)
	return &pacer{turn: turn, line: rate.NewLimiter(rate.Limit(perSecond), int(max(late, turn))), clients: map[netip.Addr]*paced{}}
}

// wait returns when the machine may send n bytes, a turn at most, or the context's error.
func (p *pacer) wait(ctx context.Context, machine netip.Addr, n int64) error {
	t := &turn{bytes: n, given: make(chan struct{})}
	p.join(machine, t)
	select {
	case <-t.given:
		return nil
	case <-ctx.Done():
		p.leave(machine, t)
		return context.Cause(ctx)
	}
}

func (p *pacer) join(machine netip.Addr, t *turn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.clients[machine]
	if c == nil {
		p.forget()
		c = &paced{index: -1, tag: p.virtual}
		p.clients[machine] = c
	}
	c.turns = append(c.turns, t)
	if c.index < 0 {
		// Between two turns a stream asks for none; that must not cost its share. A longer absence
		// earns nothing.
		c.tag = max(c.tag, p.virtual-turnsDue*p.turn)
		heap.Push(&p.waiting, c)
	}
	p.give()
}

func (p *pacer) leave(machine netip.Addr, t *turn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.clients[machine]
	if c == nil {
		return
	}
	if c.turns = slices.DeleteFunc(c.turns, func(u *turn) bool { return u == t }); len(c.turns) == 0 && c.index >= 0 {
		heap.Remove(&p.waiting, c.index)
	}
}

// give gives turns until the line is taken, and comes back when it is free.
func (p *pacer) give() {
	for now := time.Now(); len(p.waiting) > 0; {
		if taken := p.line.ReserveN(now, 0).DelayFrom(now); taken > 0 {
			if p.timer == nil {
				p.timer = time.AfterFunc(taken, p.wake)
			}
			return
		}
		c := p.waiting[0]
		t := c.turns[0]
		c.turns = c.turns[1:]
		p.virtual = max(p.virtual, c.tag)
		c.tag += t.bytes
		p.line.ReserveN(now, int(t.bytes))
		if len(c.turns) == 0 {
			heap.Pop(&p.waiting)
		} else {
			heap.Fix(&p.waiting, 0)
		}
		close(t.given)
	}
}

func (p *pacer) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = nil
	p.give()
}

// forget drops machines whose past no longer matters, now and then.
func (p *pacer) forget() {
	if len(p.clients) < 64 || len(p.clients) < 2*len(p.waiting) {
		return
	}
	for name, c := range p.clients {
		if c.index < 0 && c.tag <= p.virtual {
			delete(p.clients, name)
		}
	}
}

// pacedHeap has the machine that had least in front.
type pacedHeap []*paced

func (h pacedHeap) Len() int           { return len(h) }
func (h pacedHeap) Less(i, j int) bool { return h[i].tag < h[j].tag }
func (h pacedHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *pacedHeap) Push(x any) {
	c := x.(*paced)
	c.index = len(*h)
	*h = append(*h, c)
}

// Pop implements heap.Interface.
func (h *pacedHeap) Pop() any {
	c := (*h)[len(*h)-1]
	c.index = -1
	*h = (*h)[:len(*h)-1]
	return c
}
