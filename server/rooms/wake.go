package rooms

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/state"
)

const (
	wakeAgain  = 10 * time.Minute // before a machine that stayed off is called again
	awakeTime  = 5 * time.Minute  // a machine that was heard so lately needs no call
	settleMost = 3                // calls of a machine in one window that are not for its version
)

// Call is one machine to wake.
type Call struct {
	Name      string
	MACs      []string
	Broadcast []netip.Addr // directed broadcast addresses; the limited one is always used
}

// wakes is what a Keeper remembers of the calls to a machine.
type wakes struct {
	last    time.Time // of all
	window  time.Time // that began then: settles counts its calls
	settles int
}

// wakeRoom calls machines that are off and have work to do, as many as there are start slots: first
// those that need their version, then those that are to be compared with it. Once none of these is
// left to wait for, those follow that only have to start once more.
func (k *Keeper) wakeRoom(name string, c *Case, all []shown) {
	if k.o.Waker == nil || !*c.Room.Wake {
		return
	}
	may := map[wave]bool{}
	all = slices.DeleteFunc(slices.Clone(all), func(h shown) bool {
		if h.goal == nil {
			return true
		}
		ok, known := may[h.goal.key()]
		if !known {
			ok = k.blocked(name, c, h.goal) == ""
			may[h.goal.key()] = ok
		}
		return !ok && h.Phase != PhaseWorking && h.Phase != PhaseWaiting // these have their slots
	})
	calls, served := k.toServe(c, all)
	if served {
		calls = k.toSettle(name, c, all)
	}
	k.call(calls)
}

