package main

import (
	"fmt"
	"net/netip"
	"strings"

	"troy/server/netboot"
)

// serveFlags are those of "troy serve" about the store, and frontFlags.
type serveFlags struct {
	listen, lab, log string
	rate             float64
	around           *frontFlags
}

func newServeFlags(fs flagSet) *serveFlags {
	f := &serveFlags{}
	fs.StringVar(&f.listen, "listen", ":8080", "`address` to listen on")
	fs.StringVar(&f.lab, "lab", "", "`file` that says what rooms there are and when they may be worked on (default: lab.yaml in the store)")
	fs.Float64Var(&f.rate, "rate", 0, "most `megabits` per second of the store's bytes, shared evenly by the machines (0: as bandwidth in lab.yaml says)")
	fs.StringVar(&f.log, "log", "", "`file` to which check-ins, reports and answers from the store are added as lines of JSON")
	f.around = newFrontFlags(fs)
	return f
}

// check refuses what cannot be.
func (f *serveFlags) check() error {
	if !(f.rate >= 0 && f.rate <= 1e6) {
		return &usageError{fmt.Sprintf("--rate %v: want megabits per second, or 0", f.rate)}
	}
	return nil
}

// serveGone says what replaces the flags that serve no longer has.
var serveGone = map[string]string{
	"image":     "set `image: NAME` for the room in lab.yaml, or name the image in 'troy promote --room ROOM NAME@VERSION'",
	"version":   "run 'troy promote --room ROOM IMAGE@VERSION', or pin it by `version: N` for the room in lab.yaml",
	"merge":     "set `merge: lazy` or `merge: now` for the room in lab.yaml",
	"reset":     "set `reset: boot` for the room in lab.yaml",
	"provision": "set `provision: {allow: true}` for the room in lab.yaml",
	"wipe":      "set `provision: {allow: true, wipe: true}` for the room in lab.yaml",
	"reinstall": "set `reinstall: true` for the room in lab.yaml",
	"agent":     "machines get the store's current release ('troy agent publish') without it",
	"retry":     "run 'troy promote --retry --room ROOM IMAGE@VERSION'",
}

// goneFlags refuses a flag that a command no longer has, and says what replaces it.
func goneFlags(args []string, gone map[string]string) error {
	for _, arg := range args {
		name, dashed := strings.CutPrefix(arg, "-")
		if arg == "--" {
			return nil
		}
		name, _, _ = strings.Cut(strings.TrimPrefix(name, "-"), "=")
		if now, ok := gone[name]; dashed && ok {
			return &usageError{"--" + name + " was removed: " + now}
		}
	}
	return nil
}

// frontFlags are those of "troy serve" about network boot, TLS and the page.
type frontFlags struct {
	boot                 string
	noDHCP, shim         bool
	certs, tlsListen     string
	private, plainLogin  bool
	advertise, bootCards string
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
	fs.BoolVar(&f.private, "private", false, "require sign-in to view the page")
	fs.BoolVar(&f.plainLogin, "plain-login", false, "let people sign in from other machines without TLS")
	return f
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
			return nil, &usageError{fmt.Sprintf("--address %q: want an IPv4 address", f.advertise)}
		}
	}
	return o, nil
}
