package rooms

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"troy/image/fields"
	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/state"
)

// namers gives the machines that an admin assigned by their names in Windows, folded: of two with one
// name the one that checked in first. They are looked up at the first call.
func (k *Keeper) namers(l *lab.Lab) func() map[string]*state.Machine {
	return sync.OnceValue(func() map[string]*state.Machine {
		all := slices.DeleteFunc(k.o.State.All(), func(m *state.Machine) bool { return m.Room == "" })
		slices.SortStableFunc(all, func(a, b *state.Machine) int { return a.First.Compare(b.First) })
		names := map[string]*state.Machine{}
		for _, m := range all {
			name, err := l.PCName(m.Room, m.Name)
			if folded := lab.FoldPC(name); err == nil && name != "" && names[folded] == nil {
				names[folded] = m
			}
		}
		return names
	})
}

// owns is what a machine is to get in Windows by its place in the lab, nil for nothing. why is set
// if it gets nothing although its room names machines: what is wrong, and what to do.
func (k *Keeper) owns(l *lab.Lab, id string, at *member, names func() map[string]*state.Machine) (own *lab.Own, why string) {
	if at.room == "" || at.guest {
		return nil, ""
	}
	own, err := l.Identity(at.room, at.name)
	if own == nil && err == nil {
		return nil, ""
	}
	other := ""
	if err == nil && at.host == nil {
		other = k.namesake(l, id, own.Name, names)
	}
	var bad *fields.ValueError
	switch {
	case errors.As(err, &bad):
		why = bad.Reason
	case err != nil:
		why = err.Error()
	case other != "":
		why = fmt.Sprintf("%s is called %s there", other, own.Name)
	default:
		return own, ""
	}
	return nil, "it cannot be named in Windows: " + why + "; 'troy assign' gives it another name"
}

// namesake is another machine that has a name in Windows, "" = none has: a host of lab.yaml, or one
// that was assigned and checked in before.
func (k *Keeper) namesake(l *lab.Lab, id, pc string, names func() map[string]*state.Machine) string {
	if h := l.Named(pc); h != nil {
		return string(h.Name)
	}
	if m := names()[lab.FoldPC(pc)]; m != nil && m.ID != id {
		return m.Name
	}
	return ""
}

// inBrief is what is kept of an identity that was ordered: no values, so no secret either.
func inBrief(id *protocol.Identity) *protocol.Identity {
	if id == nil {
		return nil
	}
	return &protocol.Identity{Required: id.Required, Name: id.Name}
}

// withSecrets is the identity of an order with its secrets, if the machine may have them: it is
// confirmed, and speaks with the key of which the admin said that it is this machine's. A secret that
// cannot be read is left out, and told.
func (k *Keeper) withSecrets(c *Case, peer protocol.Peer, m *state.Machine) *protocol.Identity {
	var faults []string
	id := (*protocol.Identity)(nil)
	if c.Own != nil && c.CheckIn.Refused() == "" {
		id = &c.Own.Identity
		if peer.Key != "" && peer.Key == m.Pin && confirmed(m) {
			id, faults = joined(c.Own)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if delete(k.unsent, m.ID); len(faults) > 0 {
		k.unsent[m.ID] = strings.Join(faults, "; ")
	}
	return id
}

// confirmed says whether the admin has confirmed the key that is pinned.
func confirmed(m *state.Machine) bool { return m.Pin != "" && m.Pin == m.Confirmed }

// joined is an identity with those of its secrets that can be read. faults hold nothing of them.
func joined(own *lab.Own) (id *protocol.Identity, faults []string) {
	all := own.Identity
	all.Values = slices.Clone(all.Values)
	for _, s := range own.Secrets {
		v, err := s.Read()
		if err != nil {
			faults = append(faults, err.Error())
			continue
		}
		all.Values = append(all.Values, v)
	}
	if err := all.Validate(); err != nil { // each alone is sound
		return &own.Identity, append(faults, "its values and secrets are too large together: "+err.Error())
	}
	return &all, faults
}

// namedOf is what a machine has of its identity in what it boots.
func namedOf(m *state.Machine) protocol.Named {
	n := m.CheckIn.Named
	if reported(m) && m.Report.Version != 0 {
		n = m.Report.Named
	}
	if n == nil {
		return protocol.Named{}
	}
	return *n
}

// reported says whether the last sign of a machine is a report.
func reported(m *state.Machine) bool { return m.Report != nil && m.Report.At.Equal(m.Seen) }

// lack is what a machine lacks in Windows.
type lack struct {
	text  string // "" = nothing
	name  bool   // its name is among it
	alarm bool   // a person has to see to it
}

// lacksOf says what a machine that holds a version lacks of what is its own.
func (k *Keeper) lacksOf(m *state.Machine, own *lab.Own, why string) lack {
	_, version := holds(m)
	switch {
	case why != "":
		return lack{why, true, true}
	case own == nil || version == 0:
		return lack{}
	}
	k.mu.Lock()
	unsent := k.unsent[m.ID]
	k.mu.Unlock()
	n, told := namedOf(m), m.Order.Identity
	switch differs := n.Name != own.Name; {
	case n.Lacks != "":
		return lack{n.Lacks + remedy(m), differs, true}
	case differs && told != nil && told.Name == own.Name && reported(m):
		return lack{fmt.Sprintf("it was told the name %s in Windows, and does not say that it has it: is its agent older than this server?", own.Name), true, true}
	case differs:
		return lack{fmt.Sprintf("it gets the name %s in Windows at its next start", own.Name), true, false}
	case unsent != "":
		return lack{unsent, false, true}
	case len(own.Secrets) > 0 && !confirmed(m):
		return lack{"it gets its secrets once it is confirmed ('troy hosts confirm')", false, false}
	case len(own.Secrets) > 0 && !n.Secrets:
		return lack{"it has not all of its secrets yet", false, false}
	}
	return lack{}
}

// remedy says what helps where "identity: required" kept a machine from a version.
func remedy(m *state.Machine) string {
	if id := m.Order.Identity; id == nil || !id.Required || !reported(m) || m.Report.Outcome != protocol.OutcomeFailed {
		return ""
	}
	return "; identity: required keeps it from the version: publish one that has the place ('troy image show' says why one has none), or set identity: wanted"
}

// showNamed fills what a machine is called in Windows, and what it lacks there.
func (k *Keeper) showNamed(x *shown, l *lab.Lab, names func() map[string]*state.Machine) {
	if x.m == nil {
		return
	}
	own, why := k.owns(l, x.m.ID, &x.member, names)
	if x.PCName = namedOf(x.m).Name; own != nil {
		x.WantPCName = own.Name
	}
	a := k.lacksOf(x.m, own, why)
	x.Unnamed, x.unnamed = a.text, a.name || a.alarm
	if a.alarm && x.Attention == "" {
		x.Attention, x.lacking = a.text, true
	}
}

// noteUnnamed tells the admin once what a machine lacks in Windows, where a person has to see to it.
func (k *Keeper) noteUnnamed(l *lab.Lab, m *state.Machine) {
	at := k.placeOf(l, m)
	own, why := k.owns(l, m.ID, &at, k.namers(l))
	a := k.lacksOf(m, own, why)
	k.mu.Lock()
	news := a.alarm && k.unnamed[m.ID] != a.text
	if delete(k.unnamed, m.ID); a.alarm {
		k.unnamed[m.ID] = a.text
	}
	k.mu.Unlock()
	if news {
		k.o.OnNote(fmt.Sprintf("machine %s needs attention: %s", cmp.Or(at.name, m.ID), a.text))
	}
}
