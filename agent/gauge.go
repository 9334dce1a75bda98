package agent

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"troy/internal/progress"
)

// progressEvery is how often the server hears how far the work is.
const progressEvery = 2 * time.Second

// meters makes gauges: on the screen, and to the server once it has answered.
type meters struct {
	con *console
	net *network
}

// gauge shows how far a part of the work is, from its first byte on.
type gauge struct {
	m     *meters
	phase string
	whole int64
	n     atomic.Int64
	began time.Time
	begin sync.Once
	meter *progress.Meter
	stop  chan struct{}
	gone  chan struct{}
}

// gauge makes one for that many bytes, 0 when unknown. Done ends it.
func (m *meters) gauge(phase string, total int64) *gauge {
	return &gauge{m: m, phase: phase, whole: total, stop: make(chan struct{}), gone: make(chan struct{})}
}

func (g *gauge) start() {
	g.meter, g.began = progress.New(g.m.con, "deploy: "+g.phase, g.whole), time.Now()
	g.m.con.display.count(g, true)
	go g.post()
}

// Add counts n bytes. It may be called from several goroutines.
func (g *gauge) Add(n int64) {
	g.begin.Do(g.start)
	g.n.Add(n)
	g.meter.Add(n)
}

// Done writes the closing line.
func (g *gauge) Done() {
	g.begin.Do(g.start)
	close(g.stop)
	<-g.gone
	g.m.con.display.count(g, false)
	g.meter.Done()
}

// post tells the server every now and then. A message that does not get through is of no use later.
func (g *gauge) post() {
	defer close(g.gone)
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	start := time.Now()
	for {
		select {
		case <-g.stop:
			return
		case <-tick.C:
		}
		done := g.n.Load()
		ctx, cancel := context.WithTimeout(context.Background(), progressEvery)
		g.m.net.progress(ctx, g.phase, done, max(g.whole, 0), int64(float64(done)/time.Since(start).Seconds()))
		cancel()
	}
}

// counter counts bytes.
type counter struct{ n atomic.Int64 }

// Add counts n bytes.
func (c *counter) Add(n int64) { c.n.Add(n) }

func (c *counter) total() int64 { return c.n.Load() }
