package rooms

import (
	"context"
	"fmt"
	"time"

	"troy/server/lab"
	"troy/server/state"
)

const (
	tickTime = 10 * time.Second // how often Run looks
	slack    = time.Minute      // by which a clock may be set back without a sign
)

// Run does what needs a clock, until ctx ends. Tick is one round of it.
func (k *Keeper) Run(ctx context.Context) {
	defer k.caller.close()
	t := time.NewTicker(tickTime)
	defer t.Stop()
	for {
		k.Tick()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// Tick reads a changed lab.yaml, forgets strangers that did not come back, opens gates, wakes
// machines, notes silent ones and writes the history of nights.
func (k *Keeper) Tick() {
	k.heedClock()
	k.Reload(false)
	k.buryGhosts()
	k.expire()
	l := k.Lab()
	h := k.history()
	for _, name := range l.RoomNames() {
		p, _ := l.Room(name)
		k.openGate(l, name)
		c := &Case{Now: k.o.Now(), Lab: l, Room: &p, Goal: k.goal(l, name, nil)}
		all := k.census(l, name)
		h.note(c, name, all, false)
		k.noteStop(l, name, nil)
		k.noteSilent(all)
		k.wakeRoom(name, c, all)
	}
	h.close()
	h.save()
}

// heedClock notices that the clock was set back. What it had dated until then lies in the future.
func (k *Keeper) heedClock() {
	now := k.o.Now().Round(0) // the time of the wall: two readings of one process always go forward
	k.mu.Lock()
	back := now.Before(k.latest.Add(-slack))
	k.latest = now
	if back {
		for mac, w := range k.woken {
			if w.last.After(now) {
				delete(k.woken, mac)
			}
		}
	}
	k.mu.Unlock()
	if back {
		k.live.setBack(now)
		k.o.OnNote("the clock of this server was set back: machines at work are given their time once more")
	}
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
	g := k.goal(l, name, nil)
	if g == nil || g.after == nil || g.after.After == "" || g.after.Open || k.gate(l, g, nil) != "" {
		return
	}
	t := g.after
	if err := k.o.State.ChangeTarget(name, t.ID, func(t *state.Target) { t.Open = true }); err != nil {
		k.o.OnNote(fmt.Sprintf("room %s: the open gate could not be saved: %v", name, err))
		return
	}
	k.o.OnNote(fmt.Sprintf("room %s has %s version %d healthy: room %s goes on", t.After, t.Image, t.Version, name))
	k.changed.tell()
}
