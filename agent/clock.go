package agent

import (
	"time"

	"troy/netfetch"
)

// keptClock is what the journal keeps of a server's clock for starts without a server.
type keptClock struct {
	Offset   int64     `json:"offset,omitempty"`  // nanoseconds, to be added to the machine's clock
	Answered time.Time `json:"answered,omitzero"` // when a server last told the time, by its clock
}

// keptLife is how long after the last answer a time is still plausible.
const keptLife = 365 * 24 * time.Hour

// clock is the time, for two purposes. Signatures and certificates are judged by the bounded one,
// which nobody on the network can move far. Windows of the room, holds and the health of Windows go
// by the server's clock: a machine whose own is days off keeps the room's hours all the same.
type clock struct {
	bounded *netfetch.Clock
	sure    bool             // the bounded one is believed
	machine func() time.Time // the machine's clock
	kept    keptClock

	told   time.Time // by a server in this start; zero: not yet
	toldAt time.Time // by the kernel's monotonic clock
}

func newClock(built time.Time, machine func() time.Time) clock {
	c := clock{bounded: netfetch.NewClock(built, machine), machine: machine}
	c.sure = c.bounded.Now().Sub(machine().Round(0)).Abs() < time.Second
	return c
}

// hear takes the time that a server told.
func (c *clock) hear(t time.Time) {
	if t.IsZero() {
		return
	}
	c.told, c.toldAt = t, time.Now()
	c.kept = keptClock{Offset: int64(t.Sub(c.machine().Round(0))), Answered: t.UTC()}
}

// now gives the time by the server's clock. Without a server it is the machine's with the offset
// that was kept; sure is false where that cannot be right.
func (c *clock) now() (t time.Time, sure bool) {
	if !c.told.IsZero() {
		return c.told.Add(time.Since(c.toldAt)), true
	}
	if c.kept.Answered.IsZero() {
		return c.bounded.Now(), c.sure
	}
	t = c.machine().Round(0).Add(time.Duration(c.kept.Offset))
	if t.Before(c.kept.Answered) || t.After(c.kept.Answered.Add(keptLife)) {
		return c.bounded.Now(), false
	}
	return t, true
}
