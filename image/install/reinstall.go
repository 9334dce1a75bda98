package install

import (
	"context"

	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/internal/progress"
)

// Reinstall writes the version over the parent of a machine whose files are open, reads all of it
// back, and lets the machine boot it. Until it is finished the machine starts nothing; one that was
// cut off is done by the next. fill and read, which may be nil, are told the bytes written and read
// back. Errors: those of machine.Reinstall and of Into.
func (v *Version) Reinstall(ctx context.Context, t *pcdisk.Target, fill, read progress.Adder) error {
	r, err := machine.Reinstall(ctx, t.Files(), v.Order())
	if err != nil {
		return err
	}
	if err := v.Into(ctx, t, r, fill, read); err != nil {
		return err
	}
	return r.Finish(ctx)
}

// Order is what machine.Reinstall is told of the version.
func (v *Version) Order() *machine.ReinstallRequest {
	return &machine.ReinstallRequest{Image: v.plan.Image, Version: v.plan.Want, Manifest: v.Manifest(), VirtualSize: v.plan.VirtualSize, LogicalSectorSize: v.plan.SectorSize}
}
