package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"troy/server"
	"troy/server/audit"
	"troy/server/certs"
	"troy/server/netboot"
	"troy/server/protocol"
	"troy/server/rooms/api"
	"troy/server/web"
)

// frontFlags are those of "troy serve" about network boot, TLS and the page.
type frontFlags struct {
	boot                 string
	noDHCP, shim         bool
	certs, tlsListen     string
	private, plainLogin  bool
	advertise, bootCards string
}

// frontFlagNames are for onlyFlags.
func frontFlagNames() []string {
	return []string{"boot", "no-dhcp", "shim", "address", "interfaces", "certs", "tls-listen", "private", "plain-login"}
}

func newFrontFlags(fs flagSet) *frontFlags {
	f := &frontFlags{}
	fs.StringVar(&f.boot, "boot", "", "`folder` net/ of troy media: bring machines that start by the network to it (proxyDHCP, TFTP, /boot/)")
	fs.BoolVar(&f.noDHCP, "no-dhcp", false, "with --boot: no proxyDHCP; say what to set at the DHCP server of the site")
	fs.BoolVar(&f.shim, "shim", false, "with --boot: what starts with Secure Boot on: shim and GRUB in place of iPXE, the ISO image by HTTP. GRUB older than 2.12 needs the DHCP server of the site to name this one as next-server")
	fs.StringVar(&f.advertise, "address", "", "with --boot: `IP` address of this server for machines that start by the network (default: that of the network card)")
	fs.StringVar(&f.bootCards, "interfaces", "", "with --boot: `names` of the network cards on which proxyDHCP answers, by comma (default: all)")
	fs.StringVar(&f.certs, "certs", "", "`folder` of troy certs: check-ins and the page by TLS")
	fs.StringVar(&f.tlsListen, "tls-listen", ":8443", "with --certs: `address` to listen on with TLS")
	fs.BoolVar(&f.private, "private", false, "with --lab: show the page to nobody who is not signed in")
	fs.BoolVar(&f.plainLogin, "plain-login", false, "with --lab: let people sign in from other machines without TLS")
	return f
}

// front is everything of "troy serve" around the store and the orders.
type front struct {
	c        *call
	f        *frontFlags
	note     func(string)
	boot     *netboot.Server
	keeper   *certs.Keeper
	page     *web.Handler
	audit    *audit.Log
	tls      net.Listener
	netboot  *netboot.Listener
	handler  http.Handler
	httpPort int
}

// openFront opens ports and folders, so that a mistake shows before anything is served. lab may be nil. Close it when done.
func (c *call) openFront(f *frontFlags, lab *labServer, o *server.Options, s *server.Server, plain net.Listener) (w *front, err error) {
	w = &front{c: c, f: f, note: func(line string) { fmt.Fprintf(c.stdout, "%s  %s\n", time.Now().Format(time.TimeOnly), clean(line)) }}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if a, ok := plain.Addr().(*net.TCPAddr); ok {
		w.httpPort = a.Port
	}
	if f.boot != "" {
		if err := w.openBoot(); err != nil {
			return w, err
		}
	}
	if f.certs != "" {
		if w.keeper, err = certs.NewKeeper(f.certs, time.Now(), w.note); err != nil {
			return w, err
		}
		if w.tls, err = net.Listen("tcp", f.tlsListen); err != nil {
			return w, err
		}
	}
	if lab != nil {
		if err := w.openPage(lab, s); err != nil {
			return w, err
		}
	}
	w.handler = w.routes(lab, s)
	return w, nil
}

func (w *front) openBoot() (err error) {
	o := &netboot.Options{Dir: w.f.boot, HTTPPort: w.httpPort, Shim: w.f.shim, NoDHCP: w.f.noDHCP, OnNote: w.note}
	if w.f.bootCards != "" {
		o.Interfaces = strings.Split(w.f.bootCards, ",")
	}
	if w.f.advertise != "" {
		if o.Address, err = netip.ParseAddr(w.f.advertise); err != nil || !o.Address.Is4() {
			return &usageError{fmt.Sprintf("--address %q: want an IPv4 address", w.f.advertise)}
		}
	}
	if w.boot, err = netboot.New(o); err != nil {
		return err
	}
	for _, line := range w.boot.Advice() {
		fmt.Fprintf(w.c.stderr, "troy: %s\n", line)
	}
	if w.f.noDHCP {
		fmt.Fprint(w.c.stdout, netboot.DHCPAdvice(cmp.Or(o.Address, ownAddress()), w.httpPort))
	}
	w.netboot, err = w.boot.Listen()
	return err
}

