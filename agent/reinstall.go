package agent

import (
	"context"
	"errors"
	"fmt"

	"troy/diskwriter/machine"
	"troy/image"
	"troy/image/install"
	"troy/internal/progress"
	"troy/server/protocol"
)

// reinstall writes a version over the parent as a whole. From its first write to its last the machine starts nothing but
// this agent, so everything that can be known before is asked before.
func (a *agent) reinstall(ctx context.Context, order *protocol.Order) error {
	src, err := a.openStore(ctx, order)
	if err != nil {
		return untouched("trust", err)
	}
	if err := src.Allow(ctx, order.Image, a.newest(order.Image), order.Version); err != nil {
		return untouched("reinstall", err)
	}
	var fetched counter
	v, err := install.Open(ctx, src, order.Image, order.Version, &install.Options{Workers: a.o.Workers, Progress: &fetched})
	if err != nil {
		return untouched("reinstall", err)
	}
	if err := a.fits(v.Plan()); err != nil {
		return untouched("reinstall", err)
	}
	before := a.target.Written()
	if a.machine != nil {
		a.noteHeld()
		if err := a.keep(); err != nil {
			return a.since(before, "journal", err)
		}
	}
	in, err := machine.Reinstall(ctx, a.target.Files(), &machine.ReinstallRequest{Image: order.Image, Version: order.Version})
	if err != nil {
		return a.since(before, "reinstall", err)
	}
	a.machine, a.noWindows = nil, true // what it knew is no more
	a.remember()
	a.say("reinstall: %s version %d, %s to fetch; until this is finished the machine starts nothing else, and goes on by itself when it is started again",
		order.Image, order.Version, progress.Bytes(v.Plan().FetchBytes))
	if in.Offset() > 0 {
		a.say("reinstall: going on at %s of %s", progress.Bytes(in.Offset()), progress.Bytes(in.Size()))
	}
	if err := a.phase("fetch", fetched.total, func() error { return a.rewrite(ctx, v, in) }); err != nil {
		return a.repairFailed(before, "reinstall", err)
	}
	return a.finish(ctx, order, v, in)
}

// fits holds the plan against the parent that is there.
func (a *agent) fits(plan *image.Plan) error {
	b, err := machine.ReadBase(a.target.Files().Base)
	if err != nil {
		if a.machine == nil { // a parent with a log to replay is Reinstall's business
			return nil
		}
		return err
	}
	if b.VirtualSize != plan.VirtualSize || b.LogicalSectorSize != plan.SectorSize {
		return fmt.Errorf("%s version %d is a disk of %d bytes in sectors of %d, the machine was prepared for %d in sectors of %d: prepare it anew",
			plan.Image, plan.Want, plan.VirtualSize, plan.SectorSize, b.VirtualSize, b.LogicalSectorSize)
	}
	return nil
}

// rewrite writes the version and reads all of it back.
func (a *agent) rewrite(ctx context.Context, v *install.Version, in *machine.Reinstaller) error {
	left := int64(0)
	for _, r := range v.Runs() {
		left += max(0, r.Offset+r.Length-max(r.Offset, in.Offset()))
	}
	fill, read := a.newGauge("reinstall", left), a.newGauge("compare", 0)
	defer read.Done()
	defer fill.Done()
	return v.Into(ctx, a.target, in, fill, read)
}

// finish puts the boot files on the ESP and lets the machine boot the version.
func (a *agent) finish(ctx context.Context, order *protocol.Order, v *install.Version, in *machine.Reinstaller) error {
	if err := a.putBootFiles(ctx, in, in.Size(), int(v.Plan().SectorSize)); err != nil {
		if a.boot != nil { // the ESP of a disk that was just made is empty
			return unfinished("boot files", err)
		}
		a.say("boot files: %v; what is on the ESP stays", err)
	}
	if err := in.Finish(ctx); err != nil {
		return unfinished("reinstall", err)
	}
	a.deploys, a.noWindows = true, false
	a.memo.Health = a.memo.Health.Renewed(versionName(order.Image, order.Version))
	a.say("reinstall: %s version %d is on the disk", order.Image, order.Version)
	return unfinished("reinstall", a.reopen())
}

// errOtherOrder: a reinstall was begun, and the order does not say with what to end it.
var errOtherOrder = errors.New("a reinstall was begun and has to be finished, but the server names no version")

// finishReinstall goes on with a reinstall that was cut off; the order may name another version by now.
func (a *agent) finishReinstall(ctx context.Context, order *protocol.Order) error {
	s := a.machine.State()
	o := *order
	if o.Image == "" || o.Version == 0 {
		o.Image, o.Version = s.ReinstallImage, s.ReinstallVersion
	}
	if o.Image == "" || o.Version == 0 {
		return unfinished("reinstall", errOtherOrder)
	}
	return a.reinstall(ctx, &o)
}
