package install

import (
	"context"
	"errors"
	"fmt"

	"troy/diskwriter/machine"
	"troy/image"
	"troy/internal/progress"
)

// ErrUnlabelled: the journal does not say which version the parent held, so nobody knows what to heal it to. Nothing was written.
var ErrUnlabelled = errors.New("nobody recorded which version the parent held: reinstall")

// HealResult says what Heal did.
type HealResult struct {
	Image   string
	Version int // that the parent shows again, with the slots above it where a merge had begun
	Wrong   int // regions of 1 MiB that had been changed
}

// Heal brings the parent of a machine back that was opened read-write elsewhere: it is compared with its version, repaired from the
// source, and then named again. read is told the bytes compared. Errors: those of machine.OpenForHeal, ErrUnlabelled, those of
// Open and Repair; *machine.StepError.
func Heal(ctx context.Context, f machine.Files, src image.Source, o *Options, read progress.Adder) (*HealResult, error) {
	h, err := machine.OpenForHeal(f, nil)
	if err != nil {
		return nil, err
	}
	l, known := h.Label()
	if !known || l.Version == 0 {
		return nil, ErrUnlabelled
	}
	v, err := Open(ctx, src, l.Image, l.Version, o)
	if err != nil {
		return nil, err
	}
	if v.Size() != h.Size() {
		return nil, fmt.Errorf("%w: %s version %d has %d bytes, the parent %d", image.ErrInvalid, l.Image, l.Version, v.Size(), h.Size())
	}
	res := &HealResult{Image: l.Image, Version: l.Version}
	if res.Wrong, err = v.Repair(ctx, h, read); err != nil {
		return res, err
	}
	return res, h.Finish(ctx)
}
