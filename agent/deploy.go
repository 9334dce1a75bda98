package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"troy/diskwriter/machine"
	"troy/image"
	"troy/internal/errline"
	"troy/internal/progress"
	"troy/server/protocol"
)

// obey carries out the order.
func (a *agent) obey(ctx context.Context, order *protocol.Order) error {
	if a.parentChanged != nil {
		if err := a.heal(ctx, order); err != nil && order.Action != protocol.ActionReinstall {
			return err
		} else if err != nil {
			a.say("%v; it is written anew, as ordered", err)
		}
	}
	if a.reinstalling() {
		return a.finishReinstall(ctx, order)
	}
	switch order.Action {
	case protocol.ActionNone:
		a.say("nothing to do%s", reason(order))
		return a.settle(ctx, order)
	case protocol.ActionReinstall:
		return a.reinstall(ctx, order)
	case protocol.ActionProvision:
		return untouched("provision", errors.New("this machine has a disk of Troy already: order a reinstall"))
	}
	s := a.machine.State()
	if s.Image == order.Image && s.Version == order.Version {
		a.say("%s version %d is on the disk already", s.Image, s.Version)
		return a.settle(ctx, order)
	}
	if s.Image != order.Image || s.Version == 0 {
		return untouched("plan", fmt.Errorf("the disk holds %q version %d, the order is %q version %d: that needs a reinstall order",
			s.Image, s.Version, order.Image, order.Version))
	}
	if err := a.mayDeploy(order); err != nil {
		return err
	}
	if s.StagedImage == order.Image && s.Staged == order.Version {
		a.say("version %d was staged by an earlier start", s.Staged)
		return a.commit(ctx, order)
	}
	if late(order, a.clock.Now()) {
		return untouched("plan", fmt.Errorf("the window closed at %s", order.Until.Format(time.RFC3339)))
	}
	if previous(s) == order.Version {
		return a.rollback(ctx, order)
	}
	if !s.SlotFree {
		return untouched("plan", fmt.Errorf("%w: versions wait for their merge", machine.ErrNoSlot))
	}
	return a.deploy(ctx, order, s)
}

func reason(o *protocol.Order) string {
	if o.Reason == "" {
		return ""
	}
	return ": " + o.Reason
}

// late says whether the window of the order is over.
func late(o *protocol.Order, now time.Time) bool { return !o.Until.IsZero() && !now.Before(o.Until) }

// previous is the version that a rollback on the machine itself brings back, 0 if there is none that is known.
func previous(s machine.State) int {
	if s.Layers != 1 || s.Merging || s.Merged {
		return 0
	}
	return s.BaseVersion
}

// deploy brings the machine from what it shows to what is ordered.
func (a *agent) deploy(ctx context.Context, order *protocol.Order, s machine.State) error {
	src, err := a.openStore(ctx, order)
	if err != nil {
		return untouched("trust", err)
	}
	if err := src.Allow(ctx, order.Image, s.Version, order.Version); err != nil {
		return untouched("plan", err)
	}
	// Pages that the disk has elsewhere are taken from there; when one is not what it should be, all is fetched.
	err = a.deployFrom(ctx, order, src, image.LoadLocalPlan)
	if errors.Is(err, image.ErrLocal) {
		a.say("%v; fetching such pages, too", err)
		err = a.deployFrom(ctx, order, src, image.LoadPlan)
	}
	if err != nil {
		return err
	}
	return a.commit(ctx, order)
}

type loader func(ctx context.Context, src image.Source, name string, have, want int) (*image.Plan, error)

// deployFrom plans with the given loader and stages what it says.
func (a *agent) deployFrom(ctx context.Context, order *protocol.Order, src image.Source, load loader) error {
	s := a.machine.State()
	var plan *image.Plan
	err := a.phase("plan", nil, func() (err error) {
		plan, err = load(ctx, src, order.Image, s.Version, order.Version)
		return err
	})
	if err != nil {
		return untouched("plan", err)
	}
	moved := ""
	if plan.CopyBytes > 0 {
		moved = fmt.Sprintf(", %s of them from the disk itself", progress.Bytes(plan.CopyBytes))
	}
	a.say("%s version %d → %d: %s to fetch, %s to write%s", order.Image, s.Version, order.Version,
		progress.Bytes(plan.FetchBytes), progress.Bytes(plan.WriteBytes), moved)
	return a.stage(ctx, order, plan, src)
}

