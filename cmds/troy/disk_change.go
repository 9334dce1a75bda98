package main

import (
	"context"
	"fmt"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/internal/progress"
)

// jsonDiskChange is what "disk merge", "disk rollback" and "disk reset" print.
type jsonDiskChange struct {
	Device  string         `json:"device"`
	Written int64          `json:"written"` // bytes
	State   *jsonDiskState `json:"state"`   // afterwards
}

func runDiskMerge(ctx context.Context, c *call) error {
	return changeDisk(ctx, c, "merged", func(v *vhdxCall, m *machine.Machine) error {
		meter := progress.New(v.stderr, "merging", 0)
		done, err := m.Merge(ctx, &machine.MergeOptions{Policy: machine.Now, Progress: meter})
		meter.Done()
		if err == nil && done {
			err = m.Relink(ctx)
		}
		return err
	})
}

func runDiskRollback(ctx context.Context, c *call) error {
	return changeDisk(ctx, c, "rolled back", func(_ *vhdxCall, m *machine.Machine) error { return m.Rollback(ctx) })
}

func runDiskReset(ctx context.Context, c *call) error {
	return changeDisk(ctx, c, "reset", func(_ *vhdxCall, m *machine.Machine) error { return m.Reset(ctx) })
}

// changeDisk opens the machine, finishes what was cut off, and does one thing.
func changeDisk(ctx context.Context, c *call, done string, change func(*vhdxCall, *machine.Machine) error) error {
	v := newVHDXCall(c)
	args, err := v.parse(v.fs, 1, 1)
	if err != nil {
		return err
	}
	t, m, err := openMachine(v, args[0], &blockdev.Options{Exclusive: true})
	if err != nil {
		return explainDisk(err, fateOf(nil))
	}
	defer t.Close()
	if err := recoverAnd(ctx, v, t, m, change); err != nil {
		return explainDisk(fmt.Errorf("%s: %w", args[0], err), fateOf(t))
	}
	res := &jsonDiskChange{Device: args[0], Written: t.Written(), State: newJSONState(m.State())}
	if v.json {
		return v.printJSON(res)
	}
	fmt.Fprintf(v.stdout, "%s: %s %s (%s written)\n", done, clean(args[0]), res.State, progress.Bytes(res.Written))
	return nil
}

func recoverAnd(ctx context.Context, v *vhdxCall, t *pcdisk.Target, m *machine.Machine, change func(*vhdxCall, *machine.Machine) error) error {
	if err := m.Recover(ctx); err != nil {
		return err
	}
	if err := t.Record(); err != nil {
		return err
	}
	return change(v, m)
}
