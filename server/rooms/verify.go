package rooms

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"troy/server/protocol"
	"troy/server/state"
)

// Compared tells how many machines of a room were read as a whole, and equal the version that they
// have now.
type Compared struct {
	Equal   int       `json:"equal"`
	Differ  int       `json:"differ"`         // that do not equal it, and were not made equal
	Since   time.Time `json:"since,omitzero"` // when the one was compared for which it is longest ago
	Ordered int       `json:"ordered"`        // whose order is not answered yet
}

func (c *Compared) count(h *Host) {
	if h.Verifying {
		c.Ordered++
	}
	v := h.Verified
	if v != nil && v.Differ > 0 && !v.Adopted {
		c.Differ++
		return
	}
	if v == nil || v.With.Image != h.Image || v.With.Version != h.Version || h.Another {
		return
	}
	c.Equal++
	if c.Since.IsZero() || v.At.Before(c.Since) {
		c.Since = v.At
	}
}

// Verify orders that a machine, or each of a room that is known, compares all that it boots with
// its version, and with adopt is made equal to it. It is in the state file when it returns, and
// holds until a report answers it; one that was not answered yet is replaced. It returns how many
// machines were ordered.
func (k *Keeper) Verify(room, host string, adopt bool) (int, error) {
	hosts := k.Hosts(room)
	if host != "" {
		h, _, err := k.Host(host)
		if err != nil {
			return 0, err
		}
		hosts = []Host{*h}
	} else if _, ok := k.Lab().Room(room); !ok {
		return 0, fmt.Errorf("%w: room %q is not in lab.yaml", ErrNotFound, room)
	}
	defer k.changed.tell()
	n := 0
	for _, h := range hosts {
		if h.ID == "" || h.Room == "" {
			continue
		}
		order := &protocol.Verify{ID: rand.Text(), Adopt: adopt}
		if _, err := k.o.State.Update(h.ID, func(m *state.Machine) error { m.Verify = order; return nil }); err != nil {
			return n, fmt.Errorf("the order could not be saved: %w", err)
		}
		n++
	}
	if n == 0 {
		return 0, fmt.Errorf("%w: no machine of a room that has checked in", ErrNotFound)
	}
	return n, nil
}

// contents is what the store has under the numbers of its versions, each asked for once: to ask
// reads the store.
type contents struct {
	sizes Sizes
	known map[content]string // its manifest; "" = the store cannot tell
}

type content struct {
	image   string
	version int
}

func (k *Keeper) contents() *contents { return &contents{k.o.Sizes, map[content]string{}} }

// another tells whether what a machine calls a version of an image is none of the store's.
func (c *contents) another(image string, version int, manifest string) bool {
	if version == 0 || manifest == "" {
		return false
	}
	of := content{image, version}
	own, ok := c.known[of]
	if !ok {
		if s, err := c.sizes.Size(context.Background(), image, version, version); err == nil {
			own = s.Manifest
		}
		c.known[of] = own
	}
	return protocol.Another(manifest, own)
}

// verify orders a comparison, by the start slots of the room and by the window, if it fits into
// what is left of that. It is for a machine that has nothing else to do. adopts says whether it may
// be made equal to the goal.
func (c *Case) verify(o protocol.Order, adopts bool) (d Decision, ok bool) {
	if c.Verify == nil || c.CheckIn.Version == 0 || c.CheckIn.Detail != "" || c.closed() != "" {
		return Decision{}, false
	}
	work := state.WorkVerify
	switch {
	case c.Verify.Adopt && (!adopts || o.Want == nil), !c.Known && o.Want == nil: // there is nothing to compare with
		return Decision{}, false
	case c.Verify.Adopt:
		work = state.WorkAdopt
	}
	need := overhead + seconds(float64(c.Whole)/diskRate)
	if closes, ok := c.hours().Closes(c.Now); ok && !c.always() && c.Now.Add(need).After(closes) {
		return Decision{}, false
	}
	if c.full() {
		return Decision{Order: c.wait(o)}, true
	}
	o.Verify = c.Verify
	return Decision{Order: o, Start: true, Work: work}, true
}

// answered takes what a report says of an order to verify. One to adopt holds until the machine is
// adopted.
func answered(m *state.Machine, r *protocol.Report, now time.Time) {
	v := r.Verified
	if v == nil || m.Verify == nil || v.ID != m.Verify.ID {
		return
	}
	m.Verified = &state.Verified{At: now, Verified: *v}
	m.Remember(now, "verified", v.String())
	if !m.Verify.Adopt || v.Adopted {
		m.Verify = nil
	}
}

// differs says that a machine was compared and does not hold its version; "" = it was not, or does.
func differs(m *state.Machine) string {
	if v := m.Verified; v != nil && v.Differ > 0 && !v.Adopted {
		return v.String() + "; 'troy verify --adopt' replaces what differs"
	}
	return ""
}

// manifestOf names the content of what a machine holds, as it said last.
func manifestOf(m *state.Machine) string {
	if r := m.Report; r != nil && r.At.Equal(m.Seen) && r.Version != 0 {
		return r.Manifest
	}
	return m.CheckIn.Manifest
}
