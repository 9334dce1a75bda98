package diskwriter

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Policy says when a merge may begin.
type Policy int

// The policies. Lazy waits until the version was seen healthy, so that Rollback stays possible that long; Now does not.
const (
	Lazy Policy = iota
	Now
)

// MergeOptions are for Merge. A merge that has begun goes on whatever Policy and Healthy say.
type MergeOptions struct {
	Policy     Policy
	Healthy    bool     // for Lazy: the caller has seen the version healthy
	MaxBytes   int64    // stop after the slice that reaches this many bytes; 0: go on to the end
	SliceBytes int64    // flush and note the progress after so many bytes; 0: 256 MiB
	Depth      int      // copies in flight; 0: 16
	Progress   Progress // of the bytes written to the parent; may be nil
}

const (
	defaultSlice = 256 * mib
	defaultDepth = 16
)

// Merge copies what the slots hold into the parent: payload alone, ascending, in slices, each flushed before the journal's
// cursor moves. Every sector written is masked by a slot above, so the machine boots the same version at every instant, and
// Merge may stop and run again anywhere. The parent's metadata and DataWriteGuid are not touched. With two slots in the chain
// both are merged in one pass, the upper one's sectors winning. done tells whether Relink is next (or nothing is to be merged).
//
// Errors: ErrNotHealthy, ErrChain if the parent is not FULLY_PRESENT where it is to be written (nothing was written), *StepError.
func (m *Machine) Merge(ctx context.Context, o *MergeOptions) (done bool, err error) {
	if err := m.ready("merge"); err != nil {
		return false, err
	}
	if o == nil {
		o = &MergeOptions{}
	}
	if m.chain[0] == m.base {
		return true, nil
	}
	if r := m.merge(); r == nil && o.Policy == Lazy && !o.Healthy {
		return false, ErrNotHealthy
	} else if r != nil && r.Done {
		return true, nil
	}
	var g *merger
	if err := m.step("merge", "look at what is to be copied", func() (err error) { g, err = m.newMerger(o); return err }); err != nil {
		return false, err
	}
	return g.run(ctx)
}

// merger copies slices.
type merger struct {
	m        *Machine
	o        MergeOptions
	plan     *mergePlan
	buffers  sync.Pool
	progress int64 // bytes since Merge was called
}

func (m *Machine) newMerger(o *MergeOptions) (*merger, error) {
	g := &merger{m: m, o: *o}
	if g.o.SliceBytes <= 0 {
		g.o.SliceBytes = defaultSlice
	}
	if g.o.Depth <= 0 {
		g.o.Depth = defaultDepth
	}
	g.buffers.New = func() any { return alignedBuffer(maxCopy) }
	var err error
	if g.plan, err = m.planMerge(); err != nil {
		return nil, err
	}
	return g, nil
}

func (g *merger) run(ctx context.Context) (bool, error) {
	cursor, err := g.begin()
	if err != nil {
		return false, err
	}
	for done := false; !done; {
		var jobs []copyJob
		var next int64
		plan := func() (err error) { jobs, next, err = g.plan.slice(cursor, g.o.SliceBytes); return err }
		if err := g.m.step("merge", "plan a slice", plan); err != nil {
			return false, err
		}
		done = next == g.plan.virtual
		if err := g.slice(ctx, jobs, next, done); err != nil {
			return false, err
		}
		cursor = next
		if g.o.MaxBytes > 0 && g.progress >= g.o.MaxBytes && !done {
			return false, nil
		}
	}
	return true, nil
}

// begin notes that base is about to become a mixture, before it does: no rollback from here on.
func (g *merger) begin() (int64, error) {
	if r := g.m.merge(); r != nil {
		return r.Cursor, nil
	}
	top := g.m.chain[0]
	label, _ := g.m.rec.label(top.guid())
	label.GUID = top.guid()
	save := func() error {
		return g.m.saveRecord(func(r *machineRecord) { r.Merge = &mergeRecord{Top: label, Base: g.m.base.guid()} })
	}
	return 0, g.m.step("merge", "record the beginning", func() error {
		if err := save(); err != nil {
			return err
		}
		return save() // in both slots: the record before must not come back, which would allow a rollback
	})
}

