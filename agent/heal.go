package agent

import (
	"context"
	"errors"

	"troy/image"
	"troy/image/install"
	"troy/server/protocol"
)

// heal brings a parent back that somebody opened read-write elsewhere: it is compared with its version, what differs is
// fetched, and it gets its DataWriteGuid back. Windows cannot start from the disk before that.
func (a *agent) heal(ctx context.Context, order *protocol.Order) error {
	src, err := a.openStore(ctx, order)
	if err != nil {
		return untouched("trust", err)
	}
	a.say("heal: base.vhdx was opened read-write elsewhere, comparing it with its version")
	before := a.target.Written()
	var wrong int
	var fetched counter
	read := a.newGauge("compare", 0)
	err = a.phase("heal", fetched.total, func() (err error) {
		wrong, err = install.Heal(ctx, a.target.Files(), src, &install.Options{Workers: a.o.Workers, Progress: &fetched}, read)
		read.Done()
		return err
	})
	if err != nil {
		return a.repairFailed(before, "heal", err)
	}
	a.say("heal: %d regions of 1 MiB were repaired, %s fetched", wrong, &fetched)
	if err := a.reopen(); err != nil {
		return unfinished("heal", err)
	}
	return a.resume(ctx)
}

// repairFailed tells a disk that does not give back what was written from everything else.
func (a *agent) repairFailed(before int64, step string, err error) error {
	var object *image.ObjectError
	if errors.Is(err, image.ErrCorrupt) && !errors.As(err, &object) { // not the store's fault
		return &stopError{step, ExitCheck, err}
	}
	return a.since(before, step, err)
}

// since is untouched or unfinished, as the count of bytes written says.
func (a *agent) since(before int64, step string, err error) error {
	if a.target.Written() == before {
		return untouched(step, err)
	}
	return unfinished(step, err)
}
