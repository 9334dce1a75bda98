package netfetch

import (
	"context"
	"errors"
	"time"
)

const (
	// slowRate is what a mirror has to bring to all streams together, bytes per second, or another
	// is tried: less than a line is worth having several mirrors for.
	slowRate = 256 << 10
	// slowFirst is how long a mirror that was left is asked after the others; doubles.
	slowFirst = time.Minute
	slowMost  = 30 * time.Minute
	// muchFaster is how many times the rate another mirror has to have brought to be turned to. On
	// a line that is itself slow all mirrors bring the same, and nothing is gained by turning.
	muchFaster = 2
)

// errSlow ends a read of a mirror when another may be faster.
var errSlow = errors.New("it is slow, and another mirror may be faster")

// slowness is what is known of a mirror that was slow.
type slowness struct {
	rate  int64 // bytes per second, when it was last measured
	until time.Time
	term  time.Duration
}

// pace measures how fast a mirror is while one read waits for it.
type pace struct {
	window   time.Duration
	received func() int64          // bytes, by all streams
	judge    func(rate int64) bool // whether to leave it
}

// watch calls leave with errSlow when the mirror is to be left; stop ends it.
func (p *pace) watch(leave context.CancelCauseFunc) (stop func()) {
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(p.window)
		defer tick.Stop()
		for before := p.received(); ; {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			now := p.received()
			if p.judge(int64(float64(now-before) / p.window.Seconds())) {
				leave(errSlow)
				return
			}
			before = now
		}
	}()
	return func() { close(done) }
}

// leave takes the rate of a mirror, and says whether there is one to turn to: one that works, of
// which no rate is known or a much better one.
func (m *memory) leave(i int, rate int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	s := &m.bench[i].slow
	switch {
	case rate >= slowRate:
		*s = slowness{}
		return false
	case rate == 0:
		return false // the watchdog's
	}
	if s.rate = rate; !s.until.After(now) {
		s.term = min(max(slowFirst, 2*s.term), slowMost)
		s.until = now.Add(s.term)
	}
	for j, b := range m.bench {
		known := b.slow.until.After(now)
		if j != i && b.term == 0 && !b.held.After(now) && (!known || b.slow.rate > muchFaster*rate) {
			return true
		}
	}
	return false
}
