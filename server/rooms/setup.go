package rooms

import (
	"crypto/rand"
	"fmt"
	"time"

	"troy/server/protocol"
	"troy/server/state"
)

// EndSetup orders that the setup of the version that a machine holds counts as over, or with leave,
// that what it has done is discarded. The order is for that version alone, and is in the state file
// when it returns. The error is ErrInvalid for a machine that did not say that its setup is
// pending.
func (k *Keeper) EndSetup(host string, leave bool) (*protocol.Want, error) {
	h, _, err := k.Host(host)
	if err != nil {
		return nil, err
	}
	if h.Setup != protocol.SetupPending {
		return nil, fmt.Errorf("%w: %s has not said that the setup of its Windows is pending (it holds %s)", ErrInvalid, h.Name, onDisk(h))
	}
	var order *protocol.EndSetup
	_, err = k.o.State.Update(h.ID, func(m *state.Machine) error {
		in := &m.CheckIn
		if in.Image != h.Image || in.Version != h.Version || in.Manifest == "" {
			return fmt.Errorf("%w: what %s holds has changed: look again", ErrInvalid, h.Name)
		}
		order = &protocol.EndSetup{ID: rand.Text(), Leave: leave, Of: protocol.Want{Image: in.Image, Version: in.Version, Manifest: in.Manifest}}
		m.EndSetup = order
		m.Remember(k.o.Now(), "setup", "ordered: "+meaning(order))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("the order could not be saved: %w", err)
	}
	k.changed.tell()
	return &order.Of, nil
}

func onDisk(h *Host) string {
	if h.Version == 0 {
		return "no version"
	}
	return fmt.Sprintf("%s version %d", h.Image, h.Version)
}

func meaning(o *protocol.EndSetup) string {
	if o.Leave {
		return fmt.Sprintf("discard what the setup of %s version %d has done", o.Of.Image, o.Of.Version)
	}
	return fmt.Sprintf("the setup of %s version %d is over", o.Of.Image, o.Of.Version)
}

// endSetup puts an order about setup into one that the machine gets. To leave a setup for another
// version has to wait until that is ordered: else setup would begin again.
func (c *Case) endSetup(o *protocol.Order) {
	e, in := c.EndSetup, c.CheckIn
	if e == nil || in.Setup != protocol.SetupPending || e.Of != (protocol.Want{Image: in.Image, Version: in.Version, Manifest: in.Manifest}) {
		return
	}
	if !e.Leave || c.Goal == nil || c.has() || o.Want != nil {
		o.EndSetup = e
	}
}

// endedSetup drops an order that a report answers.
func endedSetup(m *state.Machine, r *protocol.Report, now time.Time) {
	if e := m.EndSetup; e != nil && e.ID == r.EndSetup {
		m.Remember(now, "setup", "done: "+meaning(e))
		m.EndSetup = nil
	}
}
