package rooms

import (
	"fmt"
	"slices"
	"time"

	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/state"
)

// Fits says whether an attempt was one at this goal.
func (g *Goal) Fits(a *state.Attempt) bool {
	return a != nil && a.Target == g.ID && a.Image == g.Image && a.Version == g.Version
}

// failed says whether a machine counts as one that failed at this goal: it could not be brought
// there, it went back, or Windows does not come up in it. fell: nothing is heard of its attempt.
func (g *Goal) failed(m *state.Machine, fell bool) bool {
	if m.CheckIn.Image == g.Image && m.CheckIn.Version == g.Version && m.CheckIn.Health == protocol.HealthFailing {
		return true
	}
	return g.Fits(m.Attempt) && (m.Attempt.Result == state.ResultFailed && !m.Attempt.Refused || fell && m.Attempt.Result == state.ResultOpen)
}

// suspect says whether a machine, which may be nil, may have failed at any goal.
func suspect(m *state.Machine) bool {
	return m != nil && (m.CheckIn.Health == protocol.HealthFailing || m.Attempt != nil && m.Attempt.Result == state.ResultFailed)
}

// atWork is what a machine was told to begin and has not ended yet, as far as is known; nil =
// nothing.
func atWork(m *state.Machine) *state.Attempt {
	for _, a := range []*state.Attempt{m.Attempt, m.Comparison} {
		if a != nil && a.Result == state.ResultOpen {
			return a
		}
	}
	return nil
}

func open(m *state.Machine) bool { return atWork(m) != nil }

// fell says whether nothing was heard of a machine at work for too long. If it was to come to a
// version, it counts as failed as long as that lasts: what killed it may kill others.
func (k *Keeper) fell(m *state.Machine) bool {
	a := atWork(m)
	return a != nil && k.quiet(a, k.live.heard(m.ID), staleTime)
}

// quiet says whether an attempt began, and its machine was heard, longer ago than a time.
func (k *Keeper) quiet(a *state.Attempt, heard time.Time, long time.Duration) bool {
	now := k.o.Now()
	last := k.live.past(a.Started, now)
	if heard.After(last) {
		last = heard
	}
	return last.Before(now.Add(-long))
}

// judged returns what the last attempt of a machine comes to by its check-in: a try that had
// brought it to the goal has failed if the machine went back by itself since; and so have tries of
// which none ended in a report. (The next thing that it could say is a report, and until then
// others would begin.)
func (c *Case) judged(a *state.Attempt) *state.Attempt {
	if c.Goal == nil || !c.Goal.Fits(a) {
		return a
	}
	b := *a
	switch {
	case wentBack(a, c.CheckIn):
		b.GivenUp = true
		b.Message = fmt.Sprintf("version %d was given up, version %d is back; order it again to retry", a.Version, c.CheckIn.Version)
	case a.Result == state.ResultOpen && a.Tries >= triesMost && !c.repeats(a) && !c.has():
		b.Message = "the machine started again each time, without a report"
	default:
		return a
	}
	b.Ended, b.Result = c.Now, state.ResultFailed
	return &b
}

// has says whether the machine has what it should have.
func (c *Case) has() bool {
	return c.CheckIn.Image == c.Goal.Image && c.CheckIn.Version == c.Goal.Version && !c.Another
}

// repeats says whether a check-in comes from the start that began an attempt: the answer was lost
// on its way, and the machine asks again.
func (c *Case) repeats(a *state.Attempt) bool {
	ago := c.Now.Sub(a.Started)
	return ago >= 0 && ago < againTime
}

// wentBack says whether a machine that was brought to a version gave it up for the one below. Only
// a deployment can be undone on the machine itself: what a reinstall wrote has nothing below it. A
// machine that remembers no start of Windows did not go back either: its disk was prepared again.
func wentBack(a *state.Attempt, in *protocol.CheckIn) bool {
	remembers := in.Health != protocol.HealthUnknown || in.LastStart != ""
	return a.Result == state.ResultDone && a.Work == state.WorkUpdate && remembers &&
		in.Image == a.Image && in.Version != a.Version && in.Version != 0
}

