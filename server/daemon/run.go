package daemon

import (
	"context"
	"sync"

	"troy/internal/errline"
	"troy/server"
)

// Run serves until ctx ends, and returns nil after an orderly end. Call it once.
func (d *Daemon) Run(ctx context.Context) error {
	if err := notifyReady(d.o.NotifySocket); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g := &group{stop: stop}
	defer context.AfterFunc(ctx, d.page.Close)() // open streams of events would hold up the end
	g.watch(func() { d.signing.Run(ctx) })
	g.serve(func() error { return server.Serve(ctx, d.tls, known(d.handler)) })
	g.watch(func() { d.certs.Run(ctx, d.o.Events.Note) })
	g.serve(func() error { return server.Serve(ctx, d.socket, d.locally()) })
	g.serve(func() error { return server.Serve(ctx, d.plain, plainly(d.handler, d.TLS())) })
	if d.bootPorts != nil {
		g.serve(func() error { return d.bootPorts.Run(ctx) })
	}
	g.watch(func() { d.lab.rooms.Run(ctx) })
	g.watch(func() { d.lab.state.KeepCopy(ctx, d.o.Events.Warn) })
	return g.wait()
}

// group runs the parts of a daemon together.
type group struct {
	stop func() // ends all
	all  sync.WaitGroup

	mu   sync.Mutex
	errs []error
}

// serve runs a part whose end is the end of all.
func (g *group) serve(f func() error) {
	g.all.Go(func() {
		defer g.stop()
		err := f()
		g.mu.Lock()
		defer g.mu.Unlock()
		g.errs = append(g.errs, err)
	})
}

// watch runs a part that only ends with the others.
func (g *group) watch(f func()) { g.all.Go(f) }

// wait returns when all parts have ended.
func (g *group) wait() error {
	g.all.Wait()
	return errline.Join(g.errs...)
}
