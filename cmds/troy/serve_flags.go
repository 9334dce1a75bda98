package main

import (
	"net/netip"
	"strings"

	"github.com/spf13/pflag"

	"troy/internal/cli"
	"troy/server/netboot"
)

// serveFlags are those of "troy serve" about the store, and frontFlags.
type serveFlags struct {
	*call
	listen, lab, log string
	rate             float64
	around           frontFlags
}

func (f *serveFlags) define(fs *pflag.FlagSet) {
	fs.StringVar(&f.listen, "listen", ":8080", "`address` to listen on without TLS, for files")
	fs.StringVar(&f.lab, "lab", "", "`file` that describes the rooms and their windows (default: lab.yaml in the store)")
	fs.Float64Var(&f.rate, "rate", 0, "limit of the store's bytes in `mbit` per second, shared by the machines (0: bandwidth in lab.yaml)")
	fs.StringVar(&f.log, "log", "", "`file` to which check-ins and reports are added as lines of JSON; answers from the store go to FILE.served")
	f.around.define(fs)
}

// check refuses what cannot be.
func (f *serveFlags) check() error {
	if f.rate != 0 && !(f.rate >= 1 && f.rate <= 1e6) {
		return cli.Usagef("--rate %v: want megabits per second, from 1 to 1000000, or 0", f.rate)
	}
	return nil
}

// frontFlags are those of "troy serve" about network boot, TLS and the page.
type frontFlags struct {
	boot                 string
	noDHCP, shim         bool
	certs, tlsListen     string
	public               bool
	advertise, bootCards string
}

func (f *frontFlags) define(fs *pflag.FlagSet) {
	fs.StringVar(&f.boot, "boot", "", "`folder` net/ of troy media, for network boot (proxyDHCP, TFTP, /boot/)")
	fs.BoolVar(&f.noDHCP, "no-dhcp", false, "with --boot: no proxyDHCP; print what to set at your DHCP server")
	fs.BoolVar(&f.shim, "shim", false, "with --boot: for Secure Boot, shim and GRUB in place of iPXE, and the ISO image by HTTP. "+
		"GRUB older than 2.12 needs a DHCP server that names this one as next-server")
	fs.StringVar(&f.advertise, "address", "", "with --boot: `IP` address of this server for network boot (default: the network card's)")
	fs.StringVar(&f.bootCards, "interfaces", "", "with --boot: comma-separated `names` of the network cards on which proxyDHCP answers (default: all)")
	fs.StringVar(&f.tlsListen, "tls-listen", ":8443", "`address` to listen on with TLS, for check-ins and the page")
	fs.StringVar(&f.certs, "certs", "", "`folder` with the certificate of the page for browsers (troy certs, or given: server.crt and server.key; default: serve/page in the store, self-made)")
	fs.BoolVar(&f.public, "public-page", false, "show the page also to those who did not sign in, and /metrics to other machines")
}

// bootOptions are those for machines that start by the network; nil = they are not served.
func (f *frontFlags) bootOptions() (*netboot.Options, error) {
	if f.boot == "" {
		return nil, nil
	}
	o := &netboot.Options{Dir: f.boot, Shim: f.shim, NoDHCP: f.noDHCP}
	if f.bootCards != "" {
		o.Interfaces = strings.Split(f.bootCards, ",")
	}
	if f.advertise != "" {
		var err error
		if o.Address, err = netip.ParseAddr(f.advertise); err != nil || !o.Address.Is4() {
			return nil, cli.Usagef("--address %q: want an IPv4 address", f.advertise)
		}
	}
	return o, nil
}
