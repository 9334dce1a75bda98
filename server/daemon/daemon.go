package daemon

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"

	"troy/internal/errline"
	"troy/server"
	"troy/server/audit"
	"troy/server/catalog"
	"troy/server/certs"
	"troy/server/netboot"
	"troy/server/protocol"
	"troy/server/signing"
	"troy/server/web"
)

// Daemon is a server with its ports open. Run it, and Close it when done.
type Daemon struct {
	o       Options
	catalog *catalog.Catalog
	store   *server.Server
	signing *signing.Keeper
	lab     *labServer // nil without lab.yaml
	image   string     // that every machine gets; "" with lab.yaml
	log     *eventLog

	plain, tls net.Listener // tls is nil without certificates
	certs      *certs.Keeper
	boot       *netboot.Server // nil without boot files
	bootPorts  *netboot.Listener
	page       *web.Handler // nil without lab.yaml
	audit      *audit.Log
	handler    http.Handler

	opened []func() error // close what was opened
}

// New opens everything. Errors of lab.yaml are lab.Errors.
func New(ctx context.Context, o *Options) (*Daemon, error) {
	d := &Daemon{o: *o}
	d.o.Events = o.Events.filled()
	if err := d.open(ctx); err != nil {
		return nil, errline.Join(err, d.Close())
	}
	return d, nil
}

func (d *Daemon) open(ctx context.Context) (err error) {
	if d.catalog, err = catalog.Open(d.o.Dir); err != nil {
		return err
	}
	so := &server.Options{Dir: d.o.Dir, Bandwidth: d.o.Bandwidth}
	if err := d.openOrders(ctx, so); err != nil {
		return err
	}
	if err := d.openStore(so); err != nil {
		return err
	}
	d.signing = signing.NewKeeper(d.o.Dir, d.o.Events.Warn)
	d.signing.Refresh(ctx)
	for _, open := range []func() error{d.openPlain, d.openBoot, d.openTLS, d.openPage} {
		if err := open(); err != nil {
			return err
		}
	}
	d.handler = d.routes()
	if d.lab == nil {
		return nil
	}
	return d.lab.announce(localURL(d.Plain()))
}

// openOrders decides who answers check-ins.
func (d *Daemon) openOrders(ctx context.Context, so *server.Options) (err error) {
	if d.o.Lab == "" {
		return d.fixOrders(ctx, so)
	}
	if d.lab, err = openLab(&d.o, d.catalog, so); err != nil {
		return err
	}
	d.opened = append(d.opened, d.lab.state.Close)
	return nil
}

// fixOrders has every machine told the same.
func (d *Daemon) fixOrders(ctx context.Context, so *server.Options) (err error) {
	f := &d.o.Fixed
	if d.image, err = d.catalog.Check(ctx, f.Image, f.Version); err != nil {
		return err
	}
	orders := &server.Fixed{Image: d.image, Version: f.Version, Newest: d.catalog.Newest,
		Rules:   protocol.Rules{Merge: f.Merge},
		Permits: protocol.Permits{Retry: f.Retry, Reinstall: f.Reinstall, Provision: f.Provision}}
	if f.Reset {
		orders.Rules.Reset = protocol.ResetBoot
	}
	if f.Agent {
		orders.Agent = currentAgent(d.catalog, d.o.Events.Warn)
	}
	so.Orders = orders
	return nil
}

// openStore opens the event log and the tree of files.
func (d *Daemon) openStore(so *server.Options) (err error) {
	if d.log, err = openEventLog(d.o.EventLog); err != nil {
		return err
	}
	d.opened = append(d.opened, d.log.Close)
	d.log.tell(so, &d.o.Events)
	if d.store, err = server.New(so); err != nil {
		return err
	}
	d.opened = append(d.opened, d.store.Close)
	return nil
}

// currentAgent asks for the release of the agent that machines should have; trouble is no release.
func currentAgent(c *catalog.Catalog, warn func(string)) func() string {
	return func() string {
		current, err := c.Agent()
		if err != nil {
			warn(fmt.Sprintf("releases of the agent: %v", err))
		}
		return current
	}
}

// Image is what every machine gets; "" where lab.yaml says it.
func (d *Daemon) Image() string { return d.image }

// Plain is the address of the port without TLS.
func (d *Daemon) Plain() net.Addr { return d.plain.Addr() }

// TLS is the address of the port with TLS; nil = there is none.
func (d *Daemon) TLS() net.Addr {
	if d.tls == nil {
		return nil
	}
	return d.tls.Addr()
}

// Page is the URL of the status page for a browser on this machine; "" = there is none.
func (d *Daemon) Page() string {
	if d.page == nil {
		return ""
	}
	return localURL(d.Plain()) + "/"
}

// Served gives the body bytes sent from the store so far, and the requests that took them.
func (d *Daemon) Served() (bytes, requests int64) { return d.store.Served() }

// Reload reads lab.yaml again, changed or not. Events.Note is told what came of it.
func (d *Daemon) Reload() {
	if d.lab != nil {
		d.lab.rooms.Reload(true)
	}
}

// Close lets go of everything that New opened, the last first.
func (d *Daemon) Close() error {
	var errs []error
	for _, f := range slices.Backward(d.opened) {
		errs = append(errs, f())
	}
	d.opened = nil
	return errline.Join(errs...)
}