// tired says why a machine is not tried at its goal again; "" = it may be.
func (g *Goal) tired(a *state.Attempt) string {
	switch {
	case !g.Fits(a) || a.Result != state.ResultFailed || a.Refused: // a new signature may come at any time
		return ""
	case a.GivenUp: // the agent would refuse it
		return a.Message
	case a.Tries >= triesMost:
		return fmt.Sprintf("failed %d times: %s", a.Tries, a.Message)
	}
	return ""
}

// standing returns the goal of a room with the machines that failed at it, and whether these stop
// it. g is nil if nothing is promoted.
func (k *Keeper) standing(l *lab.Lab, room string) (g *Goal, failed []*state.Machine, stopped bool) {
	p, ok := l.Room(room)
	if g = k.goal(l, room, nil); !ok || g == nil {
		return nil, nil, false
	}
	failed = k.failures(room, g)
	return g, failed, len(failed) >= int(p.Failures)
}

// noteFailure tells the admin when a machine was the one that stops the wave of its room: before
// and now are the machine's states around what it said.
func (k *Keeper) noteFailure(before, now *state.Machine) {
	if !suspect(before) && !suspect(now) || !k.isVouched(now.ID) {
		return
	}
	l := k.Lab()
	at := k.placeOf(l, now)
	g := k.goal(l, at.room, nil)
	if g == nil || (before != nil && g.failed(before, false)) == g.failed(now, false) {
		return
	}
	k.noteStop(l, at.room, now)
}

// noteStop tells the admin once that failures stop the wave of a room. last is the machine that
// failed last; nil = one of those that fell silent.
func (k *Keeper) noteStop(l *lab.Lab, room string, last *state.Machine) {
	k.waves.Lock() // counting and telling are one act
	defer k.waves.Unlock()
	g, failed, stopped := k.standing(l, room)
	if !stopped {
		delete(k.stopped, room)
		return
	}
	if k.stopped[room] == g.key() {
		return
	}
	k.stopped[room] = g.key()
	if last == nil {
		last = failed[len(failed)-1]
	}
	k.o.OnNote(fmt.Sprintf("room %s: the wave of %s version %d stopped, %d machines failed; the last one, %s: %s",
		room, g.Image, g.Version, len(failed), k.nameOf(last), g.why(last)))
}

// why says in a line why a machine counts as failed.
func (g *Goal) why(m *state.Machine) string {
	switch {
	case g.Fits(m.Attempt) && m.Attempt.Result == state.ResultFailed:
		return m.Attempt.Message
	case g.Fits(m.Attempt) && m.Attempt.Result == state.ResultOpen:
		return fmt.Sprintf("nothing is heard of it since it began at %s", m.Attempt.Started.UTC().Format("15:04 UTC"))
	case m.CheckIn.LastStart != "":
		return "Windows does not come up: " + m.CheckIn.LastStart
	}
	return "Windows does not come up"
}

// knowStops takes what has stopped by now as told: by the server that ran before, or by the admin
// who changed lab.yaml.
func (k *Keeper) knowStops() {
	l := k.Lab()
	k.waves.Lock()
	defer k.waves.Unlock()
	k.stopped = map[string]wave{}
	for _, room := range l.RoomNames() {
		if g, _, stopped := k.standing(l, room); stopped {
			k.stopped[room] = g.key()
		}
	}
}

// failures are the machines of a room that are known by their keys and failed at a goal, the last
// to be heard last.
func (k *Keeper) failures(room string, g *Goal) (failed []*state.Machine) {
	for _, m := range k.marked(room) {
		if k.isVouched(m.ID) && g.failed(m, k.fell(m)) {
			failed = append(failed, m)
		}
	}
	slices.SortFunc(failed, func(a, b *state.Machine) int { return a.Seen.Compare(b.Seen) })
	return failed
}
