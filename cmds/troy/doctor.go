package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"troy/image/trust/sign"
	"troy/server/doctor"
	"troy/server/netboot"
	"troy/server/servedir"
)

func doctorCommand() command {
	return command{name: "doctor", args: "[--listen ADDR] [--boot DIR [--no-dhcp]] [--certs DIR [--tls-listen ADDR]] [STORE]",
		short: "look at ports, firewall, addresses, boot files, certificate, clock, disk space and signatures; say what to do", run: runDoctor}
}

// runDoctor takes the flags that troy serve is given, and ends with the exit code of a failed check if machines will not be served.
func runDoctor(ctx context.Context, c *call) error {
	fs := c.flags()
	listen := fs.String("listen", ":8080", "`address` of troy serve")
	around := newFrontFlags(fs)
	args, err := c.parse(fs, 0, 1)
	if err != nil {
		return err
	}
	o := &doctor.Options{Boot: around.boot, Certs: around.certs, Now: time.Now(), Built: builtAt()}
	if o.Ports, err = around.ports(*listen); err != nil {
		return err
	}
	if len(args) == 1 {
		o.Folders = []string{args[0]}
	}
	all := doctor.Check(ctx, o)
	if len(args) == 1 {
		all = append(all, checkSigned(args[0], o.Now)...)
	}
	faults := 0
	for _, f := range all {
		fmt.Fprintln(c.stdout, cleanLines(f.String()))
		if f.Level == doctor.Fault {
			faults++
		}
	}
	if faults > 0 {
		return fmt.Errorf("%w: %d faults", errCheck, faults)
	}
	return nil
}

// cleanLines makes each line safe for the terminal.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	return strings.Join(lines, "\n")
}

// ports are those that troy serve opens with these flags.
func (f *frontFlags) ports(listen string) ([]doctor.Port, error) {
	n, err := portOf(listen)
	if err != nil {
		return nil, &usageError{fmt.Sprintf("--listen %q: want [HOST]:PORT", listen)}
	}
	all := []doctor.Port{{Network: "tcp", Number: n, For: "store and page"}}
	if f.certs != "" {
		if n, err = portOf(f.tlsListen); err != nil {
			return nil, &usageError{fmt.Sprintf("--tls-listen %q: want [HOST]:PORT", f.tlsListen)}
		}
		all = append(all, doctor.Port{Network: "tcp", Number: n, For: "check-ins by TLS"})
	}
	if f.boot != "" {
		all = append(all, doctor.Port{Network: "udp", Number: netboot.PortTFTP, For: "TFTP"})
		if !f.noDHCP {
			all = append(all, doctor.Port{Network: "udp", Number: netboot.PortDHCP, For: "proxyDHCP"}, doctor.Port{Network: "udp", Number: netboot.PortProxy, For: "proxyDHCP"})
		}
	}
	return all, nil
}

func portOf(addr string) (int, error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}

// builtAt is the time of the commit that the program was built from; zero if that is not known.
func builtAt() (t time.Time) {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				t, _ = time.Parse(time.RFC3339, s.Value) // zero: not known
			}
		}
	}
	return t
}

// checkSigned looks at the signatures of a store, and at who may sign in.
func checkSigned(dir string, now time.Time) (all []doctor.Finding) {
	if _, err := os.Stat(servedir.Of(dir).Users()); err != nil {
		all = append(all, doctor.Finding{Check: "page", Level: doctor.Doubt, Text: "nobody can sign in on the status page", Do: "troy login NAME " + dir})
	}
	repo, err := sign.Open(dir, nil)
	if errors.Is(err, sign.ErrUnsigned) {
		return append(all, doctor.Finding{Check: "signed", Level: doctor.Doubt, Text: "the store is not signed", Do: "machines with a pinned root take nothing from it: see troy key"})
	}
	if err != nil {
		return append(all, doctor.Finding{Check: "signed", Level: doctor.Fault, Text: err.Error(), Do: "is this the folder of a store?"})
	}
	expiries, err := repo.Expiries(now)
	if err != nil {
		return append(all, doctor.Finding{Check: "signed", Level: doctor.Fault, Text: err.Error(), Do: "sign it anew: see troy key"})
	}
	for _, e := range expiries {
		f := doctor.Finding{Check: "signed", Text: fmt.Sprintf("%s holds until %s", e.Role, e.Expires.Format(time.DateOnly))}
		switch {
		case !e.Expires.After(now):
			f.Level, f.Do = doctor.Fault, "machines take nothing new: see troy key"
		case e.Soon:
			f.Level, f.Do = doctor.Doubt, "renew it: see troy key; what the server signs it renews while it runs"
		}
		all = append(all, f)
	}
	return all
}
