package rooms

import (
	"context"
	"fmt"
	"time"

	"troy/server/protocol"
	"troy/server/state"
)

// Report takes the report of a machine; it is on the disk when nil is returned. One that is known
// already changes nothing. Only the key with which the machine checked in may report for it: for
// others the error is protocol.ErrStranger.
func (k *Keeper) Report(_ context.Context, peer protocol.Peer, r protocol.Report) error {
	id, now := k.speaks(peer, &r.Machine, r.Image != "" && r.Version > 0), k.o.Now()
	before := k.o.State.Get(id)
	if before == nil {
		return protocol.ErrStranger
	}
	if before.Report != nil && r.ID != "" && before.Report.ID == r.ID {
		return nil
	}
	m, err := k.o.State.Report(id, k.tail(id, r.Log), r.Outcome == protocol.OutcomeFailed || ofGivingUp(before), func(m *state.Machine) error {
		conclude(m, &r, now)
		return k.keep(m)
	})
	if err != nil {
		k.restore(k.Lab(), []string{id})
		return fmt.Errorf("the report could not be saved: %w", err)
	}
	k.live.end(id)
	k.settle(id, false)
	k.noteFailure(before, m)
	k.noteAlarm(before, m)
	k.noteUnnamed(k.Lab(), m)
	k.changed.tell()
	return nil
}

// ofGivingUp says whether the report to come is that of the start at which a machine gave its
// version up: its log tells why.
func ofGivingUp(m *state.Machine) bool {
	return m != nil && m.Attempt != nil && m.Attempt.GivenUp && (m.Report == nil || m.Report.At.Before(m.Attempt.Ended))
}

// conclude writes a report into a machine's record.
func conclude(m *state.Machine, r *protocol.Report, now time.Time) {
	kept := *r
	kept.Log = ""
	m.Seen, m.Report = now, &state.Report{At: now, Report: kept}
	m.Remember(now, "report", fmt.Sprintf("%s, %s version %d, exit code %d %s", r.Outcome, r.Image, r.Version, r.ExitCode, protocol.Clean(r.Message, protocol.MaxText)))
	if r.Leaves != "" {
		m.Remember(now, "alarm", r.Leaves)
	}
	answered(m, r, now)
	endedSetup(m, r, now)
	a := atWork(m)
	if a == nil {
		return
	}
	a.Ended, a.Message = now, protocol.Clean(r.Message, protocol.MaxText)
	for _, s := range r.Steps {
		a.Bytes += s.Fetched
	}
	w := m.Order.Want
	same := w == nil || r.Manifest == "" || w.Version != r.Version || w.Manifest == r.Manifest
	switch {
	case a.Work == state.WorkVerify && r.Outcome != protocol.OutcomeFailed:
		a.Result = state.ResultDone
	case r.Outcome != protocol.OutcomeFailed && r.Image == a.Image && r.Version == a.Version && same, a.Work == state.WorkAdopt && r.Outcome == protocol.OutcomeFailed: // a comparison that failed says nothing of the version
		a.Result = state.ResultDone
	case r.Outcome == protocol.OutcomeWaiting:
		a.Result = state.ResultWaiting
	case !m.Order.Rules.Until.IsZero() && now.After(m.Order.Rules.Until):
		a.Result = state.ResultLate
	default:
		a.Result, a.Refused = state.ResultFailed, r.Refused
	}
}
