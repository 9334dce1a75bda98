package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/cli"
	"troy/server/rooms/api"
	"troy/server/state"
)

// rollback is one "rollback".
type rollback struct {
	*promotion
	keys   keyFlags
	until  string
	signed bool // elsewhere
	named  bool // the version was named by the admin, not by the server
}

func rollbackCommand(s *cli.Streams) *cobra.Command {
	p := &rollback{promotion: newPromotion(s)}
	cmd := leaf("rollback --room ROOM [IMAGE@VERSION]", "return a room to an older version", p.run)
	cmd.Long = `Return a room to an older version, and sign a permit that its machines may go back to it.
Its machines follow in their next window.
Without IMAGE@VERSION the server names the version that the room had before; you are asked whether
that is right, so it needs a terminal.`
	cmd.Flags().BoolVar(&p.signed, "signed", false, "the downgrade was signed elsewhere (troy permit downgrade): sign nothing here")
	cmd.Flags().StringVar(&p.until, "until", "", "last `day` on which they may go back, YYYY-MM-DD (default: in 30 days)")
	p.keys.define(cmd.Flags())
	return p.define(cmd)
}

func (p *rollback) run(ctx context.Context, args []string) error {
	if err := p.wantRoom(); err != nil {
		return err
	}
	if p.named = len(args) == 1; p.named {
		if err := p.target(args[0]); err != nil {
			return err
		}
	}
	if err := p.connect(ctx); err != nil {
		return err
	}
	return p.change(ctx, func(admin api.Admin) error { return p.rollback(ctx, admin) })
}

func (p *rollback) rollback(ctx context.Context, admin api.Admin) error {
	now, err := p.current(ctx, admin)
	if err != nil {
		return err
	}
	if !p.named {
		if err := p.before(ctx, admin); err != nil {
			return err
		}
	}
	newer := now != nil && now.Image == p.p.Image && p.p.Version > now.Version
	if newer && p.named {
		return &cli.Fault{Err: fmt.Errorf("%s version %d is newer than version %d, which room %s has", p.p.Image, p.p.Version, now.Version, p.p.Room),
			Fate: "nothing was signed or changed", Advice: fmt.Sprintf("'troy promote --room %s %s@%d' goes forward", p.p.Room, p.p.Image, p.p.Version)}
	}
	how := ""
	if !p.signed && !newer {
		if how, err = p.sign(ctx, admin); err != nil {
			return err
		}
	}
	t, err := admin.Rollback(ctx, p.p)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.Out, "room %s goes back to %s version %d%s\n", cli.Clean(p.p.Room), cli.Clean(t.Image), t.Version, how)
	p.p.Image, p.p.Version, p.p.After = t.Image, t.Version, cmp.Or(t.After, "none")
	e, err := admin.Estimate(ctx, p.p)
	if err != nil { // it goes back all the same
		p.Note("it is not known when: %v", err)
		return nil
	}
	p.sayWhen(e)
	return nil
}

// current is what the room has now, nil if nothing was promoted.
func (p *rollback) current(ctx context.Context, admin api.Viewer) (*state.Target, error) {
	st, err := admin.Status(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range st.Rooms {
		if r.Name == p.p.Room {
			return r.Target, nil
		}
	}
	return nil, nil
}

// before takes the version that the server names. A person has to agree: what it says is what the
// admin key would sign.
func (p *rollback) before(ctx context.Context, admin api.Historian) error {
	t, err := admin.Previous(ctx, p.p.Room)
	if err != nil {
		return err
	}
	p.p.Image, p.p.Version = t.Image, t.Version
	if p.signed {
		return nil
	}
	advice := fmt.Sprintf("'troy rollback --room %s %s@%d' names it", p.p.Room, t.Image, t.Version)
	if p.terminal() == nil {
		return &cli.Fault{Err: fmt.Errorf("the server says that room %s had %s version %d before, and there is no terminal to ask whether that is right", p.p.Room, t.Image, t.Version),
			Fate: "nothing was signed or changed", Advice: advice}
	}
	p.keys.yes = false // says yes to what is named only
	prompt := fmt.Sprintf("the server says that room %s had %s version %d before; go back to that? yes or no: ", cli.Clean(p.p.Room), cli.Clean(t.Image), t.Version)
	if err := p.keys.ask(p.call, prompt); err != nil {
		return &cli.Fault{Err: err, Fate: "nothing was signed or changed", Advice: advice}
	}
	p.keys.approved = true
	return nil
}

// sign signs a permit for the machines of the room, and says so. Without it they would wait for one.
func (p *rollback) sign(ctx context.Context, admin api.Viewer) (how string, err error) {
	sample := trust.Permit{Scope: trust.Downgrade, Image: p.p.Image, Version: p.p.Version, Until: time.Now().AddDate(0, 0, 30)}
	if p.until != "" {
		if sample.Until, err = lastDay(p.until, time.Local); err != nil {
			return "", err
		}
	}
	call := &permitCall{adminCall: p.adminCall, keys: p.keys}
	if call.repo, err = p.repository(&p.keys); err == nil {
		err = call.sign(ctx, admin, sample, []string{p.p.Room}, nil)
	}
	if errors.Is(err, errNobody) {
		p.Note("nothing is to be signed: no machine of room %s has a key yet", cli.Clean(p.p.Room))
		return "", p.refused(call.ready(ctx))
	}
	return ", which is signed", p.refused(err)
}

// refused says why the room keeps its version.
func (p *rollback) refused(err error) error {
	if err == nil {
		return nil
	}
	var known *cli.Fault
	if errors.As(err, &known) {
		known.Fate = "nothing was signed, room " + p.p.Room + " keeps the version it has"
		return known
	}
	advice := keyAdvice(err)
	if errors.Is(err, sign.ErrKey) || errors.Is(err, sign.ErrNoTrust) {
		advice = fmt.Sprintf("give the key with --keys, or run 'troy permit downgrade %s --to %s@%d --until DATE' where it is and then this command with --signed", p.p.Room, p.p.Image, p.p.Version)
	}
	return &cli.Fault{Err: err, Fate: "room " + p.p.Room + " keeps the version it has", Advice: advice}
}
