package selfboot

import (
	"context"
	"fmt"
	"slices"

	"troy/chainload"
	"troy/chainload/efiboot"
	"troy/chainload/esp"
	"troy/internal/errline"
)

// Own is the agent's own copy that the firmware is to start.
type Own struct {
	Copy    Copy
	Running bool    // this agent was started from it; else from a stick or the network
	Entry   *uint16 // its boot entry; nil: the firmware takes none
}

// Ensure finds the copy that the firmware is to start first: the one that runs, or for an agent
// from somewhere else the first in BootOrder that is whole. It sees to its boot entry, which
// firmware may have lost; BootOrder is left to the hand-off. nil: there is no copy.
//
// It is for an agent that is no trial. The error wraps efiboot.ErrNotEFI, ErrOptions,
// chainload.ErrESP, or chainload.ErrFirmware: then the copy is returned, without an entry.
func Ensure(ctx context.Context, o *Options) (own *Own, err error) {
	vars, err := o.open()
	if err != nil {
		return nil, err
	}
	v, err := esp.Open(o.ESPDevice, o.ESPDir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errline.Join(err, v.Close()) }()
	if own, err = o.own(ctx, vars, v); err != nil || own == nil {
		return nil, err
	}
	n, _, err := o.ensureEntry(vars, own.Copy)
	if err != nil {
		return own, fmt.Errorf("%w: copy %s has no boot entry: %w", chainload.ErrFirmware, own.Copy, err)
	}
	own.Entry = &n
	return own, nil
}

// own chooses the copy.
func (o *Options) own(ctx context.Context, vars efiboot.Variables, v *esp.Volume) (*Own, error) {
	if c, m, _, err := o.running(vars, v); err == nil && m != nil {
		return &Own{Copy: c, Running: true}, nil
	}
	s, err := o.inspect(ctx, vars, v)
	if err != nil {
		return nil, err
	}
	all, err := efiboot.Entries(vars)
	if err != nil {
		return nil, err
	}
	copies := []Copy{A, B}
	place := func(c Copy) int {
		i := slices.IndexFunc(all, func(f efiboot.Found) bool { return o.copyOf(f.Option) == c })
		if i < 0 {
			i = len(all)
		}
		return i
	}
	slices.SortStableFunc(copies, func(a, b Copy) int { return place(a) - place(b) })
	for _, c := range copies {
		if s.Copies[c].Problem == nil {
			return &Own{Copy: c}, nil
		}
	}
	return nil, nil
}
