package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"troy/chainload/release"
	"troy/server/certs"
	"troy/server/netboot"
	"troy/server/rooms"
)

// Level says how bad a finding is.
type Level int

// Levels.
const (
	Good Level = iota
	Doubt
	Fault
)

// String writes it for people.
func (l Level) String() string { return [...]string{"ok", "look", "FAULT"}[l] }

// Finding is what one check found.
type Finding struct {
	Check string
	Level Level
	Text  string
	Do    string // what to do; "" = nothing
}

// String is a line, and a second one if there is something to do.
func (f Finding) String() string {
	s := fmt.Sprintf("%-6s %-10s %s", f.Level, f.Check, f.Text)
	if f.Do != "" {
		s += "\n" + strings.Repeat(" ", 18) + "→ " + f.Do
	}
	return s
}

// port is one that the server needs.
type port struct {
	network string // tcp or udp
	number  int
	what    string // it is for
}

// Options say what troy serve is going to serve, and where. An empty member is not looked at.
type Options struct {
	Listen    string // address of the store and the page
	Boot      string // folder of netboot
	NoDHCP    bool   // the DHCP server of the site names the boot files
	Certs     string // folder of certs, for the page
	TLSListen string // address of check-ins and the page
	Store     string // folder of the store
	Fresh     bool   // nothing is served yet: a troy that has a port serves another store
	Machines  []rooms.Host
	Now       time.Time
	Built     time.Time // when the program was: the clock cannot be before
}

// Check looks at everything, in the order of the package comment. The error is of an address that
// is none.
func Check(ctx context.Context, o *Options) (all []Finding, err error) {
	ports, err := o.ports()
	if err != nil {
		return nil, err
	}
	all = append(all, checkPorts(ports, o.Fresh)...)
	all = append(all, checkFirewall(ctx, ports)...)
	all = append(all, checkAddresses()...)
	if o.Boot != "" {
		all = append(all, checkBoot(o.Boot)...)
	}
	if o.Certs != "" {
		all = append(all, checkCerts(o.Certs, o.Now)...)
	}
	all = append(all, checkClock(o.Now, o.Built))
	if o.Store != "" {
		all = append(all, checkSpace(o.Store))
		all = append(all, checkOwners(o.Store, o.Certs)...)
		all = append(all, checkLogins(o.Store)...)
		all = append(all, checkState(o.Store)...)
		all = append(all, checkSigned(o.Store, o.Now)...)
		all = append(all, checkKey(o.Store)...)
	}
	if len(o.Machines) > 0 {
		all = append(all, checkNumbers(o.Store, o.Machines)...)
		all = append(all, checkMachines(o.Machines)...)
		all = append(all, checkFirmware(o.Machines)...)
		all = append(all, checkSecrets(ctx, o.Store, o.Machines)...)
	}
	return all, nil
}

// ports are those that the server opens.
func (o *Options) ports() (all []port, err error) {
	tcp := func(address, what string) {
		_, number, e := net.SplitHostPort(address)
		n, e2 := strconv.ParseUint(number, 10, 16)
		if e != nil || e2 != nil {
			err = fmt.Errorf("address %q: want [HOST]:PORT", address)
		}
		all = append(all, port{"tcp", int(n), what})
	}
	if o.Listen != "" {
		tcp(o.Listen, "store")
	}
	if o.TLSListen != "" {
		tcp(o.TLSListen, "check-ins and page")
	}
	if o.Boot != "" {
		all = append(all, port{"udp", netboot.PortTFTP, "TFTP"})
		if !o.NoDHCP {
			all = append(all, port{"udp", netboot.PortDHCP, "proxyDHCP"}, port{"udp", netboot.PortProxy, "proxyDHCP"})
		}
	}
	return all, err
}

type bootFile struct {
	name  string
	least int64 // bytes; less is not believable
}

// bootFiles are those that machines need.
func bootFiles() []bootFile {
	return []bootFile{{release.Shim, 100 << 10}, {release.GRUB, 100 << 10}, {release.NetConfig, 20},
		{release.MediaKernel, 1 << 20}, {release.MediaInitrd, 1 << 20}, {release.MediaSite, 1 << 10}}
}

