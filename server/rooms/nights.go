package rooms

import (
	"fmt"
	"slices"
	"time"

	"troy/server/lab"
	"troy/server/state"
)

// nightsBack is how long ago a window may have begun whose numbers are not final, in days.
const nightsBack = 7

// history is the history of nights while it is brought up to date.
type history struct {
	k     *Keeper
	now   time.Time
	kept  []state.Night // of the last days
	fresh []state.Night // to be kept
	err   error
}

func (k *Keeper) history() *history {
	h := &history{k: k, now: k.o.Now()}
	h.kept, h.err = k.o.State.Nights(h.now.AddDate(0, 0, -nightsBack))
	return h
}

// note begins or brings up to date the record of the window that is open; final, no other follows.
func (h *history) note(c *Case, room string, all []shown, final bool) {
	closes, open := c.hours().Closes(c.Now)
	if c.Goal == nil || !open {
		return
	}
	begin, _ := c.hours().Began(c.Now)
	n := state.Night{Room: room, Begin: begin, End: closes, Image: c.Goal.Image, Version: c.Goal.Version, Closed: final}
	fill(&n, all)
	i := slices.IndexFunc(h.kept, func(o state.Night) bool { return o.Same(&n) })
	if n.Done+n.Failed+n.Missing == 0 || i >= 0 && unchanged(h.kept[i], n) {
		return // nothing was to do, or nothing is new
	}
	h.fresh = append(h.fresh, n)
}

// unchanged compares what was counted.
func unchanged(a, b state.Night) bool {
	a.Begin, a.End, b.Begin, b.End = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return a == b
}

// fill counts what came of a night so far: each machine that follows the room once at most.
func fill(n *state.Night, all []shown) {
	n.Done, n.Failed, n.Missing, n.Bytes = 0, 0, 0, 0
	for i := range all {
		h := &all[i]
		if !follows(h.host, n.Image) {
			continue
		}
		counts := h.Keyed || h.Guest
		has := counts && h.Image == n.Image && h.Version == n.Version && !h.Another
		a := h.Last
		if a == nil || !counts || a.Image != n.Image || a.Version != n.Version || a.Ended.Before(n.Begin) || a.Ended.After(n.End) {
			a = &state.Attempt{}
		}
		n.Bytes += a.Bytes
		switch {
		case a.Result == state.ResultFailed:
			n.Failed++
		case !has:
			n.Missing++
		case a.Result == state.ResultDone:
			n.Done++
		}
	}
}

// close makes the numbers of windows that have closed final.
func (h *history) close() {
	for _, n := range h.kept {
		if n.Closed || !n.End.Before(h.now) {
			continue
		}
		if l := h.k.Lab(); l.Rooms[lab.Name(n.Room)] != nil {
			fill(&n, h.k.census(l, n.Room))
		}
		n.Closed = true
		h.fresh = append(h.fresh, n)
	}
}

// save keeps what is new, and tells the admin of nights that ended.
func (h *history) save() {
	if h.err == nil {
		h.err = h.k.o.State.PutNights(h.fresh)
	}
	if h.err != nil {
		h.k.o.OnNote(fmt.Sprintf("the history could not be saved: %v", h.err))
		return
	}
	for _, n := range h.fresh {
		if n.Closed && n.End.Before(h.now) {
			h.k.o.OnNote(fmt.Sprintf("room %s: the window closed; %s version %d: %d machines done, %d failed, %d others do not have it", n.Room, n.Image, n.Version, n.Done, n.Failed, n.Missing))
			h.k.changed.tell()
		}
	}
}

// supersede makes what came of a room's version so far in this window final: another one follows.
func (k *Keeper) supersede(l *lab.Lab, room string) {
	p, ok := l.Room(room)
	if !ok {
		return
	}
	h := k.history()
	h.note(&Case{Now: h.now, Lab: l, Room: &p, Goal: k.goal(l, room, nil)}, room, k.census(l, room), true)
	h.save()
}

// Nights returns the nights that began after a time, the newest first. Those that a clock which was
// ahead began are to come.
func (k *Keeper) Nights(after time.Time) ([]state.Night, error) {
	list, err := k.o.State.Nights(after)
	now := k.o.Now()
	return slices.DeleteFunc(list, func(n state.Night) bool { return n.Begin.After(now) }), err
}