// slice copies, flushes, and only then moves the cursor. A cancelled context ends it between two copies; the cursor stays.
func (g *merger) slice(ctx context.Context, jobs []copyJob, next int64, done bool) error {
	err := g.copyAll(ctx, jobs)
	if err != nil && errors.Is(err, ctx.Err()) {
		return err
	}
	if err := g.m.step("merge", "copy a slice", func() error { return err }); err != nil {
		return err
	}
	if err := g.m.step("merge", "flush a slice", g.m.base.Sync); err != nil {
		return err
	}
	return g.m.step("merge", "record the progress", func() error {
		return g.m.saveRecord(func(r *machineRecord) { r.Merge.Cursor, r.Merge.Done = next, done })
	})
}

// copyAll keeps Depth copies in flight and returns the first error after all have ended.
func (g *merger) copyAll(ctx context.Context, jobs []copyJob) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan copyJob)
	var workers sync.WaitGroup
	for range min(g.o.Depth, len(jobs)) {
		workers.Go(func() {
			for j := range queue {
				if err := g.copy(j); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, j := range jobs {
		if ctx.Err() != nil {
			break
		}
		queue <- j
		g.progress += j.length
	}
	close(queue)
	workers.Wait()
	return context.Cause(ctx)
}

func (g *merger) copy(j copyJob) error {
	buf := g.buffers.Get().([]byte)
	defer g.buffers.Put(buf)
	p := buf[:j.length]
	if j.from == nil {
		clear(p)
	} else if err := readFull(j.from.File, p, j.src); err != nil {
		return fmt.Errorf("%s at %d: %w", j.from.name, j.src, err)
	}
	if err := writeFull(g.m.base.File, p, j.dst); err != nil {
		return fmt.Errorf("%s at %d: %w", BaseName, j.dst, err)
	}
	report(g.o.Progress, j.length)
	return nil
}

// Relink makes the boot child name the parent after Merge: its session lives on, for both show the same. Then the slots are
// poisoned and free. Without anything merged it does nothing. Errors: ErrNotMerged, ErrChain, *StepError.
func (m *Machine) Relink(ctx context.Context) error {
	if err := m.ready("relink"); err != nil {
		return err
	}
	if m.chain[0] != m.base {
		if r := m.merge(); r == nil || !r.Done {
			return ErrNotMerged
		}
		if err := m.change(ctx, &change{op: "relink", parent: m.base}); err != nil {
			return err
		}
	}
	return m.finishMerge("relink")
}

// relinked tells that Relink was cut off after its commit: the slots are merged, and look staged. With two of them, committing
// the lower one would lay an old version's sectors over a newer parent.
func (m *Machine) relinked() bool {
	r := m.rec.Merge
	return r != nil && r.Done && m.chain[0] == m.base && r.Base == m.base.guid()
}

// finishMerge labels base with what it holds now, forgets the slots' labels in the same record, and frees the slots.
func (m *Machine) finishMerge(op string) error {
	if !m.relinked() {
		return nil
	}
	label := func() error {
		return m.saveRecord(func(r *machineRecord) {
			r.Base = Label{GUID: m.base.guid(), Image: r.Merge.Top.Image, Version: r.Merge.Top.Version}
			r.Merge = nil
			r.keepLayers(m.byGUIDInChain)
		})
	}
	if err := m.step(op, "label the parent", label); err != nil {
		return err
	}
	return m.poisonUnused(op)
}

// Recover finishes what an earlier run was cut off in: the log of the boot child is carried out (also one that Windows
// left), and merged slots are freed. The agent calls it before it hands the machine to Windows. On a machine at rest it writes nothing.
func (m *Machine) Recover(ctx context.Context) error {
	if err := m.ready("recover"); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return m.step("recover", "replay the log", m.replayBootLog)
}