// blocked says why no machine of a room with that goal may be called now; "" = they may.
func (k *Keeper) blocked(name string, room *Case, g *Goal) string {
	c := *room
	c.Goal = g
	c.Failed = len(k.failures(name, g))
	g.Gate = k.gate(c.Lab, g, nil)
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

// toServe lists the machines to call for their version, and after them those that are ordered to
// verify it; of each, those first that were called longest ago. served says that there are none,
// and that none is at work or was called a moment ago. A machine that was called holds a place
// until it could be up; one that does not answer holds up no other for longer.
func (k *Keeper) toServe(c *Case, all []shown) (calls []Call, served bool) {
	room := int(c.Room.Wave)
	served = true
	last := map[string]time.Time{}
	began, _ := c.hours().Began(c.Now)
	var verify []Call
	for i := range all {
		h := &all[i]
		compares := verifies(h, began)
		wanted := lacks(&h.Host) || compares
		up := !h.Seen.IsZero() && c.Now.Sub(h.Seen) < awakeTime
		called := k.lastCall(&h.Host)
		ago := c.Now.Sub(called)
		switch {
		case h.Keyed && (h.Phase == PhaseWorking || h.Phase == PhaseWaiting || up && wanted):
			room-- // holds a slot, or is about to
			served = false
		case !wanted || len(h.MACs) == 0:
		case ago < awakeTime:
			room--
			served = false
		case ago < wakeAgain:
		default:
			served = false
			last[h.MACs[0]] = called
			to := &calls
			if compares {
				to = &verify
			}
			*to = append(*to, Call{h.Name, h.MACs, c.Room.Addresses()})
		}
	}
	for _, list := range [][]Call{calls, verify} {
		slices.SortStableFunc(list, func(a, b Call) int { return last[a.MACs[0]].Compare(last[b.MACs[0]]) })
	}
	return firsts(append(calls, verify...), room), served
}

// verifies says whether a machine needs a start to follow an order to verify. In a window that
// began then it gets one try at each order: what came of it is known.
func verifies(h *shown, began time.Time) bool {
	if !h.Verifying || h.Phase != PhaseCurrent || h.m.CheckIn.Detail != "" {
		return false
	}
	a, v := h.m.Comparison, h.m.Verified
	if d := h.m.Attempt; d != nil && d.Work == state.WorkAdopt && (a == nil || d.Started.After(a.Started)) {
		a = d
	}
	tried := a != nil && !a.Started.Before(began)
	return !tried || v != nil && v.ID != h.m.Verify.ID && !v.At.Before(a.Started) // at another order
}

// firsts cuts a list to the start slots that are left.
func firsts(calls []Call, room int) []Call { return calls[:min(len(calls), max(room, 0))] }

// lacks says whether a machine needs a start to get its version, and may have one.
func lacks(h *Host) bool {
	switch h.Phase {
	case PhaseOutdated, PhaseNever, PhaseSilent:
		return true
	case PhaseFailed:
		return h.Last == nil || h.Last.Tries < triesMost && !h.Last.GivenUp
	case PhaseDown: // a newer version may be what helps
		return h.WantImage != "" && (h.Image != h.WantImage || h.Version != h.WantVersion)
	}
	return false
}

// toSettle lists the machines to call that have their version and would come further by one more
// start. The agent sees at a start what became of Windows since the last one, merges, and starts
// Windows, which runs until a user, or a task of the image, shuts it down. A call to a machine
// that runs has no effect; so the calls are spread over the window.
func (k *Keeper) toSettle(name string, c *Case, all []shown) (calls []Call) {
	closes, open := c.hours().Closes(c.Now)
	if !open || closes.Sub(c.Now) < wakeAgain {
		return nil // what it would do does not fit
	}
	began, _ := c.hours().Began(c.Now)
	pause := max(closes.Sub(began)/(settleMost+1), wakeAgain)
	lazy := protocol.Merge(c.Room.Merge) == protocol.MergeLazy
	awaited := c.Goal != nil && k.awaited(c.Lab, name, c.Goal)
	room := int(c.Room.Wave)
	for _, h := range all {
		if h.Phase != PhaseCurrent || len(h.MACs) == 0 {
			continue
		}
		w := k.wakes(&h.Host)
		called := c.Now.Sub(w.last)
		switch {
		case called < awakeTime, k.tells(h.ID, c.Now):
			room-- // starts, or merges
		case called < pause, c.Now.Sub(h.Seen) < awakeTime, w.window.Equal(began) && w.settles >= settleMost:
		case unsettled(h.m, lazy, awaited && h.goal.key() == c.Goal.key()):
			calls = append(calls, Call{h.Name, h.MACs, c.Room.Addresses()})
		}
	}
	calls = firsts(calls, room)
	k.countSettles(calls, began)
	return calls
}

// tells says whether a machine that is not at work told a moment ago how far it is: with a merge.
func (k *Keeper) tells(id string, now time.Time) bool {
	v, ok := k.live.get(id)
	return ok && now.Sub(v.At) < awakeTime
}

// awaited says whether another room waits until this one has its version healthy.
func (k *Keeper) awaited(l *lab.Lab, name string, g *Goal) bool {
	for _, other := range l.RoomNames() {
		t := k.o.State.Room(other).Current()
		if other != name && t != nil && t.After == name && !t.Open && k.o.State.Room(other).Stopped == "" && t.Image == g.Image && t.Version == g.Version {
			return true
		}
	}
	return false
}

// unsettled says whether a start would bring a machine further that has its version: lazy, it can
// merge it, or show that it may be merged; awaited, it can show its health. What is known is the
// last check-in, and the report of that start. One that says that Windows does not come up is for
// people: each further start would bring it nearer to giving up.
func unsettled(m *state.Machine, lazy, awaited bool) bool {
	in, ended := &m.CheckIn, m.Report != nil && m.Report.At.Equal(m.Seen)
	if ended && m.Report.Version != 0 && (m.Report.Image != in.Image || m.Report.Version != in.Version) {
		// It came to the version after it had checked in. Into a slot, unless it was rewritten,
		// or went back to what lay below.
		return awaited || lazy && m.Order.Want != nil && updates(in, m.Order.Want.Image) && m.Order.Want.Version != in.Previous
	}
	through := ended && m.Report.Outcome != protocol.OutcomeFailed && (m.Order.Rules.Until.IsZero() || m.Report.At.Before(m.Order.Rules.Until))
	switch {
	case in.Health == protocol.HealthFailing || in.Detail != "":
		return false
	case in.Merging, in.Health == protocol.HealthGood && in.Previous != 0:
		return lazy && !through // the rest was merged in that start, if there was time
	case in.Health == protocol.HealthUnknown:
		return awaited || lazy && in.Previous != 0
	}
	return false
}

// wakes returns what is known of the calls to a machine that has MAC addresses.
func (k *Keeper) wakes(h *Host) wakes {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.woken[h.MACs[0]]
}

// lastCall is when a machine was called last; zero = never.
func (k *Keeper) lastCall(h *Host) time.Time {
	if len(h.MACs) == 0 {
		return time.Time{}
	}
	return k.wakes(h).last
}

// countSettles counts calls that are not for the version.
func (k *Keeper) countSettles(calls []Call, window time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range calls {
		w := k.woken[c.MACs[0]]
		if !w.window.Equal(window) {
			w.window, w.settles = window, 0
		}
		w.settles++
		k.woken[c.MACs[0]] = w
	}
}

// WakeNow calls a machine, or all of a room, whatever the time is, and returns how many will be
// called. The calls go out in the background, whatever becomes of the request.
func (k *Keeper) WakeNow(room, id string) (int, error) {
	l := k.Lab()
	p, ok := l.Room(room)
	hosts := k.Hosts(room)
	if id != "" {
		h, _, err := k.Host(id)
		if err != nil {
			return 0, err
		}
		hosts = []Host{*h}
		p, _ = l.Room(h.Room)
	} else if !ok {
		return 0, fmt.Errorf("%w: room %q is not in lab.yaml", ErrNotFound, room)
	}
	if k.o.Waker == nil {
		return 0, fmt.Errorf("%w: this server sends no wake-up packets", ErrInvalid)
	}
	var calls []Call
	for _, h := range hosts {
		if len(h.MACs) > 0 {
			calls = append(calls, Call{h.Name, h.MACs, p.Addresses()})
		}
	}
	k.call(calls)
	return len(calls), nil
}
