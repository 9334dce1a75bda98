package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"

	"troy/image/trust/sign"
	"troy/internal/errline"
	"troy/server"
	"troy/server/audit"
	"troy/server/catalog"
	"troy/server/certs"
	"troy/server/inbox"
	"troy/server/netboot"
	"troy/server/signing"
	"troy/server/web"
)

// Daemon is a server with its ports open. Run it, and Close it when done.
type Daemon struct {
	o       Options
	catalog *catalog.Catalog
	store   *server.Server
	signing *signing.Keeper
	lab     *labServer
	log     *eventLog

	plain, tls net.Listener
	socket     net.Listener // of the admin's commands on this machine
	key        string       // by which machines know the server
	certs      *certs.Keeper
	boot       *netboot.Server // nil without boot files
	bootPorts  *netboot.Listener
	page       *web.Handler
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
	if err := wantSigned(d.o.Dir); err != nil {
		return err
	}
	if d.lab, err = openLab(&d.o, d.catalog, so); err != nil {
		return err
	}
	d.opened = append(d.opened, d.lab.state.Close)
	if err := d.openStore(so); err != nil {
		return err
	}
	d.signing = signing.NewKeeper(d.o.Dir, d.o.Events.Warn)
	d.signing.Refresh(ctx)
	for _, open := range []func() error{d.openPlain, d.openBoot, d.openTLS, d.openPage, d.openSocket} {
		if err := open(); err != nil {
			return err
		}
	}
	d.handler = d.routes()
	return d.lab.dir.SetLab(d.lab.path) // only now: a server that did not start is none to read the rooms of
}

// wantSigned refuses a store without signatures: no machine would take anything from it. Other
// trouble with them is told by package signing.
func wantSigned(dir string) error {
	if _, err := sign.Open(dir, nil); errors.Is(err, sign.ErrUnsigned) {
		return err
	}
	return nil
}

// openStore opens the event log and the tree of files.
func (d *Daemon) openStore(so *server.Options) (err error) {
	if d.log, err = openEventLog(d.o.EventLog); err != nil {
		return err
	}
	d.opened = append(d.opened, d.log.Close)
	d.log.tell(so, &d.o.Events)
	captures := inbox.New(&inbox.Options{Dir: d.lab.dir.Inbox()})
	d.opened = append(d.opened, captures.Close)
	// The rooms give no orders to capture yet.
	if so.Capture, err = inbox.Handler(captures, inbox.Nobody{}); err != nil {
		return err
	}
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

// Plain is the address of the port without TLS.
func (d *Daemon) Plain() net.Addr { return d.plain.Addr() }

// TLS is the address of the port with TLS.
func (d *Daemon) TLS() net.Addr { return d.tls.Addr() }

// Key names the key by which machines know the server.
func (d *Daemon) Key() string { return d.key }

// Page is the URL of the status page for a browser on this machine.
func (d *Daemon) Page() string { return "http://" + localHost(d.Plain()) + "/" }

// Lab is the path of lab.yaml.
func (d *Daemon) Lab() string { return d.lab.path }

// Served gives the body bytes sent from the store so far, and the requests that took them.
func (d *Daemon) Served() (bytes, requests int64) { return d.store.Served() }

// Reload reads lab.yaml again, changed or not. Events.Note is told what came of it.
func (d *Daemon) Reload() { d.lab.rooms.Reload(true) }

// Close lets go of everything that New opened, the last first.
func (d *Daemon) Close() error {
	var errs []error
	for _, f := range slices.Backward(d.opened) {
		errs = append(errs, f())
	}
	d.opened = nil
	return errline.Join(errs...)
}
