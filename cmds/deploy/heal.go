package main

import (
	"context"
	"errors"
	"fmt"

	"troy/diskwriter"
	"troy/image"
	"troy/server/protocol"
)

// heal brings a parent back that somebody opened read-write elsewhere: it is compared with its version, what differs is
// fetched, and it gets its DataWriteGuid back. Windows cannot start from the disk before that.
func (a *agent) heal(ctx context.Context, order *protocol.Order) error {
	src, err := a.openStore(ctx, order)
	if err != nil {
		return untouched("heal", err)
	}
	h, err := diskwriter.OpenForHeal(a.target.Files(), nil)
	if err != nil {
		return untouched("heal", err)
	}
	label, known := h.Label()
	if !known {
		return untouched("heal", errors.New("nobody recorded which version the parent holds: order a reinstall"))
	}
	m, err := image.LoadMap(ctx, src, label.Image, label.Version)
	if err != nil {
		return untouched("heal", err)
	}
	if m.VirtualSize() != h.Size() {
		return untouched("heal", fmt.Errorf("%s version %d has %d bytes, the disk %d", label.Image, label.Version, m.VirtualSize(), h.Size()))
	}
	a.say("heal: base.vhdx was opened read-write elsewhere, comparing it with %s version %d", label.Image, label.Version)
	bad, err := a.compare(ctx, m, h)
	if err != nil {
		return untouched("heal", err)
	}
	if len(bad) > 0 {
		if err := a.repair(ctx, src, m, h, label, bad); err != nil {
			return err
		}
	}
	if err := a.phase("heal", nil, func() error { return h.Finish(ctx) }); err != nil {
		return unfinished("heal", err)
	}
	a.say("heal: %d of %d regions were repaired", len(bad), m.Regions())
	if err := a.reopen(); err != nil {
		return unfinished("heal", err)
	}
	return a.resume(ctx)
}

// parent is what both kinds of repair write to.
type parent interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
}

// compare returns the regions in which the disk differs from the version.
func (a *agent) compare(ctx context.Context, m *image.Map, disk parent) (bad []int64, err error) {
	meter := a.newGauge("compare", m.VirtualSize()-m.UndefinedBytes())
	defer meter.Done()
	err = a.phase("compare", meter.Total, func() (err error) {
		bad, err = m.Verify(ctx, disk, meter)
		return err
	})
	return bad, err
}

// repair fetches the bad regions and compares again, for the disk has the last word.
func (a *agent) repair(ctx context.Context, src image.Source, m *image.Map, h *diskwriter.Healer, label diskwriter.Label, bad []int64) error {
	plan, err := image.LoadHeal(ctx, src, label.Image, label.Version, bad)
	if err != nil {
		return untouched("heal", err)
	}
	before := a.target.Written()
	if err := a.fetch(ctx, plan, src, h, &image.FetchOptions{}); err != nil {
		return a.since(before, "heal", err)
	}
	bad, err = a.compare(ctx, m, h)
	if err == nil && len(bad) > 0 {
		err = fmt.Errorf("%w: %d regions still differ from %s version %d", diskwriter.ErrVerify, len(bad), label.Image, label.Version)
		return &stopError{"heal", exitCheck, err}
	}
	return a.since(before, "heal", err)
}

// since is untouched or unfinished, as the count of bytes written says.
func (a *agent) since(before int64, step string, err error) error {
	if a.target.Written() == before {
		return untouched(step, err)
	}
	return unfinished(step, err)
}
