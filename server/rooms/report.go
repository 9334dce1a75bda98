package rooms

import (
	"context"
	"fmt"
	"time"

	"troy/server/protocol"
	"troy/server/state"
)

// Report takes the report of a machine; it is on the disk when nil is returned. One that is known already changes nothing.
func (k *Keeper) Report(_ context.Context, r protocol.Report) error {
	key, now := r.Machine.Key(), k.o.Now()
	if m := k.o.State.Get(key); m != nil && m.Report != nil && r.ID != "" && m.Report.ID == r.ID {
		return nil
	}
	_, err := k.o.State.Report(key, r.Log, r.Outcome == protocol.OutcomeFailed, func(m *state.Machine) error {
		conclude(m, &r, now)
		return nil
	})
	if err != nil {
		return fmt.Errorf("the report could not be kept: %w", err)
	}
	k.live.end(key)
	k.noteStop(key)
	k.changed.tell()
	return nil
}

// conclude writes a report into a machine's record.
func conclude(m *state.Machine, r *protocol.Report, now time.Time) {
	if m.First.IsZero() {
		m.First, m.CheckIn.Machine = now, r.Machine
	}
	kept := *r
	kept.Log = ""
	m.Seen, m.Report = now, &state.Report{At: now, Report: kept}
	m.Remember(now, "report", fmt.Sprintf("%s, %s version %d, exit code %d %s", r.Outcome, r.Image, r.Version, r.ExitCode, protocol.Clean(r.Message, protocol.MaxText)))
	a := m.Attempt
	if a == nil || a.Result != state.ResultOpen {
		return
	}
	a.Ended, a.Message = now, protocol.Clean(r.Message, protocol.MaxText)
	for _, p := range r.Phases {
		if p.Name == "fetch" {
			a.Bytes += p.Bytes
		}
	}
	switch {
	case r.Outcome != protocol.OutcomeFailed && r.Image == a.Image && r.Version == a.Version:
		a.Result = state.ResultDone
	case !m.Order.Until.IsZero() && now.After(m.Order.Until):
		a.Result = state.ResultLate
	default:
		a.Result = state.ResultFailed
	}
}

// noteStop tells the admin when a failure was the one that stops a wave.
func (k *Keeper) noteStop(key string) {
	k.mu.Lock()
	room := k.placed[key]
	k.mu.Unlock()
	l := k.Lab()
	p, ok := l.Room(room)
	m := k.o.State.Get(key)
	if !ok || m.Attempt == nil || m.Attempt.Result != state.ResultFailed {
		return
	}
	if g := k.goal(l, room, nil); g != nil && g.Fits(m.Attempt) && k.failures(room, g) == int(p.Failures) {
		k.o.OnNote(fmt.Sprintf("room %s: the wave of %s version %d stopped, %d machines failed; the last one: %s", room, g.Image, g.Version, p.Failures, m.Attempt.Message))
	}
}

func (k *Keeper) failures(room string, g *Goal) (n int) {
	for _, m := range k.machines(room) {
		if g.failed(m) {
			n++
		}
	}
	return n
}