func checkBoot(dir string) (all []Finding) {
	for _, f := range bootFiles() {
		name := f.name
		info, err := os.Stat(filepath.Join(dir, name))
		switch {
		case err != nil:
			all = append(all, Finding{"boot", Fault, fmt.Sprintf("%s is not there: %v", name, reason(err)), "make the folder with: troy media --out OUT; it is OUT/net"})
		case info.Size() < f.least:
			all = append(all, Finding{"boot", Fault, fmt.Sprintf("%s is cut off: %d bytes", name, info.Size()), "make the folder again with: troy media"})
		case info.Mode().Perm()&0o004 == 0:
			all = append(all, Finding{"boot", Doubt, name + " is not readable by all users, so perhaps not by the service", "chmod -R a+rX " + dir})
		}
	}
	if len(all) > 0 {
		return all
	}
	all = append(all, Finding{"boot", Good, "the files for UEFI PXE are in " + dir, ""})
	if _, err := os.Stat(filepath.Join(dir, release.ISO)); err != nil {
		all = append(all, Finding{"boot", Doubt, release.ISO + " is not there: UEFI HTTP boot gets no answer", "make the media again if machines start by HTTP"})
	}
	return all
}

// reason leaves the path out of an error of the file system.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func checkCerts(dir string, now time.Time) []Finding {
	pair, err := certs.Load(dir)
	if err != nil {
		return []Finding{{"cert", Fault, err.Error(), "make it with: troy certs init " + dir}}
	}
	left := pair.Leaf.NotAfter.Sub(now)
	_, keyErr := os.Stat(filepath.Join(dir, certs.FileCAKey))
	f := Finding{"cert", Good, fmt.Sprintf("%s, until %s", strings.Join(certs.Names(pair.Leaf), ", "), pair.Leaf.NotAfter.Format(time.DateOnly)), ""}
	switch {
	case left <= 0:
		f.Level, f.Do = Fault, "renew it with: troy certs renew "+dir
	case now.Before(pair.Leaf.NotBefore):
		f.Level, f.Do = Fault, "it is not valid yet: set the clock"
	case left < certs.RenewTime && keyErr != nil:
		f.Level, f.Do = Doubt, "it cannot be renewed without "+certs.FileCAKey+": put it back for a moment and run troy certs renew "+dir
	}
	return append([]Finding{f}, foreignAddress(pair.Leaf)...)
}

const (
	spaceLeast = 1 << 30 // bytes below which the server will soon stop
	spaceShare = 10      // percent that should be free
)

func checkSpace(dir string) Finding {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return Finding{"space", Fault, fmt.Sprintf("%s: %v", dir, err), "make the folder, or name another"}
	}
	free, size := int64(s.Bavail)*s.Bsize, int64(s.Blocks)*s.Bsize
	f := Finding{"space", Good, fmt.Sprintf("%s: %d MB free of %d MB", dir, free/1e6, size/1e6), ""}
	switch {
	case free < spaceLeast:
		f.Level, f.Do = Fault, "free some space: reports of machines cannot be saved on a full disk"
	case size > 0 && free*100/size < spaceShare:
		f.Level, f.Do = Doubt, "free some space before the next version is published"
	case unix.Access(dir, unix.W_OK) != nil:
		f.Level, f.Do = Doubt, "this user cannot write to it: run as the user of the service, or chown it"
	}
	return f
}

// lastSynchronised is a file that systemd-timesyncd writes when it knows the time.
const lastSynchronised = "/var/lib/systemd/timesync/clock"

func checkClock(now, built time.Time) Finding {
	if now.Before(built) {
		return Finding{"clock", Fault, "it shows " + now.Format(time.DateTime) + ", before this program was built", "set the clock; signatures cannot be judged without it"}
	}
	if info, err := os.Stat(lastSynchronised); err == nil && now.Before(info.ModTime()) {
		return Finding{"clock", Doubt, fmt.Sprintf("it shows %s, but it was synchronised at %s", now.Format(time.DateTime), info.ModTime().Format(time.DateTime)), "set the clock; machines take the time from this server"}
	}
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return Finding{"clock", Doubt, "it is not known whether it is synchronised: " + err.Error(), "timedatectl"}
	}
	if state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0 {
		return Finding{"clock", Doubt, "it shows " + now.Format(time.DateTime) + " and is not synchronised", "timedatectl set-ntp true; machines take the time from this server"}
	}
	return Finding{"clock", Good, "synchronised, " + now.Format(time.DateTime), ""}
}
