package agent

import (
	"context"
	"errors"
	"io"
	"time"

	"troy/agent/coldplug"
	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/diskwriter/ntfs"
	"troy/diskwriter/pcdisk"
	"troy/internal/errline"
)

const (
	driversQuiet = 300 * time.Millisecond // no new device for so long: the buses are done
	diskPatience = 15 * time.Second       // a USB or NVMe disk may take its time
)

// loadDrivers loads what the machine's devices ask for.
func (a *agent) loadDrivers(ctx context.Context) error {
	plug, err := coldplug.New()
	if err != nil {
		return err
	}
	a.plug = plug
	return a.phase("drivers", nil, func() error {
		_, err := plug.Settle(ctx, driversQuiet)
		if merr := coldplug.MountEFIVars(); merr != nil && !errors.Is(merr, coldplug.ErrNoEFI) {
			err = errline.Join(err, merr)
		}
		return err
	})
}

// openDisk finds the disk and opens the machine. Nothing is written.
func (a *agent) openDisk(ctx context.Context) error {
	t, err := a.findDisk(ctx)
	if err != nil {
		return untouched("disk", err)
	}
	a.target = t
	err = a.reopen()
	if errors.Is(err, machine.ErrParentChanged) {
		a.parentChanged = err
	}
	return untouched("disk", err)
}

// reopen opens the machine on the disk that was found.
func (a *agent) reopen() error {
	m, note, err := a.target.Open()
	a.admitted = err == nil || errors.Is(err, machine.ErrParentChanged)
	if err != nil {
		a.machine = nil
		return err
	}
	if note != "" {
		a.say("disk: %s", note)
	}
	a.machine, a.parentChanged, a.noWindows = m, nil, m.State().Reinstalling
	a.say("disk: %s", describe(a.target.Device.Path(), m.State()))
	return nil
}

// reinstalling says whether the disk holds no version, because a reinstall is under way.
func (a *agent) reinstalling() bool { return a.machine != nil && a.machine.State().Reinstalling }

// journal is the machine's, nil when there is none that can be used.
func (a *agent) journal() *machine.Journal {
	if a.target == nil || !a.admitted {
		return nil
	}
	f := a.target.Files().Journal
	if f.Storage == nil {
		return nil
	}
	j, err := machine.OpenJournal(f)
	if err != nil {
		return nil
	}
	return j
}

// findDisk waits a little for disks that appear late.
func (a *agent) findDisk(ctx context.Context) (*pcdisk.Target, error) {
	deadline := time.Now().Add(diskPatience)
	for {
		paths, err := a.diskPaths()
		if err != nil {
			return nil, err
		}
		t, err := pcdisk.Find(paths)
		if err == nil || !errors.Is(err, pcdisk.ErrNone) || a.o.Running || time.Now().After(deadline) {
			return t, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
		if a.plug != nil { // a controller may have come up since
			if _, err := a.plug.Scan(ctx); err != nil {
				a.say("drivers: %v", err)
			}
		}
	}
}

func (a *agent) diskPaths() ([]string, error) {
	if a.o.Disk != "" {
		return []string{a.o.Disk}, nil
	}
	disks, err := blockdev.Disks()
	var paths []string
	for _, d := range disks {
		if !d.ReadOnly {
			paths = append(paths, d.Path)
		}
	}
	return paths, err
}

// resume finishes what an earlier start left: a cut-off step, a merge that was begun, or a lazy merge whose version was
// seen healthy since.
func (a *agent) resume(ctx context.Context) error {
	if err := unfinished("recover", a.machine.Recover(ctx)); err != nil {
		return err
	}
	if err := unfinished("record", a.target.Record()); err != nil {
		return err
	}
	s := a.machine.State()
	if s.Layers == 0 {
		return nil
	}
	healthy := s.Merging || s.Merged || a.healthy()
	if !healthy {
		a.say("version %d was not seen healthy yet, it stays in its slot", s.Version)
		return nil
	}
	a.proven = true
	return a.merge(ctx, &machine.MergeOptions{Policy: machine.Lazy, Healthy: true}, a.clock.Now().Add(mergePatience))
}

const (
	// mergePatience is how long a start merges before the server has said how much time there is: somebody may wait to use the machine.
	mergePatience = 30 * time.Second
	// mergeSlice is how many bytes are merged between two looks at the clock.
	mergeSlice = 256 << 20
)

// merge copies the slots into the parent and relinks. It stops at the given time: the rest is done at a later start.
func (a *agent) merge(ctx context.Context, o *machine.MergeOptions, until time.Time) error {
	meter := a.newGauge("merge", 0)
	defer meter.Done()
	o.Progress = meter
	if !until.IsZero() {
		o.MaxBytes = mergeSlice
	}
	return a.phase("merge", meter.Total, func() error {
		for done := false; !done; {
			if !until.IsZero() && !a.clock.Now().Before(until) {
				a.say("merge: the time is up, it goes on later")
				return nil
			}
			var err error
			if done, err = a.machine.Merge(ctx, o); err != nil {
				return unfinished("merge", err)
			}
		}
		return unfinished("merge", a.machine.Relink(ctx))
	})
}

// healthy says whether Windows has run in the boot child and dismounted its volumes in order since: the sign that a
// version works.
func (a *agent) healthy() bool {
	s := a.machine.State()
	if !s.SessionWritten || s.LogPending {
		return false
	}
	chain, err := pcdisk.Chain(a.target.Files())
	if err != nil {
		return false
	}
	table, err := blockdev.ReadTable(chain, chain.Size(), int(s.LogicalSectorSize))
	if err != nil {
		return false
	}
	clean := 0
	for _, e := range table.ByType(blockdev.TypeBasicData) {
		v, err := ntfs.Open(io.NewSectionReader(chain, e.Start, e.Size), e.Size)
		if err != nil {
			return false
		}
		info, err := v.Info()
		if err != nil || info.Dirty() || !v.Log().Clean() {
			return false
		}
		clean++
	}
	return clean > 0
}

// renewBootFiles brings the boot manager of the version that was just deployed to the ESP. It is no reason to stop: the
// one that is there has started Windows before.
func (a *agent) renewBootFiles(ctx context.Context) {
	if !a.deploys || a.boot != nil || a.machine == nil {
		return
	}
	chain, err := a.machine.Content()
	if err == nil {
		err = a.putBootFiles(ctx, chain, chain.Size(), int(a.machine.State().LogicalSectorSize))
	}
	if err != nil {
		a.say("boot files: %v; what is on the ESP stays", err)
	}
}
