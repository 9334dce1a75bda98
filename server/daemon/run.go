package daemon

import (
	"context"
	"crypto/tls"
	"sync"

	"troy/internal/errline"
	"troy/server"
)

// Run serves until ctx ends, and returns nil after an orderly end. Call it once.
func (d *Daemon) Run(ctx context.Context) error {
	if err := notifyReady(d.o.NotifySocket); err != nil {
		return err
	}
	g := newGroup(ctx)
	defer context.AfterFunc(g.ctx, d.page.Close)() // open streams of events would hold up the end
	g.watch(d.signing.Run)
	onPlain := d.handler
	if d.tls != nil {
		onPlain = plainly(d.handler, d.TLS())
		g.serve(func(ctx context.Context) error {
			return server.Serve(ctx, tls.NewListener(d.tls, d.certs.Config()), d.handler)
		})
		g.watch(func(ctx context.Context) { d.certs.Run(ctx, d.o.Events.Note) })
	}
	g.serve(func(ctx context.Context) error { return server.Serve(ctx, d.plain, onPlain) })
	if d.bootPorts != nil {
		g.serve(d.bootPorts.Run)
	}
	g.watch(d.lab.rooms.Run)
	return g.wait()
}

// group runs the parts of a daemon together.
type group struct {
	ctx  context.Context
	stop context.CancelFunc
	all  sync.WaitGroup

	mu   sync.Mutex
	errs []error
}

func newGroup(ctx context.Context) *group {
	g := &group{}
	g.ctx, g.stop = context.WithCancel(ctx)
	return g
}

// serve runs a part whose end is the end of all.
func (g *group) serve(f func(ctx context.Context) error) {
	g.all.Go(func() {
		defer g.stop()
		err := f(g.ctx)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.errs = append(g.errs, err)
	})
}

// watch runs a part that only ends with the others.
func (g *group) watch(f func(ctx context.Context)) { g.all.Go(func() { f(g.ctx) }) }

// wait returns when all parts have ended.
func (g *group) wait() error {
	g.all.Wait()
	g.stop()
	return errline.Join(g.errs...)
}
