package rooms

import (
	"fmt"

	"troy/server/lab"
	"troy/server/state"
)

// goal returns what a room, or a host of it that is pinned, should have; nil if nothing.
func (k *Keeper) goal(l *lab.Lab, room string, host *lab.Host) *Goal {
	p, ok := l.Room(room)
	if !ok {
		return nil
	}
	t := k.o.State.Room(room).Current()
	g := &Goal{Image: string(p.Image), Version: int(p.Version)}
	switch {
	case host != nil && host.Version > 0:
		g.Version = int(host.Version)
		if host.Image != "" {
			g.Image = string(host.Image)
		}
	case host != nil && host.Image != "" && (t == nil || string(host.Image) != t.Image):
		return nil // what is promoted is no version of this host's image
	case p.Version > 0:
	case t != nil:
		g = k.promoted(l, t)
	default:
		return nil
	}
	return g
}

// promoted makes the goal of a promotion.
func (k *Keeper) promoted(l *lab.Lab, t *state.Target) *Goal {
	g := &Goal{ID: t.ID, Image: t.Image, Version: t.Version, Retry: t.Retry || t.Rollback, Stopped: t.Stopped}
	if t.At != "" {
		if w, err := lab.ParseWindow(t.At); err == nil { // Promote has refused what is none
			g.Window = &w
		}
	}
	if t.After != "" && !t.Open {
		g.Gate = k.gate(l, t)
	}
	return g
}

// gate asks the room before.
func (k *Keeper) gate(l *lab.Lab, t *state.Target) string {
	p, ok := l.Room(t.After)
	if !ok {
		return "waits for room " + t.After + ", which is not in lab.yaml"
	}
	vouched := k.vouchedIn(t.After)
	if n := len(k.machines(t.After)); n > 0 && len(vouched) == 0 {
		return fmt.Sprintf("waits for room %s: none of its %d machines is known by its key yet", t.After, n)
	}
	_, why := Gate(t.After, vouched, t.Image, t.Version, int(p.Healthy), int(p.Failures))
	return why
}
