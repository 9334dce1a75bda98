package rooms

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/state"
)

// Need is a permit of the admin (image/trust) without which a machine does not come to a version.
// What the server finds out of it decides nothing but who takes a start slot: machines verify.
type Need struct {
	Scope   string
	Key     string   // pinned for the machine
	Disks   []string // serial numbers
	Image   string   // to go back to
	Version int
}

// needs is the permit that a machine in a room needs to come to a goal; nil = none, as far as its
// check-in tells. lost says that the store does not have the version that the machine has.
func needs(p *lab.Policy, in *protocol.CheckIn, key string, g *Goal, lost bool) *Need {
	n := &Need{Key: key}
	for _, d := range in.Disks {
		n.Disks = append(n.Disks, d.Serial)
	}
	empty := slices.ContainsFunc(in.Disks, func(d protocol.Disk) bool { return d.Empty })
	switch {
	case in.Image == "" && bare(in.Disks):
		if n.Scope = "wipe"; !p.Provision.Allow || empty {
			return nil
		}
	case updates(in, g.Image) && !lost:
		if n.Scope, n.Image, n.Version = "downgrade", g.Image, g.Version; in.Version <= g.Version {
			return nil
		}
	case !*p.Reinstall || in.Detail != "": // or it is damaged, and starts nothing
		return nil
	default:
		n.Scope = "reinstall"
	}
	return n
}

// lacks names the permit that the machine waits for; "" = it needs none, or the server does not
// know better.
func (c *Case) lacks() string {
	if c.Room == nil || c.Guest || c.Permitted == nil {
		return ""
	}
	n := needs(c.Room, c.CheckIn, c.Key, c.Goal, c.Lost)
	if n == nil {
		return ""
	}
	if signed, known := c.Permitted(*n); signed || !known {
		return ""
	}
	return "; it waits for a permit: " + n.command([]string{cmp.Or(c.Name, "HOST")})
}

// command is what signs it, for machines by their names.
func (n *Need) command(names []string) string {
	text := fmt.Sprintf("'troy permit %s %s", n.Scope, strings.Join(names, " "))
	if n.Scope == "downgrade" {
		text += fmt.Sprintf(" --to %s@%d", n.Image, n.Version)
	}
	return text + " --until DATE'"
}

// waiting gathers the machines that a promotion makes wait for a permit.
type waiting map[string][]string // scope → names

// add notes a machine that has not got a permit.
func (w waiting) add(k *Keeper, p *lab.Policy, name string, m *state.Machine, g *Goal, lost bool) {
	if m == nil {
		return
	}
	n := needs(p, &m.CheckIn, m.Pin, g, lost)
	if n != nil && !k.permitted(*n) {
		w[n.Scope] = append(w[n.Scope], name)
	}
}

// permitted tells whether a permit is known to be signed.
func (k *Keeper) permitted(n Need) bool {
	if k.o.Permitted == nil {
		return false
	}
	signed, known := k.o.Permitted(n)
	return signed && known
}

// released tells whether a bare machine may take the place of one whose key it does not have: it
// has a disk of that one, and the admin permitted that this disk is wiped; the key goes with it.
// k.mu is held.
func (k *Keeper) released(id string, in *protocol.CheckIn) bool {
	old := k.o.State.Get(id)
	if old == nil || in.Image != "" {
		return false
	}
	n := Need{Scope: "wipe"}
	for _, d := range in.Disks {
		if d.Serial != "" && slices.ContainsFunc(old.CheckIn.Disks, func(o protocol.Disk) bool { return o.Serial == d.Serial }) {
			n.Disks = append(n.Disks, d.Serial)
		}
	}
	return len(n.Disks) > 0 && k.permitted(n)
}

// lines say who waits, and the one command that helps.
func (w waiting) lines(e *Estimate) (list []string) {
	for _, scope := range []string{"reinstall", "wipe"} {
		if names := w[scope]; len(names) > 0 {
			n := &Need{Scope: scope}
			list = append(list, fmt.Sprintf("%d machines wait for a permit to %s: %s", len(names), scope, n.command(names)))
		}
	}
	if names := w["downgrade"]; len(names) > 0 {
		list = append(list, fmt.Sprintf("%d machines have a newer version (%s): they go back only with your permit, 'troy rollback --room %s %s@%d'",
			len(names), strings.Join(names, " "), e.Room, e.Image, e.Version))
	}
	return list
}
