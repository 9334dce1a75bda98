package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"troy/image"
	"troy/image/trust/sign"
	"troy/internal/errline"
	"troy/internal/progress"
	"troy/server/rooms"
	"troy/server/rooms/api"
	"troy/server/signing"
)

func promoteCommand() command {
	return command{name: "promote", args: "[--store DIR] [--at FROM-TO] [--after ROOM|none] [--retry] [--dry-run] --room ROOM IMAGE@VERSION",
		short: "give a room a version: its machines follow in their next window", run: runPromote}
}

func rollbackCommand() command {
	return command{name: "rollback", args: "[--store DIR] [--keys DIR] [--passphrase-file FILE] [--at FROM-TO] [--signed] --room ROOM [IMAGE@VERSION]",
		short: "give a room back the version that it had before, and sign that machines may go back", run: runRollback}
}

func wakeCommand() command {
	return command{name: "wake", args: "[--store DIR] --room ROOM | HOST", short: "send wake-on-LAN to a machine or a room now", run: runWake}
}

func assignCommand() command {
	return command{name: "assign", args: "[--store DIR] --room ROOM CODE NAME", short: "give the machine that shows CODE a room and a name", run: runAssign}
}

func stopCommand() command {
	return command{name: "stop", args: "[--store DIR] [--why TEXT] [--resume] --room ROOM", short: "let no further machine of a room begin; --resume lets them again", run: runStop}
}

// promotion are the flags that promote and rollback share.
type promotion struct {
	*adminCall
	p rooms.Promotion
}

func newPromotion(c *call) *promotion {
	p := &promotion{adminCall: newAdminCall(c)}
	p.fs.StringVar(&p.p.Room, "room", "", "the `room`")
	p.fs.StringVar(&p.p.At, "at", "", "local time `FROM-TO` of every day, in place of the room's windows")
	p.p.By = who()
	return p
}

// target reads IMAGE@VERSION.
func (p *promotion) target(text string) error {
	name, number, ok := strings.Cut(text, "@")
	if !ok || name == "" {
		return &usageError{fmt.Sprintf("%q: want IMAGE@VERSION", text)}
	}
	var err error
	p.p.Image = name
	p.p.Version, err = version(number, 1)
	return err
}

func (p *promotion) wantRoom() error {
	if p.p.Room == "" {
		return &usageError{"--room is missing"}
	}
	return nil
}

func runPromote(ctx context.Context, c *call) error {
	p := newPromotion(c)
	p.fs.StringVar(&p.p.After, "after", "", "`room` that must have the version healthy before (default: as lab.yaml says; none: no room)")
	p.fs.BoolVar(&p.p.Retry, "retry", false, "machines try again what they gave up")
	dry := p.fs.Bool("dry-run", false, "print the estimate and change nothing")
	args, err := p.connect(1, 1)
	if err != nil {
		return err
	}
	if err := errline.Join(p.wantRoom(), p.target(args[0])); err != nil {
		return &usageError{err.Error()}
	}
	if *dry {
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
		return p.printJSON(e)
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
	if err := p.wantVisible(ctx, e); err != nil {
		return err
	}
	t, err := admin.Promote(ctx, p.p)
	if err != nil {
		return err
	}
	if p.json {
		return p.printJSON(map[string]any{"estimate": e, "target": t})
	}
	fmt.Fprintf(p.stdout, "room %s gets %s version %d\n", clean(p.p.Room), t.Image, t.Version)
	return nil
}

// wantVisible refuses a version that is published but not signed: machines would not find it.
func (p *promotion) wantVisible(ctx context.Context, e *rooms.Estimate) error {
	hidden, err := signing.Hidden(ctx, p.dir, e.Image, e.Version)
	if hidden {
		err = &fault{err: fmt.Errorf("%s version %d is not signed: machines do not see it", e.Image, e.Version), fate: "nothing was promoted", advice: "'troy key sign' signs it"}
	}
	return err
}

func (p *promotion) sayEstimate(e *rooms.Estimate) {
	todo := e.Machines - e.Current
	fmt.Fprintf(p.stdout, "room %s: %d machines, %d have %s version %d, %d are to get it\n", clean(e.Room), e.Machines, e.Current, e.Image, e.Version, todo)
	fmt.Fprintf(p.stdout, "estimate: %s over the network, %s written, at %s/s and %d machines at a time about %s\n",
		progress.Bytes(e.Fetch), progress.Bytes(e.Write), progress.Bytes(e.Rate), e.Wave, (time.Duration(e.Takes) * time.Second).Round(time.Second))
	switch {
	case e.Opens.IsZero() && e.Fits:
		fmt.Fprintln(p.stdout, "begins: at once, this room has no window to wait for")
	case e.Opens.IsZero():
		fmt.Fprintln(p.stdout, "begins: never, no window opens")
	default:
		fmt.Fprintf(p.stdout, "window: %s to %s\n", e.Opens.Format("Mon 2006-01-02 15:04"), e.Closes.Format("Mon 15:04 MST"))
		if !e.Fits {
			fmt.Fprintln(p.stdout, "note: it does not fit into that window; what is left follows in the next ones")
		}
	}
	if e.Gate != "" {
		fmt.Fprintf(p.stdout, "before that: %s\n", clean(e.Gate))
	}
	for _, w := range e.Warnings {
		fmt.Fprintf(p.stdout, "note: %s\n", clean(w))
	}
}

func runRollback(ctx context.Context, c *call) error {
	p := newPromotion(c)
	var keys keyFlags
	keys.add(p.fs)
	signed := p.fs.Bool("signed", false, "the step back was signed elsewhere (troy key order): sign nothing here")
	args, err := p.connect(0, 1)
	if err != nil {
		return err
	}
	if err := p.wantRoom(); err != nil {
		return err
	}
	if len(args) == 1 {
		if err := p.target(args[0]); err != nil {
			return err
		}
	}
	return p.change(ctx, func(admin api.Admin) error { return p.rollback(ctx, admin, &keys, *signed) })
}

func (p *promotion) rollback(ctx context.Context, admin api.Admin, keys *keyFlags, signed bool) error {
	if p.p.Version == 0 {
		t, err := admin.Previous(ctx, p.p.Room)
		if err != nil {
			return err
		}
		p.p.Image, p.p.Version = t.Image, t.Version
	}
	if !signed {
		if err := p.signOrder(ctx, keys); err != nil {
			return err
		}
	}
	t, err := admin.Rollback(ctx, p.p)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "room %s goes back to %s version %d\n", clean(p.p.Room), t.Image, t.Version)
	return nil
}

