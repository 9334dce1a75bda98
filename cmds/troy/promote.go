package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"troy/internal/cli"
	"troy/internal/errline"
	"troy/internal/progress"
	"troy/server/rooms"
	"troy/server/rooms/api"
)

// promotion is one "promote" or "rollback".
type promotion struct {
	*adminCall
	p    rooms.Promotion
	dry  bool
	asks keyFlags
}

func newPromotion(s *cli.Streams) *promotion {
	return &promotion{adminCall: newAdminCall(s), p: rooms.Promotion{By: who()}, asks: keyFlags{broad: true}}
}

// define adds the flags that promote and rollback share.
func (p *promotion) define(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&p.p.Room, "room", "", "the `room`")
	cmd.Flags().StringVar(&p.p.At, "at", "", "local `times` FROM-TO of every day, in place of the room's windows")
	return p.withServer(cmd)
}

func promoteCommand(s *cli.Streams) *cobra.Command {
	p := newPromotion(s)
	cmd := leaf("promote --room ROOM IMAGE@VERSION", "give a room a version", p.runPromote)
	cmd.Long = "Give a room a version. Its machines follow in their next window."
	fs := cmd.Flags()
	fs.StringVar(&p.p.After, "after", "", "`room` that must have the version healthy before (default: as lab.yaml says; none: no room)")
	fs.BoolVar(&p.p.Retry, "retry", false, "machines try a version again that they gave up")
	fs.BoolVar(&p.dry, "dry-run", false, "print the estimate and change nothing")
	fs.BoolVar(&p.asks.yes, "yes", false, "do not ask before several machines go through the setup of Windows")
	return p.withJSON(p.define(cmd))
}

// target reads IMAGE@VERSION.
func (p *promotion) target(text string) error {
	name, number, ok := strings.Cut(text, "@")
	if !ok || name == "" {
		return cli.Usagef("%q: want IMAGE@VERSION", text)
	}
	var err error
	p.p.Image = name
	p.p.Version, err = versionNumber(number, 1)
	return err
}

func (p *promotion) wantRoom() error {
	if p.p.Room == "" {
		return cli.Usagef("--room is missing")
	}
	return nil
}

func (p *promotion) runPromote(ctx context.Context, args []string) error {
	if err := errline.Join(p.wantRoom(), p.target(args[0])); err != nil {
		return cli.Usagef("%v", err)
	}
	if err := p.connect(ctx); err != nil {
		return err
	}
	if p.dry {
		return p.look(ctx, func(admin api.Admin) error { return p.estimate(ctx, admin) })
	}
	return p.change(ctx, func(admin api.Admin) error { return p.promote(ctx, admin) })
}

// estimate says what the promotion would take.
func (p *promotion) estimate(ctx context.Context, admin api.Planner) error {
	e, err := admin.Estimate(ctx, p.p)
	if err != nil {
		return err
	}
	if p.json {
		return p.JSON(e)
	}
	p.sayEstimate(e)
	return nil
}

func (p *promotion) promote(ctx context.Context, admin api.Planner) error {
	e, err := admin.Estimate(ctx, p.p)
	if err != nil {
		return err
	}
	if !p.json {
		p.sayEstimate(e)
	}
	if err := p.askSetup(e); err != nil {
		return err
	}
	t, err := admin.Promote(ctx, p.p)
	if err != nil {
		return err
	}
	if p.json {
		return p.JSON(map[string]any{"estimate": e, "target": t})
	}
	fmt.Fprintf(p.Out, "room %s gets %s version %d\n", cli.Clean(p.p.Room), t.Image, t.Version)
	return nil
}

// askSetup asks before more than one machine goes through the setup of Windows.
func (p *promotion) askSetup(e *rooms.Estimate) error {
	if !e.Setup || e.Machines < 2 {
		return nil
	}
	fmt.Fprintf(p.Err, "the Windows of %s version %d has still to be set up: each of the %d machines of room %s would go through that, where one is enough to make the next version\n",
		cli.Clean(e.Image), e.Version, e.Machines, cli.Clean(e.Room))
	if err := p.asks.ask(p.call, "go on? yes or no: "); err != nil {
		return &cli.Fault{Err: err, Fate: "nothing was changed"}
	}
	p.p.Setup = true
	return nil
}

