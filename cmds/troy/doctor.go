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
	cmd.Long = `Check ports, firewall, addresses, boot files, certificate, clock, disk space, signatures and
machines, and say what to do. It takes the flags that 'troy serve' is given. The exit code is 5 if
machines will not be served.`
	cmd.Flags().StringVar(&c.listen, "listen", ":8080", "`address` of troy serve")
	c.around.define(cmd.Flags())
	return cmd
}

func (c *doctorCall) run(ctx context.Context, args []string) error {
	around := &c.around
	o := &doctor.Options{Listen: c.listen, Boot: around.boot, NoDHCP: around.noDHCP, Certs: around.certs, TLSListen: around.tlsListen,
		Store: strings.Join(args, ""), Now: time.Now(), Built: version.Get().Time}
	if o.Store != "" {
		o.Machines = c.machines(ctx, o.Store)
	}
	return c.diagnose(ctx, o)
}

// machines are those that the server of a store knows; none where it has not been served yet.
func (c *doctorCall) machines(ctx context.Context, dir string) (list []rooms.Host) {
	admin := &adminCall{imageCall: &imageCall{call: c.call, dir: dir}}
	if admin.connect(ctx) != nil {
		return nil
	}
	_ = admin.look(ctx, func(a api.Admin) (err error) { // without an answer the other checks say why
		list, err = a.Hosts(ctx, "")
		return err
	})
	return list
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