// signOrder signs that machines may go back. Without it they would refuse, and the wave would stop with failures.
func (p *promotion) signOrder(ctx context.Context, keys *keyFlags) error {
	repo, err := sign.Open(p.dir, keys.options(p.call))
	if errors.Is(err, sign.ErrUnsigned) {
		return unsigned(err, p.dir)
	}
	store, err2 := image.OpenStore(p.dir)
	if err := errline.Join(err, err2); err != nil {
		return err
	}
	if err := repo.SetOrder(ctx, store, p.p.Image, p.p.Version, time.Now()); err != nil {
		return &fault{err: err, fate: "room " + p.p.Room + " keeps the version it has",
			advice: fmt.Sprintf("give the key with --keys, or run 'troy key order %s %d' where it is and then this command with --signed", p.p.Image, p.p.Version)}
	}
	return nil
}

func runWake(ctx context.Context, c *call) error {
	a := newAdminCall(c)
	room := a.fs.String("room", "", "all machines of this `room`")
	args, err := a.connect(0, 1)
	if err != nil {
		return err
	}
	if (*room == "") == (len(args) == 0) {
		return &usageError{"want --room ROOM or one HOST"}
	}
	n, err := a.client.Wake(ctx, *room, strings.Join(args, ""))
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "called %d machines\n", n)
	return nil
}

func runAssign(ctx context.Context, c *call) error {
	a := newAdminCall(c)
	room := a.fs.String("room", "", "the `room`")
	args, err := a.connect(2, 2)
	if err != nil {
		return err
	}
	if *room == "" {
		return &usageError{"--room is missing"}
	}
	return a.change(ctx, func(admin api.Admin) error {
		if err := admin.Assign(ctx, args[0], args[1], *room); err != nil {
			return err
		}
		fmt.Fprintf(a.stdout, "%s is in room %s; a line for lab.yaml: see 'troy hosts --yaml'\n", clean(args[1]), clean(*room))
		return nil
	})
}

func runStop(ctx context.Context, c *call) error {
	a := newAdminCall(c)
	room := a.fs.String("room", "", "the `room`")
	why := a.fs.String("why", "by "+who(), "reason that the status shows")
	resume := a.fs.Bool("resume", false, "let machines begin again")
	if _, err := a.connect(0, 0); err != nil {
		return err
	}
	if *room == "" || *why == "" {
		return &usageError{"--room or --why is empty"}
	}
	if *resume {
		*why = ""
	}
	return a.change(ctx, func(admin api.Admin) error { return admin.Stop(ctx, *room, *why) })
}
