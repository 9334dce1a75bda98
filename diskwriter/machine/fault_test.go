package machine

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"troy/internal/testing/crashdisk"
)

// faultyRuns lets every single call of an operation fail in every way, one after the other.
func (o *operation) faultyRuns(t *testing.T, what string) {
	t.Helper()
	ready := o.rig.disk.Fork()
	kinds := o.callKinds(t, ready.Fork())
	hits := make([]map[string]int, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for shard := range hits {
		hits[shard] = map[string]int{}
		wg.Go(func() {
			c := newChecker(ready, o.old, o.new)
			for n := 1 + shard; n <= len(kinds); n += len(hits) {
				o.faultsAt(t, what, c, n, kinds[n-1] == crashdisk.Read, hits[shard])
			}
		})
	}
	wg.Wait()
	sum := map[string]int{}
	for _, h := range hits {
		for name, n := range h {
			sum[name] += n
		}
	}
	t.Logf("%s: %d calls, failed: %v", what, len(kinds), sum)
	if sum["EIO"] != len(kinds) {
		t.Errorf("%s: not every call was hit", what)
	}
}

// faultsAt lets call n fail. Faults that would not touch that kind of call are left out.
func (o *operation) faultsAt(t *testing.T, what string, c *checker, n int, read bool, hits map[string]int) {
	for _, f := range []crashdisk.Fault{crashdisk.IOError, crashdisk.NoSpace, crashdisk.ShortWrite, crashdisk.SyncError} {
		for _, dead := range []bool{false, true} {
			if f != crashdisk.IOError && (dead || read) || dead && read && n%8 != 0 {
				continue
			}
			name := f.String()
			if dead {
				name += " for good"
			}
			hit, err := o.faultyRun(c, c.origin.Fork(), n, f, dead, read)
			if err != nil {
				t.Errorf("%s: call %d: %s: %v", what, n, name, err)
			}
			if hit {
				hits[name]++
			}
		}
	}
}

func (o *operation) callKinds(t *testing.T, d *crashdisk.Disk) (kinds []crashdisk.Kind) {
	t.Helper()
	d.SetHook(func(c crashdisk.Call) (int, error) {
		kinds = append(kinds, c.Kind)
		return 0, nil
	})
	must(t, o.openAndRun(d))
	return kinds
}

func (o *operation) openAndRun(d *crashdisk.Disk) error {
	m, err := Open(filesOf(d))
	if err != nil {
		return err
	}
	return o.run(m)
}

// faultyRun wants a clean error, a machine that boots the old or the new version, also after a
// power cut on top, and a next run that completes.
func (o *operation) faultyRun(c *checker, d *crashdisk.Disk, n int, f crashdisk.Fault, dead, read bool) (hit bool, err error) {
	hook, wasHit := crashdisk.FailAt(n, f, dead)
	d.SetHook(hook)
	m, opened := Open(filesOf(d))
	if err = opened; err == nil {
		err = o.run(m)
	}
	d.SetHook(nil)
	if !wasHit() {
		return false, err
	}
	if read && err == nil { // it was got over: by another try, or the other copy
		return true, o.complete(c, d, true)
	}
	if err := wantFault(f, err, opened != nil); err != nil {
		return true, err
	}
	if opened == nil && !payload(err) && !errors.Is(m.Reset(ctx), ErrReopen) {
		return true, errors.New("the machine can still be used after the error")
	}
	if seen, err := c.match(d); err != nil || seen == 0 {
		return true, fmt.Errorf("versions %b: %w", seen, err)
	}
	if read {
		return true, o.complete(c, d, o.look)
	}
	if _, err := o.crashOnce(c, d.Random(uint64(n)), uint64(n)); err != nil {
		return true, fmt.Errorf("with a power cut: %w", err)
	}
	return true, o.complete(c, d, true)
}

// payload tells a failed Stager.WriteAt, which may be tried again.
func payload(err error) bool {
	var step *StepError
	return errors.As(err, &step) && step.Step == "write payload"
}

// wantFault checks that an error says which step failed and why.
func wantFault(f crashdisk.Fault, err error, opening bool) error {
	want := error(syscall.EIO)
	switch f {
	case crashdisk.NoSpace:
		want = syscall.ENOSPC
	case crashdisk.ShortWrite:
		want = io.ErrShortWrite
	}
	var step *StepError
	switch {
	case err == nil:
		return errors.New("the error was swallowed")
	case !errors.Is(err, want):
		return fmt.Errorf("the cause was lost: %w", err)
	case !opening && !errors.As(err, &step):
		return fmt.Errorf("no step is named: %w", err)
	}
	return nil
}

func TestFaults(t *testing.T) {
	const seed = 100
	t.Logf("seed %d", seed)
	dirty := session{seed: seed, dirty: true, odd: true, locator: true}

	r := newRig(t, 8*mib, 512, 8*mib)
	u := r.randomUpdate(2, seed, 4)
	before := r.now
	stage := &operation{rig: r, old: r.now, new: r.now, run: u.stage, again: u.stage}
	stage.faultyRuns(t, "stage")

	must(t, u.stage(open(t, r.disk)))
	dirty.run(t, r)
	commit := &operation{rig: r, old: r.now, new: u.data, run: func(m *Machine) error { return m.Commit(ctx) }, again: commitAgain}
	commit.faultyRuns(t, "commit")

	must(t, open(t, r.disk).Commit(ctx))
	r.now = u.data
	rollback := &operation{rig: r, old: r.now, new: before, run: func(m *Machine) error { return m.Rollback(ctx) }, again: func(m *Machine) error {
		if m.State().Version == 2 {
			return m.Rollback(ctx)
		}
		return nil
	}}
	rollback.faultyRuns(t, "rollback")

	dirty.run(t, r)
	merge := &operation{rig: r, old: r.now, new: r.now, run: mergeAll, again: mergeAll}
	merge.faultyRuns(t, "merge")

	must(t, mergeAll(open(t, r.disk)))
	relink := func(m *Machine) error { return m.Relink(ctx) }
	(&operation{rig: r, old: r.now, new: r.now, run: relink, again: relink}).faultyRuns(t, "relink")
	must(t, open(t, r.disk).Relink(ctx))
	reset := func(m *Machine) error { return m.Reset(ctx) }
	(&operation{rig: r, old: r.now, new: u.data, run: reset, again: reset}).faultyRuns(t, "reset")
}
