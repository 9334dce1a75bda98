package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"troy/internal/cli"
	"troy/internal/version"
	"troy/server/doctor"
	"troy/server/rooms"
	"troy/server/rooms/api"
)

// doctorCall is one "doctor".
type doctorCall struct {
	*call
	listen string
	around frontFlags
}

func doctorCommand(s *cli.Streams) *cobra.Command {
	c := &doctorCall{call: newCall(s)}
	cmd := leaf("doctor [STORE]", "find what keeps a server from serving", c.run)
	cmd.Long = `Check ports, firewall, addresses, boot files, certificate, clock, disk space and signatures, and
say what to do. It takes the flags that 'troy serve' is given. The exit code is 5 if machines will
not be served.`
	cmd.Flags().StringVar(&c.listen, "listen", ":8080", "`address` of troy serve")
	c.around.define(cmd.Flags())
	return cmd
}

func (c *doctorCall) run(ctx context.Context, args []string) error {
	around := &c.around
	o := &doctor.Options{Listen: c.listen, Boot: around.boot, NoDHCP: around.noDHCP, Certs: around.certs, TLSListen: around.tlsListen,
		Store: strings.Join(args, ""), Now: time.Now(), Built: version.Get().Time}
	if o.Store != "" {
		o.Hosts = c.machines(ctx, o.Store)
	}
	return c.diagnose(ctx, o)
}

// machines are those that the server of the store knows; none where it never ran.
func (c *doctorCall) machines(ctx context.Context, dir string) (all []rooms.Host) {
	a := &adminCall{imageCall: newImageCall(c.Streams)}
	a.dir = dir
	if a.connect() != nil {
		return nil
	}
	err := a.look(ctx, func(admin api.Admin) (err error) {
		all, err = admin.Hosts(ctx, "")
		return err
	})
	if err != nil {
		c.Note("machines are not looked at: %v", err)
	}
	return all
}

// diagnose prints what is found.
func (c *doctorCall) diagnose(ctx context.Context, o *doctor.Options) error {
	all, err := doctor.Check(ctx, o)
	if err != nil {
		return cli.Usagef("%v", err)
	}
	faults := 0
	for _, f := range all {
		fmt.Fprintln(c.Out, cleanLines(f.String()))
		if f.Level == doctor.Fault {
			faults++
		}
	}
	if faults > 0 {
		return fmt.Errorf("%w: %d faults", cli.ErrCheck, faults)
	}
	return nil
}

// cleanLines makes each line safe for the terminal.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = cli.Clean(lines[i])
	}
	return strings.Join(lines, "\n")
}
