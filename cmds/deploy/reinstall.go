package main

import (
	"context"
	"errors"
	"fmt"

	"troy/cmds/internal/progress"
	"troy/diskwriter"
	"troy/diskwriter/target"
	"troy/image"
	"troy/server/protocol"
)

// reinstall writes a version over the parent as a whole. From its first write to its last the machine starts nothing but
// this agent, so everything that can be known before is asked before.
func (a *agent) reinstall(ctx context.Context, order *protocol.Order) error {
	src, err := a.openStore(ctx, order)
	if err != nil {
		return untouched("reinstall", err)
	}
	have := 0
	if a.machine != nil && a.machine.State().Image == order.Image {
		have = a.machine.State().Version
	}
	if err := src.Allow(ctx, order.Image, have, order.Version); err != nil {
		return untouched("reinstall", err)
	}
	plan, err := image.LoadPlan(ctx, src, order.Image, 0, order.Version)
	if err != nil {
		return untouched("reinstall", err)
	}
	m, err := image.LoadMap(ctx, src, order.Image, order.Version)
	if err != nil {
		return untouched("reinstall", err)
	}
	if err := a.fits(plan); err != nil {
		return untouched("reinstall", err)
	}
	before := a.target.Written()
	in, err := diskwriter.Reinstall(ctx, a.target.Files(), &diskwriter.ReinstallRequest{Image: order.Image, Version: order.Version})
	if err != nil {
		return a.since(before, "reinstall", err)
	}
	a.machine, a.noWindows = nil, true // what it knew is no more
	a.remember()
	a.say("reinstall: %s version %d, %s to fetch; until this is finished the machine starts nothing else, and goes on by itself when it is started again",
		order.Image, order.Version, progress.Bytes(plan.FetchBytes))
	if in.Offset() > 0 {
		a.say("reinstall: going on at %s of %s", progress.Bytes(in.Offset()), progress.Bytes(in.Size()))
	}
	if err := a.rewrite(ctx, src, plan, in); err != nil {
		return unfinished("reinstall", err)
	}
	if err := a.check(ctx, src, m, in, order); err != nil {
		return err
	}
	if err := a.putBootFiles(ctx, in, in.Size(), int(plan.SectorSize)); err != nil {
		if a.boot != nil { // the ESP of a disk that was just made is empty
			return unfinished("boot files", err)
		}
		a.say("boot files: %v; what is on the ESP stays", err)
	}
	if err := in.Finish(ctx); err != nil {
		return unfinished("reinstall", err)
	}
	a.deploys, a.noWindows = true, false
	a.say("reinstall: %s version %d is on the disk", order.Image, order.Version)
	return unfinished("reinstall", a.reopen())
}

// fits holds the plan against the parent that is there.
func (a *agent) fits(plan *image.Plan) error {
	b, err := diskwriter.ReadBase(a.target.Files().Base)
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

// rewrite writes the plan piece by piece, noting after each how far it is.
func (a *agent) rewrite(ctx context.Context, src image.Source, plan *image.Plan, in *diskwriter.Reinstaller) error {
	left := int64(0)
	for _, r := range plan.Runs() {
		left += max(0, r.Offset+r.Length-max(r.Offset, in.Offset()))
	}
	meter := a.newGauge("reinstall", left)
	defer meter.Done()
	v := &planVersion{a: a, plan: plan, src: src}
	return a.phase("fetch", func() int64 { return v.fetched }, func() error {
		return a.target.Fill(ctx, in, v, &target.FillOptions{Progress: meter})
	})
}

// check compares the whole parent with its version before anything boots from it, and repairs once what differs.
func (a *agent) check(ctx context.Context, src image.Source, m *image.Map, in *diskwriter.Reinstaller, order *protocol.Order) error {
	bad, err := a.compare(ctx, m, in)
	if err != nil || len(bad) == 0 {
		return unfinished("reinstall", err)
	}
	a.say("reinstall: %d regions did not read back right, writing them again", len(bad))
	plan, err := image.LoadHeal(ctx, src, order.Image, order.Version, bad)
	if err == nil {
		err = a.fetch(ctx, plan, src, in, &image.FetchOptions{})
	}
	if err == nil {
		bad, err = a.compare(ctx, m, in)
	}
	if err == nil && len(bad) > 0 {
		err = fmt.Errorf("%w: %d regions differ from %s version %d", diskwriter.ErrVerify, len(bad), order.Image, order.Version)
		return &stopError{"reinstall", exitCheck, err}
	}
	return unfinished("reinstall", err)
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
