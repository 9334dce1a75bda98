package main

import (
	"context"
	"fmt"

	"troy/cmds/internal/progress"
	"troy/diskwriter"
	"troy/image"
	"troy/netfetch"
	"troy/server/protocol"
)

// obey carries out the order.
func (a *agent) obey(ctx context.Context, order *protocol.Order) error {
	if order.Action == protocol.ActionNone {
		a.say("nothing to do%s", reason(order))
		return a.mergeNow(ctx, order)
	}
	s := a.machine.State()
	if s.Image == order.Image && s.Version == order.Version {
		a.say("%s version %d is on the disk already", s.Image, s.Version)
		return a.mergeNow(ctx, order)
	}
	if s.Image != order.Image || s.Version == 0 {
		return untouched("plan", fmt.Errorf("the disk holds %q version %d, the order is %q version %d: that needs a new installation",
			s.Image, s.Version, order.Image, order.Version))
	}
	if s.StagedImage == order.Image && s.Staged == order.Version {
		a.say("version %d was staged by an earlier start", s.Staged)
		return a.commit(ctx, order)
	}
	if !s.SlotFree {
		return untouched("plan", fmt.Errorf("%w: versions wait for their merge", diskwriter.ErrNoSlot))
	}
	return a.deploy(ctx, order, s)
}

func reason(o *protocol.Order) string {
	if o.Reason == "" {
		return ""
	}
	return ": " + o.Reason
}

// deploy brings the machine from what it shows to what is ordered.
func (a *agent) deploy(ctx context.Context, order *protocol.Order, s diskwriter.State) error {
	src, err := a.server.Sub(order.Repo)
	if err != nil {
		return untouched("plan", err)
	}
	var plan *image.Plan
	err = a.phase("plan", nil, func() (err error) {
		plan, err = image.LoadPlan(ctx, src, order.Image, s.Version, order.Version)
		return err
	})
	if err != nil {
		return untouched("plan", err)
	}
	a.say("%s version %d → %d: %s to fetch, %s to write", order.Image, s.Version, order.Version,
		progress.Bytes(plan.FetchBytes), progress.Bytes(plan.WriteBytes))
	if err := a.stage(ctx, order, plan, src); err != nil {
		return err
	}
	return a.commit(ctx, order)
}

// commit makes the staged version the one that boots, and merges it if the policy says so.
func (a *agent) commit(ctx context.Context, order *protocol.Order) error {
	if err := a.phase("commit", nil, func() error { return a.machine.Commit(ctx) }); err != nil {
		return unfinished("commit", err)
	}
	a.say("version %d is committed", order.Version)
	a.deploys = true
	a.noteWrites("before-boot")
	return a.mergeNow(ctx, order)
}

// mergeNow merges what waits in the slots if the policy is now; an earlier start may have been cut off after its commit.
func (a *agent) mergeNow(ctx context.Context, order *protocol.Order) error {
	if order.Merge != protocol.MergeNow || a.machine.State().Layers == 0 {
		return nil
	}
	defer a.noteWrites("written")
	return a.merge(ctx, &diskwriter.MergeOptions{Policy: diskwriter.Now})
}

// stage fetches the plan's pages into the inactive slot.
func (a *agent) stage(ctx context.Context, order *protocol.Order, plan *image.Plan, src *netfetch.HTTP) error {
	before := a.target.Written()
	stager, err := a.machine.Stage(ctx, &diskwriter.StageRequest{Image: order.Image, Version: order.Version, Runs: stageRuns(plan)})
	if err != nil && a.target.Written() == before {
		return untouched("stage", err)
	}
	if err != nil {
		return unfinished("stage", err)
	}
	meter := progress.New(a.out, "deploy: fetch", plan.FetchBytes)
	var stats image.Stats
	err = a.phase("fetch", func() int64 { return stats.FetchedBytes }, func() (err error) {
		stats, err = plan.Fetch(ctx, src, stager, &image.FetchOptions{Workers: a.o.workers, Progress: meter, SkipZeros: true})
		meter.Done()
		return err
	})
	if err != nil {
		return unfinished("fetch", err)
	}
	return a.phase("stage", func() int64 { return plan.WriteBytes }, func() error { return unfinished("stage", stager.Finish(ctx)) })
}

// stageRuns says it in the words of diskwriter.
func stageRuns(plan *image.Plan) []diskwriter.Run {
	var runs []diskwriter.Run
	for _, r := range plan.Runs() {
		runs = append(runs, diskwriter.Run{Offset: r.Offset, Length: r.Length, Zero: r.Zero})
	}
	return runs
}
