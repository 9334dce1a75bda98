package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"troy/internal/cli"
	"troy/server/rooms/api"
)

// forgetting is one "forget".
type forgetting struct {
	*adminCall
	strangers bool
	keys      keyFlags
}

func forgetCommand(s *cli.Streams) *cobra.Command {
	a := &forgetting{adminCall: newAdminCall(s)}
	cmd := leaf("forget [HOST…]", "drop what is known of machines", a.run)
	cmd.Long = `Drop what the server knows of machines: those that you name (by name, code, id, MAC address or
UUID), or with --strangers all that are neither listed nor assigned, and for which no key is pinned.
A machine that still exists comes back at its next start, without its history. If its key was
pinned, the first one that then claims to be this machine is taken for it: the command asks before.`
	a.keys.broad = true
	cmd.Flags().BoolVar(&a.strangers, "strangers", false, "forget all machines that nothing vouches for")
	cmd.Flags().BoolVar(&a.keys.yes, "yes", false, "forget without asking")
	return a.withServer(cmd)
}

func (a *forgetting) run(ctx context.Context, hosts []string) error {
	if a.strangers == (len(hosts) > 0) {
		return cli.Usagef("want HOST…, or --strangers")
	}
	if err := a.connect(ctx); err != nil {
		return err
	}
	return a.change(ctx, func(admin api.Admin) error {
		if a.strangers {
			n, err := admin.Forget(ctx, api.Forget{Strangers: true})
			if err == nil {
				fmt.Fprintf(a.Out, "%d machines were forgotten\n", n)
			}
			return err
		}
		if err := a.agree(ctx, admin, hosts); err != nil {
			return &cli.Fault{Err: err, Fate: "nothing was changed"}
		}
		for _, host := range hosts {
			if _, err := admin.Forget(ctx, api.Forget{Host: host}); err != nil {
				return err
			}
			fmt.Fprintf(a.Out, "%s was forgotten\n", cli.Clean(host))
		}
		return nil
	})
}

// agree finds the machines, and asks about those whose key is pinned.
func (a *forgetting) agree(ctx context.Context, admin api.Viewer, hosts []string) error {
	pinned := 0
	for _, host := range hosts {
		d, err := admin.Host(ctx, host)
		if err != nil {
			return err
		}
		if d.Pin != "" {
			pinned++
			fmt.Fprintf(a.Err, "%s: its key %s would be forgotten as well\n", cli.Clean(host), d.Pin)
		}
	}
	if pinned == 0 {
		return nil
	}
	return a.keys.ask(a.call, "go on? yes or no: ")
}
