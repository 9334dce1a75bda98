package daemon

import (
	"crypto/tls"
	"errors"
	"net"
	"time"

	"troy/internal/tlskey"
	"troy/server/audit"
	"troy/server/certs"
	"troy/server/netboot"
	"troy/server/rooms/api"
	"troy/server/web"
)

func (d *Daemon) openPlain() (err error) {
	if d.plain, err = net.Listen("tcp", d.o.Listen); err != nil {
		return err
	}
	d.opened = append(d.opened, closing(d.plain))
	return nil
}

// openBoot opens the boot files and the ports of proxyDHCP and TFTP.
func (d *Daemon) openBoot() (err error) {
	if d.o.Boot == nil {
		return nil
	}
	o := *d.o.Boot
	o.HTTPPort, o.OnNote = d.httpPort(), d.o.Events.Note
	if d.boot, err = netboot.New(&o); err != nil {
		return err
	}
	d.opened = append(d.opened, d.boot.Close)
	if d.bootPorts, err = d.boot.Listen(); err != nil {
		return err
	}
	d.opened = append(d.opened, func() error { d.bootPorts.Close(); return nil })
	return nil
}

// httpPort is the number of the port without TLS.
func (d *Daemon) httpPort() int {
	if a, ok := d.plain.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// BootAdvice is what the admin should know before machines start by the network: what the folder of
// boot files lacks, and, where the daemon does not answer DHCP itself, what to set at the server
// that does.
func (d *Daemon) BootAdvice() (lacks []string, dhcp string) {
	if d.boot == nil {
		return nil, ""
	}
	if d.o.Boot.NoDHCP {
		dhcp = netboot.DHCPAdvice(d.o.Boot.Address, d.httpPort())
	}
	return d.boot.Advice(), dhcp
}

// openTLS opens the port with TLS, and the two keys that are shown there.
func (d *Daemon) openTLS() error {
	key, _, err := certs.LoadKey(d.lab.dir.TLSKey())
	if err != nil {
		return err
	}
	if d.key, err = key.Name(); err != nil {
		return err
	}
	own, err := key.Certificate()
	if err != nil {
		return err
	}
	if err := d.openPageCerts(); err != nil {
		return err
	}
	l, err := net.Listen("tcp", d.o.TLSListen)
	if err != nil {
		return err
	}
	d.opened = append(d.opened, closing(l))
	d.tls = tls.NewListener(l, tlskey.Server(&own, d.certs.Pair))
	return nil
}

// openPageCerts opens the certificate of the page, and makes it where none was named.
func (d *Daemon) openPageCerts() (err error) {
	dir := d.o.Certs
	if dir == "" {
		dir = d.lab.dir.Page()
		err = certs.Init(dir, certs.OwnNames(), time.Now())
	}
	if err != nil && !errors.Is(err, certs.ErrExists) {
		return err
	}
	d.certs, err = certs.NewKeeper(dir, time.Now(), d.o.Events.Note)
	return err
}

// openSocket opens what the admin's commands on this machine connect to.
func (d *Daemon) openSocket() (err error) {
	if d.socket, err = api.Listen(d.lab.dir); err != nil {
		return err
	}
	d.opened = append(d.opened, closing(d.socket))
	return nil
}

// closing closes a listener that its HTTP server may have closed before.
func closing(l net.Listener) func() error {
	return func() error { l.Close(); return nil }
}

// openPage opens the status page and the audit log.
func (d *Daemon) openPage() (err error) {
	if d.audit, err = audit.Open(d.lab.dir.Audit()); err != nil {
		return err
	}
	d.opened = append(d.opened, d.audit.Close)
	users, err := web.OpenUsers(d.lab.dir.Users())
	if err != nil {
		return err
	}
	d.page, err = web.New(&web.Options{Lab: d.lab.rooms, Users: users, OnAct: d.audit.Add, Public: d.o.Public,
		Counters: map[string]func() float64{
			"served_bytes_total":    func() float64 { n, _ := d.Served(); return float64(n) },
			"served_requests_total": func() float64 { _, n := d.Served(); return float64(n) },
		}})
	if err != nil {
		return err
	}
	d.opened = append(d.opened, func() error { d.page.Close(); return nil })
	return nil
}
