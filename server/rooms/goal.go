package rooms

import (
	"troy/server/lab"
	"troy/server/state"
)

// goal returns what a room, or a host of it that is pinned, should have; nil if nothing. Whether
// the room before lets it go on, gate tells.
func (k *Keeper) goal(l *lab.Lab, room string, host *lab.Host) *Goal {
	p, ok := l.Room(room)
	if !ok {
		return nil
	}
	r := k.o.State.Room(room)
	return pinned(roomGoal(&p, r), &p, host, r)
}

// roomGoal is the goal of a room as a whole.
func roomGoal(p *lab.Policy, r *state.Room) *Goal {
	switch t := r.Current(); {
	case p.Version > 0:
		return pin(string(p.Image), int(p.Version), r)
	case t != nil:
		g := &Goal{ID: t.ID, Image: t.Image, Version: t.Version, Retry: t.Retry || t.Rollback, Stopped: r.Stopped, after: t}
		if t.At != "" {
			if w, err := lab.ParseWindow(t.At); err == nil { // Promote has refused what is none
				g.Window = &w
			}
		}
		return g
	}
	return nil
}

// pinned makes of a room's goal that of one of its hosts, which may be nil. One with another image
// follows no promotion.
func pinned(g *Goal, p *lab.Policy, host *lab.Host, r *state.Room) *Goal {
	switch {
	case host == nil || host.Version == 0 && host.Image == "":
		return g
	case host.Version > 0 && host.Image != "":
		return pin(string(host.Image), int(host.Version), r)
	case host.Version > 0:
		return pin(string(p.Image), int(host.Version), r)
	case g == nil || string(host.Image) != g.Image:
		return nil
	}
	return g
}

// pin is the goal that lab.yaml sets. It needs no promotion; but one of the same version is an
// order to try again.
func pin(image string, version int, r *state.Room) *Goal {
	g := &Goal{Image: image, Version: version, Pinned: true}
	if r != nil {
		g.Stopped = r.Stopped
	}
	if t := r.Current(); t != nil && t.Image == image && t.Version == version {
		g.ID, g.Retry = t.ID, t.Retry || t.Rollback
	}
	return g
}

// wave names what machines are brought to.
type wave struct {
	id      uint64
	image   string
	version int
}

func (g *Goal) key() wave { return wave{g.ID, g.Image, g.Version} }

// follows tells whether a host, which may be nil, gets what is promoted of an image.
func follows(host *lab.Host, image string) bool {
	return host == nil || host.Version == 0 && (host.Image == "" || string(host.Image) == image)
}
