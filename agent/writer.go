package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"troy/agent/decide"
	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/image/install"
	"troy/internal/errline"
	"troy/internal/progress"
	"troy/server/protocol"
)

// writer does the steps that write to the machine's files.
type writer struct {
	o     *Options
	con   *console
	clock func() time.Time
	disk  *disk
	rec   *records
	store *store
	boot  *bootFiles
	names *naming
	meter *meters

	fetched int64 // by the last step
}

// said does something, and says so.
func (w *writer) said(do func(context.Context) error, format string, args ...any) func(context.Context) error {
	return func(ctx context.Context) error {
		err := do(ctx)
		if err == nil {
			w.con.say(format, args...)
			w.rec.remember()
		}
		return err
	}
}

// mergeSlice is how many bytes are merged between two looks at the clock.
const mergeSlice = 256 << 20

// merge copies the slots into the parent and relinks. It stops at the given time: the rest is done
// at a later start.
func (w *writer) merge(ctx context.Context, until time.Time) error {
	meter := w.meter.gauge("merge", 0)
	defer meter.Done()
	o := &machine.MergeOptions{Policy: machine.Now, Progress: meter}
	if !until.IsZero() {
		o.MaxBytes = mergeSlice
	}
	for done := false; !done; {
		if !until.IsZero() && !w.clock().Before(until) {
			w.con.say("merge: out of time, continuing at the next start")
			return nil
		}
		var err error
		if done, err = w.disk.machine.Merge(ctx, o); err != nil {
			return err
		}
	}
	return w.disk.machine.Relink(ctx)
}

// stage brings what changed into the free slot. Pages that the disk has elsewhere are taken from
// there; when one is not what it should be, the version on the disk is mended first: what did not
// change would stay wrong in the next one.
func (w *writer) stage(ctx context.Context) error {
	err := w.stagePlan(ctx, w.store.plan)
	if !errors.Is(err, image.ErrLocal) {
		return err
	}
	w.con.say("%v; comparing all of the version with what was published", err)
	if failed := w.mend(ctx); failed != nil {
		return fmt.Errorf("%w; it cannot be repaired: %w", err, failed)
	}
	return w.stagePlan(ctx, w.store.plan)
}

// mend repairs the version that the machine boots.
func (w *writer) mend(ctx context.Context) error {
	read := w.meter.gauge("compare", 0)
	defer read.Done()
	var fetched counter
	wrong, err := install.Mend(ctx, w.disk.machine, w.store.src, &install.Options{Workers: w.o.Workers, Progress: &fetched}, read)
	w.fetched += fetched.total()
	if err == nil {
		w.con.say("mend: %d regions of 1 MiB were repaired, %s fetched", wrong, progress.Bytes(fetched.total()))
	}
	return err
}

// stagePlan fetches the plan's pages into the free slot.
func (w *writer) stagePlan(ctx context.Context, plan *image.Plan) error {
	moved := ""
	if plan.CopyBytes > 0 {
		moved = fmt.Sprintf(", %s of them from the disk itself", progress.Bytes(plan.CopyBytes))
	}
	w.con.say("%s version %d → %d: %s to fetch, %s to write%s", plan.Image, plan.Have, plan.Want,
		progress.Bytes(plan.FetchBytes), progress.Bytes(plan.WriteBytes), moved)
	manifest, err := image.LoadManifest(ctx, w.store.src, plan.Image, plan.Want)
	if err != nil {
		return err
	}
	if err := w.rec.noteSetup(manifest); err != nil {
		return err
	}
	stager, err := w.disk.machine.Stage(ctx, &machine.StageRequest{Image: plan.Image, Version: plan.Want, Runs: stageRuns(plan),
		Manifest: manifest.SHA256.String()})
	if err != nil {
		return err
	}
	if n := stager.Held(); n > 0 {
		w.con.say("stage: %s are already on the disk from an earlier start", progress.Bytes(n))
	}
	w.rec.remember()
	local, err := w.disk.machine.Content()
	if err != nil {
		return err
	}
	if err := w.fetch(ctx, plan, stager, &image.FetchOptions{SkipZeros: true, Local: local, Have: stager.Have}); err != nil {
		return errline.Join(err, stager.Note())
	}
	return stager.Finish(ctx)
}

