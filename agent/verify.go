package agent

import (
	"context"
	"errors"
	"time"

	"troy/agent/decide"
	"troy/diskwriter/machine"
	"troy/image"
	"troy/image/install"
	"troy/internal/progress"
	"troy/server/protocol"
)

// comparison is what the disk was compared with, and how it differs.
type comparison struct {
	version *install.Version
	fetched *counter
	found   install.Difference
}

// verify compares what the machine boots with a version of the store, without the session on top.
// Where the journal did not say what it is, that is recorded.
func (w *writer) verify(ctx context.Context, order *protocol.Order) (*decide.Compared, error) {
	src, err := w.store.open(ctx, order)
	if err != nil {
		return nil, err
	}
	m := w.disk.machine
	s := m.State()
	with, err := w.counterpart(ctx, src, order, s)
	if err != nil {
		return nil, err
	}
	if with == nil {
		w.con.say("verify: this store has no %s version %d", s.Image, s.Version)
		return nil, m.Identify(ctx, machine.Label{Image: s.Image, Version: s.Version, Manifest: protocol.NoVersion})
	}
	compared := *with
	c := &comparison{fetched: &counter{}}
	if c.version, err = install.Open(ctx, src, with.Image, with.Version, &install.Options{Workers: w.o.Workers, Progress: c.fetched}); err != nil {
		return nil, err
	}
	if c.found, err = w.compare(ctx, c.version, order.Rules.Until); err != nil {
		return nil, err
	}
	w.store.compared, compared.Manifest = c, c.version.Manifest()
	w.con.say("verify: %s of %s differ from %s version %d %s", progress.Bytes(c.found.Bytes), progress.Bytes(s.VirtualSize), with.Image, with.Version, c.found.String())
	if s.Manifest == "" && s.Image == with.Image && s.Version == with.Version {
		is := compared.Manifest
		if c.found.Bytes > 0 {
			is = protocol.NoVersion
		}
		err = m.Identify(ctx, machine.Label{Image: s.Image, Version: s.Version, Manifest: is})
	}
	return &decide.Compared{With: compared, Differ: c.found.Bytes, Where: protocol.Clean(c.found.String(), protocol.MaxText)}, err
}

// compare reads until the window closes at the latest.
func (w *writer) compare(ctx context.Context, v *install.Version, until time.Time) (install.Difference, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	read := w.meter.gauge("verify", v.Size())
	defer read.Done()
	return v.Compare(ctx, w.disk.machine, adder(func(n int64) {
		if read.Add(n); !until.IsZero() && !w.clock().Before(until) {
			cancel(errLate)
		}
	}))
}

// adder is a progress.Adder.
type adder func(n int64)

// Add counts n bytes.
func (a adder) Add(n int64) { a(n) }

var errLate = errors.New("the window closed before all was read; nothing was changed")

// errNothing: neither the disk nor the order names a version that the store has.
var errNothing = errors.New("there is nothing to compare with: what the disk holds is no version of this store, and none is ordered")

// counterpart is the version to compare with: to adopt, the one that is wanted; else what the disk
// holds, if the store has it, or what is wanted. nil: the journal has no manifest for its version, and
// the store no version of that number.
func (w *writer) counterpart(ctx context.Context, src image.Source, order *protocol.Order, s machine.State) (*protocol.Want, error) {
	if v := order.Verify; v != nil && v.Adopt && order.Want != nil {
		return order.Want, nil
	}
	own, err := numbered(ctx, src, s.Image, s.Version)
	switch {
	case err != nil:
		return nil, err
	case own != nil && (s.Manifest == "" || s.Manifest == own.Manifest):
		return own, nil
	case order.Verify == nil:
		return nil, nil
	case order.Want != nil:
		return order.Want, nil
	case own != nil:
		return own, nil
	}
	return nil, errNothing
}

// adopt fetches what differs into the free slot. Where nothing does, the version is only named.
func (w *writer) adopt(ctx context.Context, step decide.Step) error {
	c := w.store.compared
	if len(c.found.Regions) == 0 {
		l := machine.Label{Image: step.Image, Version: step.Version, Manifest: c.version.Manifest()}
		if err := w.disk.machine.Identify(ctx, l); err != nil {
			return err
		}
		w.con.say("adopt: this machine holds %s version %d; nothing had to be replaced", step.Image, step.Version)
		return nil
	}
	w.con.say("adopt: what Windows wrote since the last reset is discarded with the commit")
	return w.stagePlan(ctx, w.store.plan)
}

// verified is what an order to verify found; nil if there was none, or it could not be carried out.
func verified(f *decide.Facts) *protocol.Verified {
	c := f.Compared
	if c == nil || f.Order == nil || f.Order.Verify == nil {
		return nil
	}
	return &protocol.Verified{ID: f.Order.Verify.ID, With: c.With, Differ: c.Differ, Where: c.Where, Adopted: decide.Adopted(f)}
}
