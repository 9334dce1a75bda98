package rooms

import (
	"fmt"
	"slices"
	"strings"

	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/state"
)

// named is a machine with the name that people give it.
type named struct {
	name string
	m    *state.Machine
	fell bool // it was at work, and nothing is heard of it
}

// gate says why the room before does not let a goal go on; "" = it does. there are the machines of
// rooms that the caller has listed already.
func (k *Keeper) gate(l *lab.Lab, g *Goal, there map[string][]entry) string {
	if g.after == nil || g.after.After == "" || g.after.Open {
		return ""
	}
	room := g.after.After
	p, ok := l.Room(room)
	if !ok {
		return "waits for room " + room + ", which is not in lab.yaml"
	}
	has := k.goal(l, room, nil)
	all, unsure := k.witnesses(l, room, g, there)
	switch {
	case len(all) > 0:
	case unsure > 0:
		return fmt.Sprintf("waits for room %s: none of its %d machines is known by its key yet", room, unsure)
	case has == nil:
		return fmt.Sprintf("waits for room %s, to which nothing was promoted", room)
	case has.Image != g.Image || has.Version != g.Version:
		return fmt.Sprintf("waits for room %s, which gets %s version %d now", room, has.Image, has.Version)
	}
	return gated(room, all, g.Image, g.Version, &p)
}

// witnesses are the machines of a room that are to have a goal, too, and count: they are known by
// their keys. unsure counts those that are not.
func (k *Keeper) witnesses(l *lab.Lab, room string, g *Goal, there map[string][]entry) (all []named, unsure int) {
	p, _ := l.Room(room)
	r := k.o.State.Room(room)
	whole := roomGoal(&p, r)
	list, listed := there[room]
	if !listed {
		list = k.entries(l, room)
	}
	for i := range list {
		e := &list[i]
		own := pinned(whole, &p, e.host, r)
		switch {
		case e.m == nil || own == nil || own.Image != g.Image || own.Version != g.Version:
		case e.sure:
			all = append(all, named{e.name, e.m, k.fell(e.m)})
		default:
			unsure++
		}
	}
	return all, unsure
}

// gated says what a room's machines still lack, so that others may go on with a version; "" =
// nothing.
func gated(room string, machines []named, image string, version int, p *lab.Policy) string {
	good := 0
	var bad, lacking []string
	for _, x := range machines {
		switch ok, lacks := proof(&x, image, version); {
		case ok:
			good++
		case lacks == "":
			bad = append(bad, x.name)
		default:
			lacking = append(lacking, x.name+" "+lacks)
		}
	}
	slices.Sort(bad)
	slices.Sort(lacking)
	needed := max((len(machines)*int(p.Healthy)+99)/100, 1)
	switch {
	case len(bad) >= int(p.Failures):
		return fmt.Sprintf("waits for room %s: %d machines failed at version %d: %s", room, len(bad), version, some(bad))
	case good >= needed:
		return ""
	}
	for _, name := range bad {
		lacking = append(lacking, name+" failed")
	}
	why := fmt.Sprintf("waits for room %s: %d of %d machines have version %d healthy, %d needed", room, good, len(machines), version, needed)
	if len(lacking) > 0 {
		why += "; " + some(lacking)
	}
	return why
}

// proof says whether a machine has shown health in a version that it has now, since it got that by
// an order. If not, it lacks something, or it failed: then lacks is "". What it said before, of the
// same version or another, is no proof.
func proof(x *named, image string, version int) (ok bool, lacks string) {
	m, in := x.m, &x.m.CheckIn
	nowImage, nowVersion := holds(m)
	has := nowImage == image && nowVersion == version && !foreign(m)
	said := has && in.Image == image && in.Version == version
	since := said && same(m.Order.Want, &protocol.Want{Image: image, Version: version})
	a := m.Attempt
	tried := a != nil && a.Image == image && a.Version == version
	switch {
	case has && unstarted(m), said && in.Health == protocol.HealthFailing:
		return false, ""
	case since && in.Health == protocol.HealthGood:
		return true, ""
	case tried && (a.Result == state.ResultFailed || x.fell && a.Result == state.ResultOpen):
		return false, ""
	case tried && a.Result == state.ResultOpen:
		return false, "is at work"
	case !has:
		return false, "does not have it yet"
	case !since:
		return false, "has not been started since"
	}
	return false, "has not shown that Windows comes up"
}

// foreign says whether what a machine has is none of this store's, though it has the number that
// the machine is told to have.
func foreign(m *state.Machine) bool {
	_, version := holds(m)
	w, is := m.Order.Want, manifestOf(m)
	return w != nil && w.Version == version && w.Manifest != "" && is != "" && is != w.Manifest
}

// holds is what a machine has as far as it has said: its last report tells more than the check-in
// of that start.
func holds(m *state.Machine) (image string, version int) {
	if r := m.Report; r != nil && r.At.Equal(m.Seen) && r.Version != 0 {
		return r.Image, r.Version
	}
	return m.CheckIn.Image, m.CheckIn.Version
}

// some joins the first of a list, and says how many more there are.
func some(list []string) string {
	const most = 3
	text := strings.Join(list[:min(len(list), most)], ", ")
	if n := len(list) - most; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}
