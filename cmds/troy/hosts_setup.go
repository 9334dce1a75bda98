package main

import (
	"context"
	"fmt"

	"troy/internal/cli"
	"troy/server/rooms/api"
)

// endSetup says that the setup of Windows on a machine is over, or discards what it has done.
func (a *hostsCall) endSetup(ctx context.Context, admin api.Admin, host string, discard bool) error {
	of, err := admin.EndSetup(ctx, host, discard)
	if err != nil {
		return err
	}
	what := "counts as over"
	if discard {
		what = "is discarded"
	}
	fmt.Fprintf(a.Out, "%s: the setup of %s version %d %s at its next start\n", cli.Clean(host), cli.Clean(of.Image), of.Version, what)
	return nil
}
