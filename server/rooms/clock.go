package rooms

import (
	"context"
	"fmt"
	"time"

	"troy/server/lab"
	"troy/server/state"
)

// tickTime is how often Run looks.
const tickTime = 10 * time.Second

// Run does what needs a clock, until ctx ends. Tick is one round of it.
func (k *Keeper) Run(ctx context.Context) {
	t := time.NewTicker(tickTime)
	defer t.Stop()
	for {
		k.Tick(ctx)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// Tick reads a changed lab.yaml, forgets strangers that did not come back, opens gates, wakes
// machines, notes silent ones and writes the history of nights.
func (k *Keeper) Tick(ctx context.Context) {
	k.Reload(false)
	k.buryGhosts()
	k.expire()
	l := k.Lab()
	for _, name := range l.RoomNames() {
		p, _ := l.Room(name)
		k.openGate(l, name)
		c := &Case{Now: k.o.Now(), Lab: l, Room: &p, Goal: k.goal(l, name, nil)}
		if err := k.night(name, c); err != nil {
			k.o.OnNote(fmt.Sprintf("room %s: the history could not be saved: %v", name, err))
		}
		k.noteSilent(l, name)
		if err := k.wakeRoom(ctx, name, c); err != nil {
			k.o.OnNote(fmt.Sprintf("room %s: %v", name, err))
		}
	}
	k.closeNights(l)
}

// Reload reads lab.yaml if it has changed, or if force is set. What is not valid does not come into
// force, and the note says where it is wrong.
func (k *Keeper) Reload(force bool) {
	changed, err := k.o.Lab.Reload(force)
	k.mu.Lock()
	if changed || err != nil {
		k.labErr = err
	}
	k.mu.Unlock()
	switch {
	case err != nil:
		k.o.OnNote(fmt.Sprintf("the last valid lab.yaml stays in force: %v", err))
	case changed:
		k.placeAll()
		k.knowStops()
		k.o.OnNote("lab.yaml was reloaded")
	default:
		return
	}
	k.changed.tell()
}

// openGate remembers that the room before had the version healthy.
func (k *Keeper) openGate(l *lab.Lab, name string) {
	t := k.o.State.Room(name).Current()
	if t == nil || t.After == "" || t.Open || k.gate(l, t) != "" {
		return
	}
	if err := k.o.State.ChangeTarget(name, t.ID, func(t *state.Target) { t.Open = true }); err != nil {
		k.o.OnNote(fmt.Sprintf("room %s: the open gate could not be saved: %v", name, err))
		return
	}
	k.o.OnNote(fmt.Sprintf("room %s has %s version %d healthy: room %s goes on", t.After, t.Image, t.Version, name))
	k.changed.tell()
}

// blocked says why no machine of the room may begin now; "" = they may.
func (k *Keeper) blocked(name string, c *Case) string {
	if c.Goal == nil {
		return "nothing is promoted"
	}
	c.Failed = k.failures(name, c.Goal)
	for _, rule := range []func() string{c.stopped, c.gated} {
		if why := rule(); why != "" {
			return why
		}
	}
	if !c.hours().Open(c.Now) {
		return "no window is open"
	}
	return ""
}

// night begins or brings up to date the record of the window that is open.
func (k *Keeper) night(name string, c *Case) error {
	closes, open := c.hours().Closes(c.Now)
	if c.Goal == nil || !open {
		return nil
	}
	begin, _ := c.hours().Began(c.Now)
	n := state.Night{Room: name, Begin: begin, End: closes, Image: c.Goal.Image, Version: c.Goal.Version}
	k.fill(&n, c.Lab)
	if n.Done+n.Failed+n.Missing == 0 {
		return nil // nothing was to do
	}
	old, err := k.nightOf(&n)
	if err != nil || old != nil && unchanged(*old, n) {
		return err
	}
	return k.o.State.PutNight(n)
}

// unchanged compares what was counted.
func unchanged(a, b state.Night) bool {
	a.Begin, a.End, b.Begin, b.End = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return a == b
}

// nightOf returns what is kept of a night.
func (k *Keeper) nightOf(n *state.Night) (*state.Night, error) {
	list, err := k.o.State.Nights(n.Begin.Add(-time.Second))
	for i := range list {
		if list[i].Room == n.Room && list[i].Begin.Equal(n.Begin) {
			return &list[i], err
		}
	}
	return nil, err
}

// fill counts what came of a night so far.
func (k *Keeper) fill(n *state.Night, l *lab.Lab) {
	n.Done, n.Failed, n.Missing, n.Bytes = 0, 0, 0, 0
	for _, e := range k.hosts(l, n.Room) {
		h := k.host(l, e)
		if h.Pinned {
			continue
		}
		if h.Image != n.Image || h.Version != n.Version || !h.Keyed && !h.Guest {
			n.Missing++
		}
		a := h.Last
		if a == nil || !h.Keyed && !h.Guest || a.Image != n.Image || a.Version != n.Version || a.Ended.Before(n.Begin) {
			continue
		}
		n.Bytes += a.Bytes
		switch a.Result {
		case state.ResultDone:
			n.Done++
		case state.ResultFailed:
			n.Failed++
		}
	}
}

// closeNights makes the numbers of windows that have closed final.
func (k *Keeper) closeNights(l *lab.Lab) {
	now := k.o.Now()
	list, err := k.o.State.Nights(now.AddDate(0, 0, -7))
	for _, n := range list {
		if n.Closed || !n.End.Before(now) {
			continue
		}
		k.fill(&n, l)
		n.Closed = true
		if err = k.o.State.PutNight(n); err == nil {
			k.o.OnNote(fmt.Sprintf("room %s: the window closed; %s version %d: %d machines done, %d failed, %d do not have it", n.Room, n.Image, n.Version, n.Done, n.Failed, n.Missing))
			k.changed.tell()
		}
	}
	if err != nil {
		k.o.OnNote(fmt.Sprintf("the history could not be saved: %v", err))
	}
}
