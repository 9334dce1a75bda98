package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"troy/initramfs/bundle"
	"troy/internal/cli"
	"troy/internal/space"
	"troy/internal/version"
	"troy/server/doctor"
	"troy/server/netboot"
)

// askAddress asks at which name or address PCs reach the server.
func (u *settingUp) askAddress(ctx context.Context) (err error) {
	u.listen, u.tlsListen = cmp.Or(u.listen, u.place.options.listen, ":8080"), cmp.Or(u.tlsListen, u.place.options.around.tlsListen, ":8443")
	own := ownAddresses()
	byDefault := hostOf(u.found.urls)
	if byDefault != "" && u.address == "" {
		u.address = byDefault // it was asked before
	}
	if len(own) > 0 {
		byDefault = own[0].address
	}
	if u.tty != nil && u.address == "" {
		fmt.Fprintf(u.Err, "\nThis machine has:\n")
		for i, a := range own {
			fmt.Fprintf(u.Err, "  %d  %s  (%s)\n", i+1, a.address, a.card)
		}
	}
	u.address, err = u.ask(u.address, "address or name at which PCs reach it", byDefault, func(text string) (string, error) {
		if n, err := strconv.Atoi(text); err == nil {
			if n < 1 || n > len(own) {
				return "", fmt.Errorf("there is no address number %d", n)
			}
			text = own[n-1].address
		}
		return text, u.checkAddress(ctx, text, own)
	})
	return err
}

// cardAddress is an IPv4 address of this machine.
type cardAddress struct{ card, address string }

// ownAddresses are those that others can reach; that of the default route is the first.
func ownAddresses() (own []cardAddress) {
	cards, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, c := range cards {
		addresses, err := c.Addrs()
		if err != nil || c.Flags&net.FlagUp == 0 {
			continue
		}
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
				own = append(own, cardAddress{c.Name, p.Addr().String()})
			}
		}
	}
	first := netboot.OwnAddress().String()
	if i := slices.IndexFunc(own, func(a cardAddress) bool { return a.address == first }); i > 0 {
		main := own[i]
		own = slices.Insert(slices.Delete(own, i, i+1), 0, main)
	}
	return own
}

// resolveTime is how long a name may take to be resolved.
const resolveTime = 10 * time.Second

// checkAddress refuses an address at which no PC reaches a server, and notes one that is not that of
// this machine.
func (u *settingUp) checkAddress(ctx context.Context, text string, own []cardAddress) error {
	if text == "" {
		return errors.New("this machine has no address that PCs can reach: connect it, or name the address that it will have (--address)")
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`/"'@?#`, r) }) || strings.HasPrefix(text, "-") {
		return fmt.Errorf("%q: want a name or an IP address, without https:// and port", text)
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	found, err := net.DefaultResolver.LookupHost(ctx, text)
	if err != nil {
		return fmt.Errorf("%s does not resolve (%w): add it to your DNS, or give an IP address", text, err)
	}
	mine := false
	for _, a := range found {
		ip, err := netip.ParseAddr(a)
		if err != nil || ip.IsLoopback() || ip.IsUnspecified() || ip.IsMulticast() {
			return fmt.Errorf("%s is %s, which PCs cannot reach: give an address of this machine in their network", text, a)
		}
		mine = mine || slices.ContainsFunc(own, func(o cardAddress) bool { return o.address == a })
	}
	if u.foreign = !mine; u.foreign {
		u.Note("%s (%s) is no address of this machine: right only if something leads from there to here", text, strings.Join(found, ", "))
	}
	return nil
}

// url is where PCs reach the server.
func (u *settingUp) url() string {
	_, port, err := net.SplitHostPort(u.tlsListen)
	if err != nil {
		return "" // package doctor refuses it
	}
	return "https://" + net.JoinHostPort(u.address, port)
}

