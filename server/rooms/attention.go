package rooms

import (
	"cmp"
	"fmt"
	"time"

	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/state"
)

// attention says why a person should look after a machine; "" = no need. A machine that says
// itself that it leaves, or that Windows ran without the agent, says so until it is heard again.
func (k *Keeper) attention(h *Host, m *state.Machine, l *lab.Lab, p *lab.Policy, now time.Time) string {
	if leaves := cmp.Or(said(m), differs(m)); leaves != "" || h.Room == "" {
		return leaves
	}
	return k.silent(h, m, l, p, now)
}

// said is what the last start of a machine says that calls for a person.
func said(m *state.Machine) string {
	if r := m.Report; r != nil && r.At.Equal(m.Seen) && r.Leaves != "" {
		return r.Leaves
	}
	if why := refused(m); why != "" {
		return why
	}
	return m.CheckIn.Without
}

// silent says since when nothing was heard of a machine that should have started the agent: a
// window of its room has passed since, or it was woken.
func (k *Keeper) silent(h *Host, m *state.Machine, l *lab.Lab, p *lab.Policy, now time.Time) string {
	quiet := now.Sub(h.Seen)
	if quiet < time.Duration(p.Silent)*24*time.Hour {
		return ""
	}
	why := ""
	if _, closes, ok := l.Hours(p).Next(h.Seen); ok && !closes.After(now) {
		why = "a window of its room has passed since"
	}
	if len(h.MACs) > 0 {
		if w := k.wakes(h); w.last.After(h.Seen) && now.Sub(w.last) >= awakeTime {
			why = "it was woken since"
		}
	}
	if why == "" {
		return ""
	}
	off := "it is off, or starts Windows without Troy"
	if m.Order.Rules.Starts == protocol.StartsDirect {
		off = "it is off, was started a few times without the agent (starts: direct), or starts Windows without Troy"
	}
	return fmt.Sprintf("no check-in for %d days, and %s: %s", int(quiet.Hours()/24), why, off)
}

// noteAlarm tells the admin once what a start of a machine says that calls for a person.
func (k *Keeper) noteAlarm(before, now *state.Machine) {
	if why := said(now); why != "" && (before == nil || said(before) != why) {
		k.o.OnNote(fmt.Sprintf("machine %s needs attention: %s", k.nameOf(now), why))
	}
}

// nameOf is how people call a machine.
func (k *Keeper) nameOf(m *state.Machine) string {
	return cmp.Or(k.placeOf(k.Lab(), m).name, m.ID)
}

// noteSilent tells the admin once of each machine of a room that fell silent.
func (k *Keeper) noteSilent(all []shown) {
	for i := range all {
		h, m := &all[i].Host, all[i].m
		if h.Attention == "" || all[i].lacking || said(m) != "" {
			continue
		}
		k.mu.Lock()
		known := k.alarmed[m.ID].Equal(m.Seen)
		k.alarmed[m.ID] = m.Seen
		k.mu.Unlock()
		if !known {
			k.o.OnNote(fmt.Sprintf("machine %s needs attention: %s", h.Name, h.Attention))
			k.changed.tell()
		}
	}
}
