package rooms

import (
	"fmt"

	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/state"
)

// failed says whether a machine counts as one that failed at this goal: it could not be brought
// there, it went back, or Windows does not come up in it.
func (g *Goal) failed(m *state.Machine) bool {
	if m.CheckIn.Image == g.Image && m.CheckIn.Version == g.Version && m.CheckIn.Health == protocol.HealthFailing {
		return true
	}
	return g.Fits(m.Attempt) && m.Attempt.Result == state.ResultFailed && !m.Attempt.Refused
}

// suspect says whether a machine, which may be nil, may have failed at any goal.
func suspect(m *state.Machine) bool {
	return m != nil && (m.CheckIn.Health == protocol.HealthFailing || m.Attempt != nil && m.Attempt.Result == state.ResultFailed)
}

// judged returns what the last attempt of a machine comes to by its check-in: a try that had
// brought it to the goal has failed if the machine went back by itself since. (The next thing that
// it could say is a report, and until then others would begin.)
func (c *Case) judged(a *state.Attempt) *state.Attempt {
	if c.Goal == nil || !c.Goal.Fits(a) || !wentBack(a, c.CheckIn) {
		return a
	}
	b := *a
	b.Ended, b.Result, b.GivenUp = c.Now, state.ResultFailed, true
	b.Message = fmt.Sprintf("version %d was given up, version %d is back; order it again to retry", a.Version, c.CheckIn.Version)
	return &b
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

// wave names what a room is brought to.
type wave struct {
	id      uint64
	image   string
	version int
}

func (g *Goal) key() wave { return wave{g.ID, g.Image, g.Version} }

// standing returns the goal of a room with the number of machines that failed at it, and whether
// these stop it. g is nil if nothing is promoted.
func (k *Keeper) standing(l *lab.Lab, room string) (g *Goal, failed int, stopped bool) {
	p, ok := l.Room(room)
	if g = k.goal(l, room, nil); !ok || g == nil {
		return nil, 0, false
	}
	failed = k.failures(room, g)
	return g, failed, failed >= int(p.Failures)
}

// noteStop tells the admin when a machine was the one that stops the wave of its room, once: before
// and now are the machine's states around what it said.
func (k *Keeper) noteStop(before, now *state.Machine) {
	if !suspect(before) && !suspect(now) || !k.isVouched(now.ID) {
		return
	}
	l := k.Lab()
	at := k.placeOf(l, now)
	g := k.goal(l, at.room, nil)
	if g == nil || (before != nil && g.failed(before)) == g.failed(now) {
		return
	}
	k.waves.Lock() // counting and telling are one act
	defer k.waves.Unlock()
	g, n, stopped := k.standing(l, at.room)
	if g == nil || !stopped {
		delete(k.stopped, at.room)
		return
	}
	if k.stopped[at.room] == g.key() {
		return
	}
	k.stopped[at.room] = g.key()
	k.o.OnNote(fmt.Sprintf("room %s: the wave of %s version %d stopped, %d machines failed; the last one, %s: %s",
		at.room, g.Image, g.Version, n, at.name, g.why(now)))
}

// why says in a line why a machine counts as failed.
func (g *Goal) why(m *state.Machine) string {
	if g.Fits(m.Attempt) && m.Attempt.Result == state.ResultFailed {
		return m.Attempt.Message
	}
	if m.CheckIn.LastStart != "" {
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

func (k *Keeper) failures(room string, g *Goal) (n int) {
	for _, m := range k.vouchedIn(room) {
		if g.failed(m) {
			n++
		}
	}
	return n
}
