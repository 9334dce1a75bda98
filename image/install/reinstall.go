package install

import (
	"context"
	"fmt"

	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/internal/progress"
)

// Reinstall writes the version over the parent of a machine whose files are open, reads all of it
// back, and lets the machine boot it. Until it is finished the machine starts nothing; one that was
// cut off is done by the next. fill and read, which may be nil, are told the bytes written and read
// back. Errors: pcdisk.ErrOtherSize (nothing was written), those of machine.Reinstall and of Into.
func (v *Version) Reinstall(ctx context.Context, t *pcdisk.Target, fill, read progress.Adder) error {
	base, err := machine.ReadBase(t.Files().Base) // one with a log to replay is for machine.Reinstall to judge
	if err == nil && base.VirtualSize != v.Size() {
		return fmt.Errorf("%w: it has %d bytes, the files were made for %d; prepare the disk again", pcdisk.ErrOtherSize, v.Size(), base.VirtualSize)
	}
	r, err := machine.Reinstall(ctx, t.Files(), &machine.ReinstallRequest{Image: v.plan.Image, Version: v.plan.Want})
	if err != nil {
		return err
	}
	if err := v.Into(ctx, t, r, fill, read); err != nil {
		return err
	}
	return r.Finish(ctx)
}
