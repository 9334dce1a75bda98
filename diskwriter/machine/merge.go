package machine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"troy/internal/block"
	"troy/internal/progress"
	"troy/vhdx"
)

// Policy says when a merge may begin.
type Policy int

// The policies. Lazy waits until the version was seen healthy, so that Rollback stays possible that
// long; Now does not.
const (
	Lazy Policy = iota
	Now
)

// MergeOptions are for Merge. A merge that has begun goes on whatever Policy and Healthy say.
type MergeOptions struct {
	Policy     Policy
	Healthy    bool           // for Lazy: the caller has seen the version healthy
	MaxBytes   int64          // stop after the slice that reaches this many bytes; 0: go on to the end
	sliceBytes int64          // flush and note the progress after so many bytes; 0: 256 MiB
	depth      int            // copies in flight; 0: 16
	Progress   progress.Adder // of the bytes written to the parent; may be nil
}

const (
	defaultSlice = 256 * mib
	defaultDepth = 16
)

// Merge copies what the slots hold into the parent: payload alone, ascending, in slices, each
// flushed before the journal's cursor moves. Every sector written is masked by a slot above, so the
// machine boots the same version at every instant, and Merge may stop and run again anywhere. The
// parent's metadata and DataWriteGuid are not touched. With two slots in the chain both are merged
// in one pass, the upper one's sectors winning. done tells whether Relink is next (or nothing is to
// be merged).
//
// Errors: ErrNotHealthy, ErrChain if the parent is not FULLY_PRESENT where it is to be written
// (nothing was written), *StepError.
func (m *Machine) Merge(ctx context.Context, o *MergeOptions) (done bool, err error) {
	if err := m.ready(opMerge); err != nil {
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
	if err := m.step(opMerge, "look at what is to be copied", func() (err error) { g, err = m.newMerger(o); return err }); err != nil {
		return false, err
	}
	return g.run(ctx)
}

// merger copies slices.
type merger struct {
	m        *Machine
	o        MergeOptions
	plan     *mergePlan
	buffers  [][]byte // one for each copy in flight
	progress int64    // bytes since Merge was called
}

func (m *Machine) newMerger(o *MergeOptions) (*merger, error) {
	g := &merger{m: m, o: *o}
	if g.o.sliceBytes <= 0 {
		g.o.sliceBytes = defaultSlice
		if g.o.MaxBytes > 0 { // whole pages, at least one
			g.o.sliceBytes = max(pageSize, min(defaultSlice, g.o.MaxBytes/pageSize*pageSize))
		}
	}
	if g.o.depth <= 0 {
		g.o.depth = defaultDepth
	}
	var err error
	if g.plan, err = m.planMerge(); err != nil {
		return nil, err
	}
	return g, nil
}

// run plans a slice while the one before it is copied, so that the disk does not wait.
func (g *merger) run(ctx context.Context) (bool, error) {
	cursor, err := g.begin()
	if err != nil {
		return false, err
	}
	for s := g.plan.slice(cursor, g.o.sliceBytes); ; {
		if err := g.m.step(opMerge, "plan a slice", func() error { return s.err }); err != nil {
			return false, err
		}
		g.progress += s.bytes
		done := s.next == g.plan.virtual
		last := done || g.o.MaxBytes > 0 && g.progress >= g.o.MaxBytes
		var ahead *mergeSlice
		var planning sync.WaitGroup
		if !last {
			planning.Go(func() { ahead = g.plan.slice(s.next, g.o.sliceBytes) })
		}
		err := g.slice(ctx, s, done)
		planning.Wait()
		if err != nil || last {
			return done && err == nil, err
		}
		s = ahead
	}
}

// begin notes that base is about to become a mixture, before it does: no rollback from here on.
func (g *merger) begin() (int64, error) {
	if r := g.m.merge(); r != nil {
		return r.Cursor, nil
	}
	top := g.m.chain[0]
	label, _ := g.m.rec.label(top.guid())
	label.GUID = top.guid()
	return 0, g.m.step(opMerge, "record the beginning", func() error {
		return g.m.saveRecord(func(r *machineRecord) { r.Merge = &mergeRecord{Top: label, Base: g.m.base.guid()} })
	})
}

// slice copies, flushes, and only then moves the cursor. A cancelled context ends it between two
// copies; the cursor stays.
func (g *merger) slice(ctx context.Context, s *mergeSlice, done bool) error {
	err := g.copyAll(ctx, s.jobs)
	if err != nil && errors.Is(err, ctx.Err()) {
		return err
	}
	if err := g.m.step(opMerge, "copy a slice", func() error { return err }); err != nil {
		return err
	}
	if err := g.m.step(opMerge, "flush a slice", g.m.base.Sync); err != nil {
		return err
	}
	return g.m.step(opMerge, "record the progress", func() error {
		return g.m.saveRecord(func(r *machineRecord) { r.Merge.Cursor, r.Merge.Done = s.next, done })
	})
}

// copyAll keeps Depth copies in flight and returns the first error after all have ended. A free
// worker takes the next job by itself: handing jobs out through a channel cost up to a quarter of
// the speed.
func (g *merger) copyAll(ctx context.Context, jobs []copyJob) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var taken atomic.Int64
	var workers sync.WaitGroup
	for i := range min(g.o.depth, len(jobs)) {
		if i == len(g.buffers) {
			g.buffers = append(g.buffers, block.Aligned(maxCopy))
		}
		buf := g.buffers[i]
		workers.Go(func() {
			for ctx.Err() == nil {
				k := int(taken.Add(1)) - 1
				if k >= len(jobs) {
					return
				}
				if err := g.copy(&jobs[k], buf); err != nil {
					cancel(err)
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

func (g *merger) copy(j *copyJob, buf []byte) error {
	p := buf[:j.length]
	if j.from == nil {
		clear(p)
	} else if err := block.ReadFull(j.from.File, p, j.src); err != nil {
		return fmt.Errorf("%s at %d: %w", j.from.name, j.src, err)
	}
	if err := writeFull(g.m.base.File, p, j.dst); err != nil {
		return fmt.Errorf("%s at %d: %w", BaseName, j.dst, err)
	}
	report(g.o.Progress, j.length)
	return nil
}

// Relink makes the boot child name the parent after Merge: its session lives on, for both show the
// same. Then the slots are poisoned and free. Without anything merged it does nothing. Errors:
// ErrNotMerged, ErrChain, *StepError.
func (m *Machine) Relink(ctx context.Context) error {
	if err := m.ready(opRelink); err != nil {
		return err
	}
	if m.chain[0] != m.base {
		if r := m.merge(); r == nil || !r.Done {
			return ErrNotMerged
		}
		if err := m.change(ctx, &change{op: opRelink, parent: m.base}); err != nil {
			return err
		}
	}
	return m.finishMerge(opRelink)
}

// relinked tells that Relink was cut off after its commit: the slots are merged, and look staged.
// With two of them, committing the lower one would lay an old version's sectors over a newer
// parent.
func (m *Machine) relinked() bool {
	r := m.rec.Merge
	return r != nil && r.Done && m.chain[0] == m.base && r.Base == m.base.guid()
}

// finishMerge labels base with what it holds now, forgets the slots' labels in the same record, and
// frees the slots.
func (m *Machine) finishMerge(op Op) error {
	if !m.relinked() {
		return nil
	}
	label := func() error {
		return m.saveRecord(func(r *machineRecord) {
			r.Base = r.Merge.Top
			r.Base.GUID = m.base.guid()
			r.Merge = nil
			r.keepLayers(m.byGUIDInChain)
		})
	}
	if err := m.step(op, "label the parent", label); err != nil {
		return err
	}
	return m.poisonUnused(op)
}

// Recover finishes what an earlier run was cut off in: the log of the boot child is carried out
// (also one that Windows left), and merged slots are freed. Of structures that stand twice it mends
// the copy that is damaged or cannot be read. The agent calls it before it hands the machine to
// Windows. On a machine at rest it writes nothing.
func (m *Machine) Recover(ctx context.Context) error {
	if err := m.ready(opRecover); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := m.step(opRecover, "replay the log", m.replayBootLog); err != nil {
		return err
	}
	if err := m.step(opRecover, "mend damaged copies", m.mendCopies); err != nil {
		return err
	}
	return m.settleSession(opRecover)
}

// mendCopies brings back what is damaged of the structures that stand twice in a file, before the
// next damage takes the last of them.
func (m *Machine) mendCopies() error {
	for _, d := range append([]*diskFile{m.boot}, m.chain...) {
		if _, err := vhdx.Mend(d.File); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	return nil
}
