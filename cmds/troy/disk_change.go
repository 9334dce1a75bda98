package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/internal/cli"
	"troy/internal/progress"
)

// jsonDiskChange is what "disk merge", "disk rollback" and "disk reset" print.
type jsonDiskChange struct {
	Device  string         `json:"device"`
	Written int64          `json:"written"` // bytes
	State   *jsonDiskState `json:"state"`   // afterwards
}

// diskStep is what "disk merge", "disk rollback" or "disk reset" does to an opened machine.
type diskStep func(context.Context, *call, *machine.Machine) error

func diskMerge(ctx context.Context, c *call, m *machine.Machine) error {
	meter := progress.New(c.Err, "merging", 0)
	done, err := m.Merge(ctx, &machine.MergeOptions{Policy: machine.Now, Progress: meter})
	meter.Done()
	if err == nil && done {
		err = m.Relink(ctx)
	}
	return err
}

func diskRollback(ctx context.Context, _ *call, m *machine.Machine) error { return m.Rollback(ctx) }

func diskReset(ctx context.Context, _ *call, m *machine.Machine) error { return m.Reset(ctx) }

// newDiskChange makes a command that opens the machine, finishes what was cut off, and does one
// step.
func newDiskChange(s *cli.Streams, use, short, done string, step diskStep) *cobra.Command {
	c := newCall(s)
	return c.withJSON(leaf(use, short, func(ctx context.Context, args []string) error { return c.changeDisk(ctx, args, done, step) }))
}

func (v *call) changeDisk(ctx context.Context, args []string, done string, step diskStep) error {
	t, m, err := openMachine(v, args[0], &blockdev.Options{Exclusive: true})
	if err != nil {
		return explainDisk(err, fateOf(nil))
	}
	defer t.Close()
	if err := recoverAnd(ctx, v, t, m, step); err != nil {
		return explainDisk(fmt.Errorf("%s: %w", args[0], err), fateOf(t))
	}
	res := &jsonDiskChange{Device: args[0], Written: t.Written(), State: newJSONState(m.State())}
	if v.json {
		return v.JSON(res)
	}
	fmt.Fprintf(v.Out, "%s: %s %s (%s written)\n", done, cli.Clean(args[0]), res.State, progress.Bytes(res.Written))
	return nil
}

func recoverAnd(ctx context.Context, v *call, t *pcdisk.Target, m *machine.Machine, step diskStep) error {
	if err := m.Recover(ctx); err != nil {
		return err
	}
	if err := t.Record(); err != nil {
		return err
	}
	return step(ctx, v, m)
}
