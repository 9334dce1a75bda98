package agent

import (
	"context"
	"errors"
	"fmt"

	"troy/diskwriter/machine"
	"troy/image"
	"troy/image/trust"
	"troy/netfetch"
	"troy/server/protocol"
)

// openStore joins the sources that order and command line name, and reads the signed metadata. What it returns is the only
// way to the store.
func (a *agent) openStore(ctx context.Context, order *protocol.Order) (*trust.Source, error) {
	if a.store != nil {
		return a.store, nil
	}
	src, err := a.sources(order)
	if err != nil {
		return nil, err
	}
	err = a.phase("metadata", nil, func() error {
		st, says, err := trust.Pinned(ctx, src, a.clock.Now(), &trust.PinnedOptions{
			Root: a.media.root, Unsigned: a.o.Unsigned, Memory: a.memory(), Built: a.media.built,
			NotFound: func(err error) bool { return errors.Is(err, netfetch.ErrNotFound) },
		})
		if err == nil {
			a.say("trust: %s", says)
			a.store = st
		}
		return err
	})
	return a.store, err
}

// sources are the servers, then the mirrors that the order names, under its limit of bytes per second.
func (a *agent) sources(order *protocol.Order) (image.Source, error) {
	var src netfetch.Source
	src, err := a.servers.Sub(order.Repo)
	if err != nil {
		return nil, err
	}
	if len(order.Mirrors) > 0 {
		more, err := netfetch.NewHTTPMirrors(order.Mirrors, a.httpOptions(), &netfetch.MirrorsOptions{OnFailover: a.failover})
		if err != nil {
			return nil, fmt.Errorf("mirrors: %w", err)
		}
		if src, err = netfetch.NewMirrors(&netfetch.MirrorsOptions{GiveUpAfter: a.patience(), OnFailover: a.failover}, src, more); err != nil {
			return nil, err
		}
	}
	if order.Rate > 0 {
		src = netfetch.NewLimiter(order.Rate).Wrap(src)
	}
	return src, nil
}

func (a *agent) failover(from, to netfetch.Source, err error) {
	if errors.Is(err, netfetch.ErrNotFound) {
		return // a client of TUF asks for a newer root until there is none
	}
	a.say("%v; going on with %s", err, to)
}

// memory is where the trusted metadata lies: the machine's journal. A machine without one (its disk is not made yet, or
// cannot be opened) has nothing to remember.
func (a *agent) memory() trust.Memory {
	if j := a.journal(); j != nil {
		return &lateMemory{a: a, j: j}
	}
	return nil
}

// lateMemory keeps what the agent trusts in the machine's journal, but only once something else is written or all has gone
// well: a start that stops leaves the disk untouched.
type lateMemory struct {
	a *agent
	j *machine.Journal
}

// Load implements trust.Memory.
func (m *lateMemory) Load() ([]byte, error) { return m.j.Get(machine.RecordTrust) }

// Save implements trust.Memory.
func (m *lateMemory) Save(b []byte) error {
	m.a.pending = b
	return nil
}

// remember writes what was trusted to the journal. Without it an older state of the store would be believed, no more.
func (a *agent) remember() {
	j := a.journal()
	if a.pending == nil || j == nil {
		return
	}
	if err := j.Put(machine.RecordTrust, a.pending); err != nil {
		a.say("journal: %v", err)
		return
	}
	a.pending = nil
}
