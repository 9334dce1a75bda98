package chainload

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// MaxStarts is how often a version is started without a sign of health before
// something else is tried.
const MaxStarts = 3

// loopWindow is the time within which a machine that comes back counts as one
// that loops, if its version was healthy before. One that comes back later was
// switched off by somebody.
const loopWindow = 10 * time.Minute

// Health is what a machine remembers of its hand-offs from one start to the
// next. It is a value: Plan and HandedOff return a changed one, and the caller
// keeps it (as JSON). The zero value is a machine that was never handed over.
type Health struct {
	Version string    `json:"version,omitempty"` // handed over to last
	Starts  int       `json:"starts,omitempty"`  // hand-offs to it since its last sign of health
	Proven  bool      `json:"proven,omitempty"`  // it has given a sign of health
	Method  Method    `json:"method,omitempty"`  // of the last hand-off; empty: its outcome was judged already
	At      time.Time `json:"at,omitzero"`       // of the last hand-off
	Worked  []Method  `json:"worked,omitempty"`  // Windows was seen to have run after these
	Ignored []Method  `json:"ignored,omitempty"` // the firmware took these, and Windows did not run
	Bad     []string  `json:"bad,omitempty"`     // versions that were given up, oldest first
}

// maxBad bounds Health.Bad.
const maxBad = 16

// ParseHealth reads what Marshal made. What cannot be read is nothing to stop
// for: the caller notes the error and goes on with the zero value.
func ParseHealth(b []byte) (Health, error) {
	var h Health
	if len(b) == 0 {
		return h, nil
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return Health{}, fmt.Errorf("chainload: record of health: %w", err)
	}
	h.Starts = min(max(h.Starts, 0), MaxStarts)
	h.Bad = h.Bad[max(0, len(h.Bad)-maxBad):]
	return h, nil
}

// Refuses tells whether a version was given up on this machine: it is not to be
// deployed again before Forget, which is an admin's order.
func (h Health) Refuses(version string) bool { return slices.Contains(h.Bad, version) }

// Forget returns h without the memory that a version was given up.
func (h Health) Forget(version string) Health {
	h.Bad = without(h.Bad, version)
	return h
}

// Renewed returns h after a version was written anew as a whole: it is not given up any more, and its starts are counted from there.
func (h Health) Renewed(version string) Health {
	h.Version, h.Starts, h.Proven = "", 0, false
	return h.Forget(version)
}

// HandedOff returns h after a HandOff to a version by a method. It is to be kept
// before Reset.
func (h Health) HandedOff(version string, m Method, now time.Time) Health {
	if version != h.Version {
		h.Version, h.Starts, h.Proven = version, 0, false
	}
	h.Starts = min(h.Starts+1, MaxStarts)
	h.Method, h.At = m, now
	return h
}

// Seen is what the agent finds when it is started.
type Seen struct {
	Version  string    // that the machine would start
	Previous string    // to which it can still go back; empty: none
	Healthy  bool      // a report from Windows, or its volume was dismounted in order since the last hand-off
	Ran      bool      // Windows has written since the last hand-off
	Blind    bool      // the disk could not be read, so that Healthy and Ran are not known: nothing is given up
	Now      time.Time // zero: not known
	Left
}

// Action is what a start of the agent is to do.
type Action string

// Actions.
const (
	Go       Action = "go"        // hand over, after any new version was deployed
	RollBack Action = "roll back" // to Seen.Previous first, then hand over
	Stop     Action = "stop"      // do not hand over: say so, report, and wait for a person
)

// Decision is what Plan makes of a start.
type Decision struct {
	Health   Health // as it is now; to be kept
	Action   Action
	Methods  []Method // for Options.Methods
	worked   Method   // by which the last hand-off came to Windows; empty: not known, or it did not
	Messages []string // one line each, for the screen and the report
}

