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

// ErrForeign: the store gives the number of the machine's version to another content, so there is
// nothing to repair it from. Nothing was written.
var ErrForeign = errors.New("the disk holds another version of that number than this store has")

// Heal brings the parent of a machine back that was opened read-write elsewhere: it is compared
// with its version, repaired from the source, and then named again. read is told the bytes
// compared. Errors: those of machine.OpenForHeal, ErrUnlabelled, ErrForeign, those of Open and Repair;
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
	v, err := openHeld(ctx, src, l, o)
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

// openHeld opens the version that a machine holds, if the store has it. One without a manifest is
// taken by its number.
func openHeld(ctx context.Context, src image.Source, l machine.Label, o *Options) (*Version, error) {
	v, err := Open(ctx, src, l.Image, l.Version, o)
	if err == nil && l.Manifest != "" && l.Manifest != v.Manifest() {
		err = fmt.Errorf("%w: %s version %d with the manifest %.12s…, not %.12s…", ErrForeign, l.Image, l.Version, l.Manifest, v.Manifest())
	}
	return v, err
}

// Mend compares the version that a machine boots with what was published under its name, and repairs
// it in place from the source. read is told the bytes compared. Errors: ErrUnlabelled, ErrForeign, those of
// machine.Mender, Open and Repair; *machine.StepError.
func Mend(ctx context.Context, m *machine.Machine, src image.Source, o *Options, read progress.Adder) (wrong int, err error) {
	s := m.State()
	if s.Version == 0 {
		return 0, ErrUnlabelled
	}
	d, err := m.Mender()
	if err != nil {
		return 0, err
	}
	v, err := openHeld(ctx, src, machine.Label{Image: s.Image, Version: s.Version, Manifest: s.Manifest}, o)
	if err != nil {
		return 0, err
	}
	if v.Size() != d.Size() {
		return 0, fmt.Errorf("%w: %s version %d has %d bytes, the disk %d", image.ErrInvalid, s.Image, s.Version, v.Size(), d.Size())
	}
	if wrong, err = v.Repair(ctx, d, read); err != nil {
		return wrong, err
	}
	return wrong, d.Finish(ctx)
}