func (p *promotion) sayEstimate(e *rooms.Estimate) {
	todo := e.Machines - e.Current
	if e.Note != "" || !e.Published.IsZero() {
		fmt.Fprintf(p.Out, "%s version %d of %s: %s\n", e.Image, e.Version, day(e.Published), cmp.Or(cli.Clean(e.Note), "no note"))
	}
	fmt.Fprintf(p.Out, "room %s: %d machines, %d have %s version %d, %d will get it\n", cli.Clean(e.Room), e.Machines, e.Current, e.Image, e.Version, todo)
	fmt.Fprintf(p.Out, "estimate: %s over the network, %s written, at %s/s and %d machines at a time about %s\n",
		progress.Bytes(e.Fetch), progress.Bytes(e.Write), progress.Bytes(e.Rate), e.Wave, (time.Duration(e.Takes) * time.Second).Round(time.Second))
	fmt.Fprintf(p.Out, "disks: a PC needs one of %s%s\n", progress.Bytes(e.Disk), smallest(e))
	p.sayWhen(e)
}

// sayWhen says when machines follow, and what keeps them from it.
func (p *promotion) sayWhen(e *rooms.Estimate) {
	switch {
	case e.Opens.IsZero() && e.Fits:
		fmt.Fprintln(p.Out, "starts at once: this room has no windows")
	case e.Opens.IsZero():
		fmt.Fprintln(p.Out, "will not start: no window opens")
	default:
		zone, err := time.LoadLocation(e.Zone)
		if err != nil {
			zone = time.UTC // a zone that this machine does not know
		}
		fmt.Fprintf(p.Out, "window: %s to %s (%s)\n", e.Opens.In(zone).Format("Mon 2006-01-02 15:04"), e.Closes.In(zone).Format("Mon 15:04"), zone)
		if !e.Fits {
			fmt.Fprintln(p.Out, "note: it does not fit into that window; the rest follows in the next ones")
		}
	}
	if e.Gate != "" {
		fmt.Fprintf(p.Out, "before that: %s\n", cli.Clean(e.Gate))
	}
	for _, w := range e.Warnings {
		fmt.Fprintf(p.Out, "note: %s\n", cli.Clean(w))
	}
}

func smallest(e *rooms.Estimate) string {
	if e.Smallest == 0 {
		return ""
	}
	return ", the smallest in this room has " + progress.Bytes(e.Smallest)
}

// waking is one "wake".
type waking struct {
	*adminCall
	room string
}

func wakeCommand(s *cli.Streams) *cobra.Command {
	a := &waking{adminCall: newAdminCall(s)}
	cmd := leaf("wake --room ROOM | HOST", "send wake-on-LAN packets now", a.run)
	cmd.Args = arguments(0, 1)
	cmd.Flags().StringVar(&a.room, "room", "", "all machines of this `room`")
	return a.withServer(cmd)
}

func (a *waking) run(ctx context.Context, args []string) error {
	if (a.room == "") == (len(args) == 0) {
		return cli.Usagef("want --room ROOM or one HOST")
	}
	if err := a.connect(ctx); err != nil {
		return err
	}
	n, err := a.client.Wake(ctx, a.room, strings.Join(args, ""))
	if errors.Is(err, api.ErrDown) {
		return &cli.Fault{Err: err, Fate: "no packet was sent", Advice: "the server sends them: 'troy serve' starts it"}
	}
	if err != nil {
		return lost(err)
	}
	fmt.Fprintf(a.Out, "wake-up packets go out to %d machines\n", n)
	return nil
}

// assigning is one "assign".
type assigning struct {
	*adminCall
	room string
}

func assignCommand(s *cli.Streams) *cobra.Command {
	a := &assigning{adminCall: newAdminCall(s)}
	cmd := leaf("assign --room ROOM CODE NAME", "name the machine that shows a code", a.run)
	cmd.Long = "Give the machine that shows CODE a room and a name."
	cmd.Flags().StringVar(&a.room, "room", "", "the `room`")
	return a.withServer(cmd)
}

func (a *assigning) run(ctx context.Context, args []string) error {
	if a.room == "" {
		return cli.Usagef("--room is missing")
	}
	if err := a.connect(ctx); err != nil {
		return err
	}
	return a.change(ctx, func(admin api.Admin) error {
		if err := admin.Assign(ctx, args[0], args[1], a.room); err != nil {
			return err
		}
		fmt.Fprintf(a.Out, "%s is in room %s; 'troy hosts --yaml' prints its line for lab.yaml\n", cli.Clean(args[1]), cli.Clean(a.room))
		return nil
	})
}