func (d *Decision) say(format string, args ...any) {
	d.Messages = append(d.Messages, fmt.Sprintf(format, args...))
}

// Plan decides at a start of the agent, before anything is deployed, what
// became of the last hand-off and what is to be done now. It is pure: the same
// arguments give the same decision. When a roll-back is decided and fails, Plan
// is called again with the same Health and Seen.Previous empty.
func Plan(h Health, s Seen) Decision {
	h.Worked, h.Ignored, h.Bad = slices.Clone(h.Worked), slices.Clone(h.Ignored), slices.Clone(h.Bad)
	d := Decision{Health: h, Action: Go}
	d.judgeMethod(s)
	d.judgeVersion(s)
	d.Health.Method = ""
	d.Methods = d.Health.methods()
	return d
}

// judgeMethod finds out whether the last hand-off reached Windows.
func (d *Decision) judgeMethod(s Seen) {
	h, m := &d.Health, d.Health.Method
	left := m == ByBootNext && s.BootNext || m == ByGRUB && s.GRUB
	switch {
	case m == "":
	case s.Ran || s.Healthy:
		d.worked = m
		h.Ignored = without(h.Ignored, m)
		h.Worked = append(without(h.Worked, m), m)
		d.say("the last hand-off worked, by %s", m)
	case left:
		// Windows had no chance, so it is not to blame.
		h.Ignored = append(without(h.Ignored, m), m)
		h.Worked = without(h.Worked, m)
		h.Starts = max(0, h.Starts-1)
		d.say("the firmware ignored %s: it is still set; another way to start Windows comes first now", m)
	case !s.Blind && m != ByBootOrder && !slices.Contains(h.Worked, m):
		h.Ignored = append(without(h.Ignored, m), m)
		d.say("nothing shows that Windows ran after the hand-off by %s, which never worked here before; another way comes first now", m)
	case s.Blind:
	default:
		d.say("nothing shows that Windows ran after the hand-off by %s", m)
	}
}

// judgeVersion counts, and gives a version up.
func (d *Decision) judgeVersion(s Seen) {
	h := &d.Health
	switch {
	case s.Version != h.Version && !s.Blind: // somebody else changed it
		h.Version, h.Starts, h.Proven = s.Version, 0, false
	case s.Healthy:
		h.Starts, h.Proven = 0, true
	case h.Proven && s.Ran && h.switchedOff(s.Now):
		h.Starts = max(0, h.Starts-1)
	}
	if h.Starts < MaxStarts || s.Blind {
		return
	}
	if s.Previous != "" && s.Previous != s.Version && !h.Refuses(s.Previous) {
		d.Action = RollBack
		h.Bad = append(without(h.Bad, s.Version), s.Version)
		h.Bad = h.Bad[max(0, len(h.Bad)-maxBad):]
		d.say("version %s was started %d times without a sign of health: going back to %s; it is not tried again here without an order", s.Version, h.Starts, s.Previous)
		return
	}
	d.Action = Stop
	d.say("version %s was started %d times without a sign of health, and there is no version to go back to: it is not started again by itself; switch the machine off and on for one more try", s.Version, h.Starts)
	h.Starts = MaxStarts - 1 // the next start, by a person, is one more try
}

// switchedOff tells whether the machine came back so late that it did not loop.
func (h *Health) switchedOff(now time.Time) bool {
	return !now.IsZero() && !h.At.IsZero() && now.Sub(h.At) >= loopWindow
}

// methods returns all methods: those that were not seen to fail first.
func (h *Health) methods() []Method {
	var good, bad []Method
	for _, m := range allMethods() {
		if slices.Contains(h.Ignored, m) {
			bad = append(bad, m)
		} else {
			good = append(good, m)
		}
	}
	return append(good, bad...)
}

// without returns a new list that lacks x.
func without[T comparable](list []T, x T) []T {
	return slices.DeleteFunc(slices.Clone(list), func(y T) bool { return x == y })
}