// rollback goes back to the version below the slot, which is whole on the disk.
func (a *agent) rollback(ctx context.Context, order *protocol.Order) error {
	src, err := a.openStore(ctx, order)
	if err != nil {
		return untouched("trust", err)
	}
	s := a.machine.State()
	if err := src.Allow(ctx, order.Image, s.Version, order.Version); err != nil {
		return untouched("rollback", err)
	}
	if err := a.phase("rollback", nil, func() error { return a.machine.Rollback(ctx) }); err != nil {
		return unfinished("rollback", err)
	}
	a.remember()
	a.say("version %d is back, it was still on the disk", order.Version)
	a.deploys = true
	return nil
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

// settle is what is left when the version is right: a merge that waits, a session to throw away.
func (a *agent) settle(ctx context.Context, order *protocol.Order) error {
	if err := a.mergeRest(ctx, order); err != nil {
		return err
	}
	if !order.Reset || !a.machine.State().SessionWritten {
		return nil
	}
	if err := a.phase("reset", nil, func() error { return a.machine.Reset(ctx) }); err != nil {
		return unfinished("reset", err)
	}
	a.say("the machine is reset to version %d", a.machine.State().Version)
	return nil
}

// mergeRest goes on with a merge that may be done, as long as the order allows.
func (a *agent) mergeRest(ctx context.Context, order *protocol.Order) error {
	if s := a.machine.State(); a.proven && s.Layers > 0 && order.Merge != protocol.MergeNow {
		return a.merge(ctx, &machine.MergeOptions{Policy: machine.Lazy, Healthy: true}, order.Until)
	}
	return a.mergeNow(ctx, order)
}

// mergeNow merges what waits in the slots if the policy is now; an earlier start may have been cut off after its commit.
func (a *agent) mergeNow(ctx context.Context, order *protocol.Order) error {
	if order.Merge != protocol.MergeNow || a.machine.State().Layers == 0 {
		return nil
	}
	defer a.noteWrites("written")
	return a.merge(ctx, &machine.MergeOptions{Policy: machine.Now}, order.Until)
}

// stage fetches the plan's pages into the inactive slot.
func (a *agent) stage(ctx context.Context, order *protocol.Order, plan *image.Plan, src image.Source) error {
	before := a.target.Written()
	// The manifest names the content: a download that was cut off goes on only if it is still that.
	manifest, err := image.LoadManifest(ctx, src, order.Image, order.Version)
	if err != nil {
		return untouched("plan", err)
	}
	stager, err := a.machine.Stage(ctx, &machine.StageRequest{Image: order.Image, Version: order.Version, Runs: stageRuns(plan),
		Identity: manifest.Map.SHA256.String()})
	if err != nil {
		return a.since(before, "stage", err)
	}
	if n := stager.Held(); n > 0 {
		a.say("stage: %s are here already from an earlier start", progress.Bytes(n))
	}
	a.remember()
	local, err := a.machine.Content()
	if err != nil {
		return unfinished("stage", err)
	}
	if err := a.fetch(ctx, plan, src, stager, &image.FetchOptions{SkipZeros: true, Local: local, Have: stager.Have}); err != nil {
		return unfinished("fetch", errline.Join(err, stager.Note()))
	}
	return a.phase("stage", func() int64 { return plan.WriteBytes }, func() error { return unfinished("stage", stager.Finish(ctx)) })
}

// fetch brings the plan's pages to sink.
func (a *agent) fetch(ctx context.Context, plan *image.Plan, src image.Source, sink io.WriterAt, o *image.FetchOptions) error {
	meter := a.newGauge("fetch", plan.FetchBytes)
	defer meter.Done()
	// One chunk a request: what a start that is cut off fetched of a chunk that was not whole is fetched again.
	o.Workers, o.Progress, o.RequestBytes = a.o.Workers, meter, 1
	var stats image.Stats
	return a.phase("fetch", func() int64 { return stats.FetchedBytes }, func() (err error) {
		stats, err = plan.Fetch(ctx, src, sink, o)
		return err
	})
}

// stageRuns says it in the words of diskwriter.
func stageRuns(plan *image.Plan) []machine.Run {
	var runs []machine.Run
	for _, r := range plan.Runs() {
		runs = append(runs, machine.Run{Offset: r.Offset, Length: r.Length, Zero: r.Zero})
	}
	return runs
}
