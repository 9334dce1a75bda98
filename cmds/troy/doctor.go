package main

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"troy/server/doctor"
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
	o := &doctor.Options{Listen: *listen, Boot: around.boot, NoDHCP: around.noDHCP, Certs: around.certs, TLSListen: around.tlsListen,
		Store: strings.Join(args, ""), Now: time.Now(), Built: builtAt()}
	return diagnose(ctx, c, o)
}

// diagnose prints what is found.
func diagnose(ctx context.Context, c *call, o *doctor.Options) error {
	all, err := doctor.Check(ctx, o)
	if err != nil {
		return &usageError{err.Error()}
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
