package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"troy/agent/page"
)

const (
	drawEvery = 250 * time.Millisecond // how often a page is drawn on which something counts
	calm      = time.Second            // what is over in that time is not shown as a wait
)

// display is the page on the machine's screen. It is told what changes, and draws. The zero value
// has no screen.
type display struct {
	show func([]page.Line) // nil = there is no screen

	mu     sync.Mutex
	state  page.State
	counts []*gauge  // the work that is counted now
	waits  time.Time // since when it is waited; zero = it is not
	until  time.Time
	skips  bool // W ends the wait
	over   bool // nothing is drawn any more
}

// run draws what counts until ctx ends.
func (d *display) run(ctx context.Context) {
	if d.show == nil {
		return
	}
	tick := time.NewTicker(drawEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.set(func(*page.State) {})
		}
	}
}

// set changes what the page says, and draws it.
func (d *display) set(change func(*page.State)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.state)
	d.draw()
}

// count shows the work that a gauge counts, until that is done.
func (d *display) count(g *gauge, counts bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.counts = slices.DeleteFunc(d.counts, func(o *gauge) bool { return o == g }); counts {
		d.counts = append(d.counts, g)
	}
	d.draw()
}

// wait shows how long it is still waited, and whether W ends that; done shows that the wait is over.
func (d *display) wait(long time.Duration, w bool) (done func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waits = time.Now()
	d.until, d.skips = d.waits.Add(long), w
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.waits = time.Time{}
		d.draw()
	}
}

// faulty tells whether the page shows a fault.
func (d *display) faulty() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state.Fault != nil
}

// end draws the last page.
func (d *display) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.draw()
	d.over = true
}

// draw draws the page. The caller holds mu.
func (d *display) draw() {
	if d.show == nil || d.over {
		return
	}
	s := d.state
	if !d.waits.IsZero() && time.Since(d.waits) >= calm {
		s.Left, s.Windows = max(time.Until(d.until), time.Second), d.skips
	}
	if g := d.counted(); g != nil {
		s.Bar = g.bar()
	}
	d.show(page.Lines(&s))
}

// counted is the work that tells most: one whose end is known.
func (d *display) counted() (of *gauge) {
	for _, g := range d.counts {
		if of == nil || g.whole > 0 {
			of = g
		}
	}
	return of
}

// bar is how far the work is.
func (g *gauge) bar() *page.Bar {
	done := g.n.Load()
	seconds := max(time.Since(g.began).Seconds(), drawEvery.Seconds())
	return &page.Bar{Done: done, Total: g.whole, Rate: int64(float64(done) / seconds)}
}