// ownAddress is the first IPv4 address of this machine that others can reach.
func ownAddress() netip.Addr {
	all, err := net.InterfaceAddrs()
	if err == nil {
		for _, a := range all {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
				return p.Addr()
			}
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

func (w *front) openPage(lab *labServer, s *server.Server) error {
	var err error
	if w.audit, err = audit.Open(lab.dir.Audit()); err != nil {
		return err
	}
	users, err := web.OpenUsers(lab.dir.Users())
	if err != nil {
		return err
	}
	w.page, err = web.New(&web.Options{Lab: lab.keeper, Users: users, OnAct: w.audit.Add, Private: w.f.private, PlainLogin: w.f.plainLogin, Counters: map[string]func() float64{
		"served_bytes_total":    func() float64 { n, _ := s.Served(); return float64(n) },
		"served_requests_total": func() float64 { _, n := s.Served(); return float64(n) },
	}})
	return err
}

// routes joins everything that is served by HTTP.
func (w *front) routes(lab *labServer, s *server.Server) http.Handler {
	mux := http.NewServeMux()
	for _, path := range []string{"/" + protocol.PathRepo + "/", "/v1/", "/healthz"} {
		mux.Handle(path, s)
	}
	if w.audit != nil {
		mux.Handle(api.Prefix, w.audit.Handler(s, "token", func(err error) { w.note(err.Error()) }))
	}
	if w.boot != nil {
		mux.Handle("/boot/", w.boot.Handler())
	}
	if w.page != nil {
		mux.Handle("/", w.page)
	}
	return mux
}

// run serves until ctx ends or something fails.
func (w *front) run(ctx context.Context, plain net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if w.page != nil {
		defer context.AfterFunc(ctx, w.page.Close)()
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	start := func(f func() error) {
		wg.Go(func() {
			err := f()
			mu.Lock()
			errs = append(errs, err)
			mu.Unlock()
			cancel() // the end of one is the end of all: a service manager starts anew
		})
	}
	onPlain := w.handler
	if w.tls != nil {
		onPlain = plainly(w.handler, w.tls.Addr())
		start(func() error { return server.Serve(ctx, tls.NewListener(w.tls, w.keeper.Config()), w.handler) })
		go w.keeper.Run(ctx, w.note)
	}
	start(func() error { return server.Serve(ctx, plain, onPlain) })
	if w.netboot != nil {
		start(func() error { return w.netboot.Run(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// close lets go of what openFront opened.
func (w *front) close() {
	if w.netboot != nil {
		w.netboot.Close()
	}
	if w.boot != nil {
		w.boot.Close()
	}
	if w.tls != nil {
		w.tls.Close()
	}
	if w.page != nil {
		w.page.Close()
	}
	if w.audit != nil {
		w.audit.Close()
	}
}

// plainly is what is served without TLS where there is TLS: files that are checked by their hashes, and everything to this machine itself. The
// page is sent to TLS; a check-in is refused, so that a false server in between is noticed.
func plainly(h http.Handler, secure net.Addr) http.Handler {
	_, port, err := net.SplitHostPort(secure.String())
	if err != nil {
		port = "443"
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		switch {
		case first == protocol.PathRepo || first == "boot" || first == "healthz" || err == nil && from.Addr().Unmap().IsLoopback():
			h.ServeHTTP(w, r)
		case first == "v1":
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			// The machine may be gone; there is nobody to tell.
			_ = json.NewEncoder(w).Encode(protocol.Failure{Error: "this server takes check-ins by TLS only: https, port " + port})
		default:
			host, _, err := net.SplitHostPort(r.Host)
			if err != nil {
				host = r.Host
			}
			http.Redirect(w, r, "https://"+net.JoinHostPort(host, port)+r.URL.RequestURI(), http.StatusPermanentRedirect)
		}
	})
}

// told says where things are served.
func (w *front) told(what string, plain net.Listener) {
	fmt.Fprintf(w.c.stdout, "serving %s on http://%s\n", what, plain.Addr())
	if w.tls != nil {
		fmt.Fprintf(w.c.stdout, "check-ins and page with TLS on https://%s, authority %s\n", w.tls.Addr(), filepath.Join(w.f.certs, certs.FileCA))
	}
	if w.netboot != nil {
		fmt.Fprintf(w.c.stdout, "network boot from %s\n", w.f.boot)
	}
	if w.page != nil {
		fmt.Fprintf(w.c.stdout, "status page at %s/\n", localURL(plain.Addr()))
	}
}
