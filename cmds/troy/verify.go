package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"troy/internal/cli"
	"troy/server/rooms/api"
)

// verifying is one "verify".
type verifying struct {
	*adminCall
	room, host string
	adopt      bool
}

func verifyCommand(s *cli.Streams) *cobra.Command {
	v := &verifying{adminCall: newAdminCall(s)}
	cmd := leaf("verify --room ROOM | --host HOST", "compare disks with their version", v.run)
	cmd.Long = `Compare what machines hold with their version, in the next window: the whole disk is read, without
what Windows wrote since the last reset. A machine gets the version of its room first, unless
that is stopped or has to wait for another room. 'troy hosts' and 'troy log HOST' show what was
found. An order that was not carried out yet is replaced by the next one.`
	cmd.Flags().StringVar(&v.room, "room", "", "all machines of this `room`")
	cmd.Flags().StringVar(&v.host, "host", "", "this `machine` only")
	cmd.Flags().BoolVar(&v.adopt, "adopt", false, "replace what differs and discard the changes that Windows made; also for machines with another store's version")
	return v.withServer(cmd)
}

func (v *verifying) run(ctx context.Context, _ []string) error {
	if (v.room == "") == (v.host == "") {
		return cli.Usagef("want --room ROOM or --host HOST")
	}
	if err := v.connect(ctx); err != nil {
		return err
	}
	return v.change(ctx, func(admin api.Admin) error {
		n, err := admin.Verify(ctx, v.room, v.host, v.adopt)
		if err != nil {
			return err
		}
		fmt.Fprintf(v.Out, "%d machines are compared in their next window, once they have their version\n", n)
		return nil
	})
}
