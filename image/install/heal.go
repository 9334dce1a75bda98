package install

import (
	"context"
	"errors"
	"fmt"

	"troy/diskwriter/machine"
	"troy/image"
	"troy/internal/progress"
)

// ErrUnlabelled: the journal does not say which version the parent held, so what to heal it
// to is unknown. Nothing was written.
var ErrUnlabelled = errors.New("the version in the parent is not recorded: reinstall")

// Heal brings the parent of a machine back that was opened read-write elsewhere: it is compared
// with its version, repaired from the source, and then named again. read is told the bytes
// compared. Errors: those of machine.OpenForHeal, ErrUnlabelled, those of Open and Repair;
// *machine.StepError.
func Heal(ctx context.Context, f machine.Files, src image.Source, o *Options, read progress.Adder) (wrong int, err error) {
	h, err := machine.OpenForHeal(f)
	if err != nil {
		return 0, err
	}
	l, known := h.Label()
	if !known || l.Version == 0 {
		return 0, ErrUnlabelled
	}
	v, err := Open(ctx, src, l.Image, l.Version, o)
	if err != nil {
		return 0, err
	}
	if v.Size() != h.Size() {
		return 0, fmt.Errorf("%w: %s version %d has %d bytes, the parent %d", image.ErrInvalid, l.Image, l.Version, v.Size(), h.Size())
	}
	if wrong, err = v.Repair(ctx, h, read); err != nil {
		return wrong, err
	}
	return wrong, h.Finish(ctx)
}