// askNetboot asks how PCs start by the network, after a look at who else answers them there.
func (u *settingUp) askNetboot(ctx context.Context) (err error) {
	o := &u.place.options.around
	switch {
	case u.netboot == "" && u.place.service && o.boot != "" && o.noDHCP:
		u.netboot = netbootDHCP
	case u.netboot == "" && u.place.service && o.boot != "":
		u.netboot = netbootProxy
	}
	byDefault := netbootProxy
	if u.netboot == "" {
		byDefault = u.probe(ctx)
	}
	u.netboot, err = u.ask(u.netboot, "start PCs by the network? proxy: this server answers PXE beside your DHCP server; dhcp: your\nDHCP server names the boot files; no", byDefault, func(text string) (string, error) {
		if !slices.Contains([]string{netbootProxy, netbootDHCP, netbootNo}, text) {
			return "", fmt.Errorf("%q: want %s, %s or %s", text, netbootProxy, netbootDHCP, netbootNo)
		}
		return text, nil
	})
	return err
}

// probe says who else answers PCs on the network, and what is best then.
func (u *settingUp) probe(ctx context.Context) string {
	if os.Geteuid() != 0 {
		u.Note("only root can serve network boot, and see whether another server does")
		return netbootNo
	}
	others, err := netboot.Probe(ctx)
	if err != nil {
		u.Note("the network was not looked at: %v", err)
	}
	fmt.Fprintf(u.Err, "\nServers that answer PCs on the network: %d\n", len(others))
	best := netbootProxy
	if c, err := net.ListenPacket("udp4", fmt.Sprintf(":%d", netboot.PortDHCP)); err == nil {
		c.Close()
	} else if !u.found.running {
		fmt.Fprintf(u.Err, "  this machine: a program has the port of DHCP servers\n")
		best = netbootDHCP
	}
	for _, o := range others {
		fmt.Fprintf(u.Err, "  %s\n", cli.Clean(o.String()))
		if o.File != "" {
			best = netbootNo // two would answer the same PCs
		}
	}
	return best
}

// check looks for what would keep the server from serving, before anything is made.
func (u *settingUp) check(ctx context.Context) error {
	if u.makesMedia() {
		if _, err := bundle.Open(bundle.Folder(u.bundle)); err != nil {
			return bundleFault(err)
		}
	}
	for _, dir := range []string{u.place.store, u.place.media, filepath.Dir(u.place.lab)} {
		if err := canWrite(dir); err != nil {
			return err
		}
	}
	if err := u.checkRoom(); err != nil {
		return err
	}
	o := &doctor.Options{Listen: u.listen, TLSListen: u.tlsListen, Fresh: true, Now: time.Now(), Built: version.Get().Time}
	if u.netboot != netbootNo {
		o.Boot, o.NoDHCP = u.place.media, u.netboot == netbootDHCP
	}
	if u.found.running {
		o.Listen, o.TLSListen, o.Boot = "", "", "" // the ports are its own
	}
	all, err := doctor.Check(ctx, o)
	if err != nil {
		return cli.Usagef("%v", err)
	}
	return u.sayFindings(all)
}

// sayFindings shows what is not as it should be. A fault ends setup; files that are still to be made
// are none.
func (u *settingUp) sayFindings(all []doctor.Finding) error {
	faults := 0
	for _, f := range all {
		if f.Level == doctor.Good || f.Check == "boot" {
			continue
		}
		if f.Check == "addresses" && u.foreign {
			f.Level = doctor.Doubt
		}
		if f.Level == doctor.Fault {
			faults++
		}
		fmt.Fprintln(u.Err, cleanLines(f.String()))
	}
	if faults > 0 {
		return &cli.Fault{Err: fmt.Errorf("%w: %d faults", cli.ErrCheck, faults), Advice: "mend them, then run the command again"}
	}
	return nil
}

// leastRoom is what store and media take without an image, in bytes.
const leastRoom = 512 << 20

// checkRoom finds too little room for the image, as far as it shows.
func (u *settingUp) checkRoom() error {
	need := int64(leastRoom)
	if u.edition != nil {
		info, err := os.Stat(u.file)
		if err != nil {
			return err
		}
		need += u.edition.Room(info.Size())
	}
	return space.Check(nearest(u.place.store), "the store with its image", need)
}

// nearest is the folder that is there, of a path.
func nearest(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// canWrite tells whether a folder can be made, or files in it.
func canWrite(dir string) error {
	at := nearest(dir)
	if info, err := os.Stat(at); err != nil || !info.IsDir() {
		return fmt.Errorf("%s is no folder", at)
	}
	if err := unix.Access(at, unix.W_OK); err != nil {
		return fmt.Errorf("%s cannot be written to: %w", at, err)
	}
	return nil
}
