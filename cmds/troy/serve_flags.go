package main

import (
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"troy/server/netboot"
	"troy/server/protocol"
)

// serveFlags are those of "troy serve" about the store and what machines are told, and frontFlags.
type serveFlags struct {
	listen, image, merge, lab, log    string
	version                           int
	rate                              float64
	provision, wipe, reinstall, reset bool
	agent, retry                      bool
	around                            *frontFlags
}

func newServeFlags(fs flagSet) *serveFlags {
	f := &serveFlags{}
	fs.StringVar(&f.listen, "listen", ":8080", "`address` to listen on")
	fs.StringVar(&f.image, "image", "", "image that the machines get (default: the only one)")
	fs.IntVar(&f.version, "version", 0, "version that they get (default: the newest)")
	fs.StringVar(&f.merge, "merge", "lazy", "merge policy: `lazy` or now")
	fs.Float64Var(&f.rate, "rate", 0, "most `megabits` per second of the store's bytes, shared evenly by the machines (0: no limit)")
	fs.BoolVar(&f.provision, "provision", false, "make an empty disk of a machine without one of Troy into its disk")
	fs.BoolVar(&f.wipe, "wipe", false, "with --provision: also one that holds something, where troy key wipe permits it")
	fs.BoolVar(&f.reinstall, "reinstall", false, "write machines anew that hold another image, or a version that nobody knows")
	fs.BoolVar(&f.reset, "reset", false, "throw away at each start what was changed in Windows since the last one")
	fs.BoolVar(&f.agent, "agent", false, "bring the current release of the agent (troy agent) to the machines' own disks")
	fs.BoolVar(&f.retry, "retry", false, "have machines try again a version that they gave up, because Windows did not come up")
	fs.StringVar(&f.lab, "lab", "", "`file` lab.yaml that says which rooms get what and when, in place of --image and the flags about it")
	fs.StringVar(&f.log, "log", "", "`file` to which check-ins, reports and answers from the store are added as lines of JSON")
	f.around = newFrontFlags(fs)
	return f
}

// check refuses what does not go together.
func (f *serveFlags) check(fs flagSet) error {
	if m := protocol.Merge(f.merge); m != protocol.MergeLazy && m != protocol.MergeNow {
		return &usageError{fmt.Sprintf("--merge %q: want lazy or now", f.merge)}
	}
	if !(f.rate >= 0 && f.rate <= 1e6) {
		return &usageError{fmt.Sprintf("--rate %v: want megabits per second, or 0", f.rate)}
	}
	if f.lab == "" {
		return nil
	}
	return onlyFlags(fs, append([]string{"lab", "listen", "rate", "log"}, frontFlagNames()...)...)
}

// onlyFlags refuses every flag that was given but for those named.
func onlyFlags(fs flagSet, names ...string) (err error) {
	fs.Visit(func(f *flag.Flag) {
		if !slices.Contains(names, f.Name) && err == nil {
			err = &usageError{"--" + f.Name + " does not go with --" + names[0] + ": the file says it"}
		}
	})
	return err
}

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
