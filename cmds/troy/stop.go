package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"troy/internal/cli"
	"troy/server/rooms"
	"troy/server/rooms/api"
)

// stopping is one "stop".
type stopping struct {
	*adminCall
	room, why   string
	all, resume bool
}

func stopCommand(s *cli.Streams) *cobra.Command {
	a := &stopping{adminCall: newAdminCall(s)}
	cmd := leaf("stop --room ROOM | --all", "pause or resume rollouts", nil)
	cmd.Long = `Pause a room's rollout: no further machine begins, and those at work finish. --resume continues it.
--all means every room that has a version.`
	fs := cmd.Flags()
	fs.StringVar(&a.room, "room", "", "the `room`")
	fs.BoolVar(&a.all, "all", false, "all rooms")
	fs.StringVar(&a.why, "why", "", "the `reason` that the status shows (default: your name)")
	fs.BoolVar(&a.resume, "resume", false, "continue the rollout")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !fs.Changed("why") {
			a.why = "by " + who()
		}
		return a.run(cmd.Context())
	}
	return a.withServer(cmd)
}

func (a *stopping) run(ctx context.Context) error {
	why := strings.TrimSpace(a.why)
	switch {
	case (a.room == "") != a.all:
		return cli.Usagef("want --room ROOM or --all")
	case why == "": // no reason would resume
		return cli.Usagef("--why is empty")
	case a.resume:
		why = ""
	}
	if err := a.connect(ctx); err != nil {
		return err
	}
	return a.change(ctx, func(admin api.Admin) error {
		if a.all {
			return a.stopAll(ctx, admin, why)
		}
		return a.stop(ctx, admin, a.room, why)
	})
}

func (a *stopping) stop(ctx context.Context, admin api.Operator, room, why string) error {
	if err := admin.Stop(ctx, room, why); err != nil {
		return err
	}
	what := "is stopped: no further machine begins"
	if why == "" {
		what = "goes on"
	}
	fmt.Fprintf(a.Out, "room %s %s\n", cli.Clean(room), what)
	return nil
}

// stopAll stops every room in which something could begin, or has those that were stopped go on. A
// room that fails keeps none of the others from that.
func (a *stopping) stopAll(ctx context.Context, admin api.Admin, why string) error {
	st, err := admin.Status(ctx)
	if err != nil {
		return err
	}
	var failed []string
	n := 0
	for i := range st.Rooms {
		r := &st.Rooms[i]
		if a.resume && r.Stopped == "" {
			continue
		}
		err := a.stop(ctx, admin, r.Name, why)
		if errors.Is(err, rooms.ErrNotFound) { // nothing was promoted to it
			continue
		}
		n++
		if err != nil {
			failed = append(failed, fmt.Sprintf("room %s: %v", r.Name, err))
		}
	}
	switch {
	case len(failed) > 0:
		return fmt.Errorf("%d of %d rooms: %s", len(failed), n, strings.Join(failed, "; "))
	case n == 0 && a.resume:
		fmt.Fprintln(a.Out, "no room is stopped")
	case n == 0:
		fmt.Fprintln(a.Out, "no room has a version: nothing could begin")
	}
	return nil
}