// fetch brings the plan's pages to sink.
func (w *writer) fetch(ctx context.Context, plan *image.Plan, sink io.WriterAt, o *image.FetchOptions) error {
	meter := w.meter.gauge("fetch", plan.FetchBytes)
	defer meter.Done()
	// One chunk a request: what a start that is cut off fetched of a chunk that was not whole is
	// fetched again.
	o.Workers, o.Progress, o.RequestBytes = w.o.Workers, meter, 1
	stats, err := plan.Fetch(ctx, w.store.src, sink, o)
	w.fetched += stats.FetchedBytes
	return err
}

// stageRuns says it in the words of diskwriter.
func stageRuns(plan *image.Plan) []machine.Run {
	var runs []machine.Run
	for _, r := range plan.Runs() {
		runs = append(runs, machine.Run{Offset: r.Offset, Length: r.Length, Zero: r.Zero})
	}
	return runs
}

// heal compares a parent that was changed elsewhere with its version, and repairs it.
func (w *writer) heal(ctx context.Context, order *protocol.Order) error {
	src, err := w.store.open(ctx, order)
	if err != nil {
		return err
	}
	w.con.say("heal: base.vhdx was opened read-write elsewhere, comparing it with its version")
	var fetched counter
	read := w.meter.gauge("compare", 0)
	wrong, err := install.Heal(ctx, w.disk.target.Files(), src, &install.Options{Workers: w.o.Workers, Progress: &fetched}, read)
	read.Done()
	w.fetched = fetched.total()
	if err != nil {
		return err
	}
	w.con.say("heal: %d regions of 1 MiB were repaired, %s fetched", wrong, progress.Bytes(w.fetched))
	return nil
}

// provision makes partitions, volume and files. A reinstall has begun on it then.
func (w *writer) provision(ctx context.Context) error {
	w.disk.close() // one that was made for a smaller disk
	w.disk.target, w.disk.machine = nil, nil
	t, _, err := pcdisk.ProvisionBare(ctx, w.store.path, w.store.bare)
	if err != nil {
		return err
	}
	w.disk.target = t
	if err := w.boot.stash(); err != nil {
		return fmt.Errorf("boot files: %w", err)
	}
	w.con.say("provision: partitions, volume and files are ready")
	return nil
}

// reinstall writes a version over the parent as a whole. From its first write to its last the
// machine starts nothing but this agent.
func (w *writer) reinstall(ctx context.Context, step decide.Step) error {
	v, fetched := w.store.version, w.store.fetched
	w.rec.noteHeld()
	if err := w.noteSetup(ctx, step.Image, step.Version); err != nil {
		return err
	}
	if err := w.rec.keep(); err != nil {
		return err
	}
	in, err := machine.Reinstall(ctx, w.disk.target.Files(), v.Order())
	if err != nil {
		return err
	}
	w.disk.machine = nil // what it knew is outdated
	w.rec.remember()
	w.con.say("reinstall: %s version %d, %s to fetch; until it is finished the machine starts nothing else; after a restart it continues by itself",
		step.Image, step.Version, progress.Bytes(v.Plan().FetchBytes))
	if in.Offset() > 0 {
		w.con.say("reinstall: continuing at %s of %s", progress.Bytes(in.Offset()), progress.Bytes(in.Size()))
	}
	err = w.rewrite(ctx, v, in)
	w.fetched = fetched.total()
	if err != nil {
		return err
	}
	if err := w.boot.put(ctx, decide.Name(step.Image, step.Version, v.Manifest()), in, in.Size(), int(v.Plan().SectorSize)); err != nil {
		return err
	}
	if err := w.names.wantIn(ctx, in, machine.Label{Image: step.Image, Version: step.Version, Manifest: v.Manifest()}); err != nil {
		return err
	}
	if err := in.Finish(ctx); err != nil {
		return err
	}
	w.con.say("reinstall: %s version %d is on the disk", step.Image, step.Version)
	return nil
}

// rewrite writes the version and reads all of it back.
func (w *writer) rewrite(ctx context.Context, v *install.Version, in *machine.Reinstaller) error {
	left := int64(0)
	for _, r := range v.Runs() {
		left += max(0, r.Offset+r.Length-max(r.Offset, in.Offset()))
	}
	fill, read := w.meter.gauge("reinstall", left), w.meter.gauge("compare", 0)
	defer read.Done()
	defer fill.Done()
	return v.Into(ctx, w.disk.target, in, fill, read)
}
