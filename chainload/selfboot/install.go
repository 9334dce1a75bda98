package selfboot

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"troy/chainload"
	"troy/chainload/efiboot"
	"troy/chainload/esp"
	"troy/chainload/release"
	"troy/internal/errline"
)

// Result says what Install did.
type Result struct {
	Copy         Copy   // that is started first now
	Entry        uint16 // its boot entry
	Written      bool   // files were written; else the copy was whole already
	EntryCreated bool
	OrderChanged bool
}

// Install puts a release on the ESP and makes it the first that the firmware
// starts. It is for an agent that was started from a stick or by network; an
// installed agent replaces itself by Update. A copy that holds the release
// already is kept as it is, so Install may be called at every such start. The
// copy that is first in BootOrder is never written to.
//
// The error wraps efiboot.ErrNotEFI, ErrOptions, ErrRelease, ErrSource, ErrFull
// (nothing was changed by these), chainload.ErrESP, or chainload.ErrFirmware:
// then the files lie there, and the firmware does not start them.
func Install(ctx context.Context, o *Options, r *Release) (*Result, error) {
	vars, err := o.open()
	if err != nil {
		return nil, err
	}
	res := &Result{}
	if res.Copy, res.Written, err = o.put(ctx, vars, r, installInto); err != nil {
		return nil, err
	}
	res.Entry, res.EntryCreated, err = o.ensureEntry(vars, res.Copy)
	if err == nil {
		res.OrderChanged, err = efiboot.PutFirst(vars, res.Entry)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: copy %s is on the ESP, but the firmware does not start it: %w", chainload.ErrFirmware, res.Copy, err)
	}
	return res, nil
}

// installInto chooses the copy that Install may write: not the one that the
// firmware starts first or that runs, whether it looks whole or not.
func installInto(s *Status) (Copy, error) {
	switch {
	case s.First != "":
		return s.First.other(), nil
	case s.Running != "":
		return s.Running.other(), nil
	case s.Copies[A].Problem == nil && s.Copies[B].Problem != nil:
		return B, nil
	}
	return A, nil
}

// put sees to it that a copy holds the release: one that does already, or the
// one that choose names.
func (o *Options) put(ctx context.Context, vars efiboot.Variables, r *Release, choose func(*Status) (Copy, error)) (c Copy, written bool, err error) {
	v, err := esp.Open(o.ESPDevice, o.ESPDir)
	if err != nil {
		return "", false, err
	}
	defer func() { err = errline.Join(err, v.Close()) }()
	s, err := o.inspect(ctx, vars, v)
	if err != nil {
		return "", false, err
	}
	target, err := choose(s)
	if err != nil {
		return "", false, err
	}
	for _, c := range []Copy{target.other(), target} {
		if same, err := s.holds(c, r); err != nil || same {
			return c, false, err
		}
	}
	if err := r.checkGRUB(); err != nil {
		return "", false, err
	}
	files, m, err := r.forCopy(target)
	if err != nil {
		return "", false, err
	}
	if err := writeCopy(ctx, v, target, files, m); err != nil {
		return "", false, fmt.Errorf("%w: copy %s of the agent: %w", chainload.ErrESP, target, err)
	}
	return target, true, nil
}

// holds tells whether a copy is whole and is the release.
func (s *Status) holds(c Copy, r *Release) (bool, error) {
	_, m, err := r.forCopy(c)
	if err != nil {
		return false, err
	}
	data, err := m.marshal()
	state := s.Copies[c]
	return state.Problem == nil && bytes.Equal(state.manifest, data), err
}

// ensureEntry finds or makes the boot entry of a copy.
func (o *Options) ensureEntry(vars efiboot.Variables, c Copy) (uint16, bool, error) {
	description := esp.AgentLabel
	if c == B {
		description = esp.AgentLabelB
	}
	n, created, err := efiboot.EnsureEntry(vars, efiboot.Entry{
		Partition: efiboot.HardDrive(o.ESP), Path: c.path(release.Shim), Description: description,
	})
	if errors.Is(err, efiboot.ErrOrder) {
		err = nil // a caller that needs it there tries again
	}
	return n, created, err
}
