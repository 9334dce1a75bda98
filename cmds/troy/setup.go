package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"troy/internal/cli"
	"troy/server/rooms/api"
)

// endingSetup is one "setup over" or "setup leave".
type endingSetup struct {
	*adminCall
	leave bool
}

func setupCommand(s *cli.Streams) *cobra.Command {
	over, leave := &endingSetup{adminCall: newAdminCall(s)}, &endingSetup{adminCall: newAdminCall(s), leave: true}
	over1 := leaf("over HOST", "say that the setup of Windows on a machine is over", over.run)
	over1.Long = `Say that the setup of Windows on a machine is over, although its registry does not. From its next
start on the machine can be merged and replaced; what Windows wrote stays.`
	leave1 := leaf("leave HOST", "discard a setup of Windows that failed", leave.run)
	leave1.Long = `Discard what the setup of Windows has done on a machine. At its next start the machine takes the
version that its room has, in the room's windows; if that is the same one, setup begins again.`
	return group("setup", "end the setup of Windows by hand", over.withServer(over1), leave.withServer(leave1))
}

func (e *endingSetup) run(ctx context.Context, args []string) error {
	if err := e.connect(ctx); err != nil {
		return err
	}
	return e.change(ctx, func(admin api.Admin) error {
		of, err := admin.EndSetup(ctx, args[0], e.leave)
		if err != nil {
			return err
		}
		what := "counts as over"
		if e.leave {
			what = "is discarded"
		}
		fmt.Fprintf(e.Out, "%s: the setup of %s version %d %s at its next start\n", cli.Clean(args[0]), cli.Clean(of.Image), of.Version, what)
		return nil
	})
}
