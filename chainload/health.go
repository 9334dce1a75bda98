package chainload

import (
	"fmt"
	"slices"
	"time"

	"troy/internal/format"
)

// MaxStarts is how many hand-offs without a sign of health, within loopWindow, make a version
// that was never good a failing one.
const MaxStarts = 3

// maxUnwritten is how many such hand-offs are enough if Windows did not even write to the disk,
// by a way of handing over that is known to work on this machine.
const maxUnwritten = 2

// maxCounted bounds Health.Starts.
const maxCounted = 1000

// loopWindow is the time within which MaxStarts hand-offs count as a loop. A machine that comes
// back later was switched off by its user.
const loopWindow = 30 * time.Minute

// MayMerge is after how many starts that wrote to the boot child a version that is not failing may
// be merged without a sign of health, when the next version needs its slot.
const MayMerge = 3

// Health is what a machine remembers of its hand-offs from one start to the next. It is a value:
// Judge and the methods return a changed one, and the caller keeps it (as JSON). The zero value is
// a machine that was never handed over.
type Health struct {
	Version   string      `json:"version,omitempty"`   // handed over to last
	Starts    int         `json:"starts,omitempty"`    // hand-offs to it since its last sign of health
	Times     []time.Time `json:"times,omitempty"`     // of the last MaxStarts of them; zero: not known
	Unwritten int         `json:"unwritten,omitempty"` // hand-offs in a row after which nothing was written
	Wrote     int         `json:"wrote,omitempty"`     // starts at which it had written to the boot child
	Proven    bool        `json:"proven,omitempty"`    // it has given a sign of health
	Method    Method      `json:"method,omitempty"`    // of the last hand-off; empty: its outcome was judged already
	Worked    []Method    `json:"worked,omitempty"`    // Windows was seen to have run after these
	Ignored   []Method    `json:"ignored,omitempty"`   // the firmware took these, and left them where they were
	Doubted   []Method    `json:"doubted,omitempty"`   // nothing showed that Windows ran after these; the last maxDoubted
	Bad       []string    `json:"bad,omitempty"`       // versions that were given up, oldest first

	Unknown format.Unknown `json:",embed"`
}

// maxBad bounds Health.Bad.
const maxBad = 16

// maxDoubted is after how many hand-offs without a sign Windows is put first in BootOrder, if no
// way of handing over has worked yet. One may have been a switch at the mains.
const maxDoubted = 2

// ParseHealth reads what Marshal made. What cannot be read is nothing to stop
// for: the caller notes the error and goes on with the zero value.
func ParseHealth(b []byte) (Health, error) {
	var h Health
	if len(b) == 0 {
		return h, nil
	}
	if err := format.Unmarshal(b, &h); err != nil {
		return Health{}, fmt.Errorf("chainload: record of health: %w", err)
	}
	h.Starts = min(max(h.Starts, 0), maxCounted)
	h.Wrote = min(max(h.Wrote, 0), maxCounted)
	h.Unwritten = min(max(h.Unwritten, 0), maxUnwritten)
	h.Times = h.Times[max(0, len(h.Times)-MaxStarts):]
	h.Bad = h.Bad[max(0, len(h.Bad)-maxBad):]
	h.Doubted = h.Doubted[max(0, len(h.Doubted)-maxDoubted):]
	return h, nil
}

// Refuses tells whether a version was given up on this machine: it is not to be
// deployed again before Retried, which is an admin's order.
func (h Health) Refuses(version string) bool { return slices.Contains(h.Bad, version) }

// GivenUp returns h with the memory that a version was given up on this machine.
func (h Health) GivenUp(version string) Health {
	h.Bad = append(without(h.Bad, version), version)
	h.Bad = h.Bad[max(0, len(h.Bad)-maxBad):]
	return h
}

// Renewed returns h before a version is tried again, or after it was written as a whole: it is not
// given up any more, and its starts are counted from there.
func (h Health) Renewed(version string) Health {
	if h.Version == version {
		h = h.of("")
	}
	h.Bad = without(h.Bad, version)
	return h
}

// Retried returns h after an admin's order to try again: nothing is given up any more, and the
// starts of a version that was never good are counted anew.
func (h Health) Retried() Health {
	h.Bad = nil
	if !h.Proven {
		h = h.of("")
	}
	return h
}

// of returns h for another version, of which nothing is known.
func (h Health) of(version string) Health {
	h.Version, h.Starts, h.Times, h.Unwritten, h.Wrote, h.Proven = version, 0, nil, 0, 0, false
	return h
}

// HandedOff returns h after a HandOff to a version by a method. It is to be kept before Reset.
func (h Health) HandedOff(version string, m Method, now time.Time) Health {
	if version != h.Version {
		h = h.of(version)
	}
	h.Starts = min(h.Starts+1, maxCounted)
	h.Times = append(slices.Clone(h.Times), now.UTC().Round(0))
	h.Times = h.Times[max(0, len(h.Times)-MaxStarts):]
	h.Method = m
	return h
}

// Seen is what the agent finds when it is started.
type Seen struct {
	Version string    // that the machine would start
	Healthy bool      // a report from Windows, or its volume was closed in order since the last hand-off
	Ran     bool      // Windows has written since the last hand-off
	Untold  bool      // Windows ran, and whether its volume was closed in order cannot be told
	Blind   bool      // the disk could not be read, so that Healthy and Ran are not known
	Direct  int       // starts of Windows by GRUB since the last hand-off, without the agent (TakeDirect)
	Now     time.Time // zero: not known
	Left
}

// Verdict is what is known of the version on the disk.
type Verdict string

// Verdicts.
const (
	// Unknown: neither of the others; Messages say why. An unknown version starts every time.
	Unknown Verdict = ""
	// Good: Windows closed its volume in order after the last hand-off, or said so itself.
	Good Verdict = "good"
	// Failing: the version was never good on this machine, and MaxStarts hand-offs within
	// loopWindow came to nothing; or two, if the boot child was not written at all.
	Failing Verdict = "failing"
)

// Judgement is what Judge makes of a start.
type Judgement struct {
	Health   Health // as it is now; to be kept
	Verdict  Verdict
	Methods  []Method // for Options.Methods
	worked   Method   // by which the last hand-off came to Windows; empty: not known, or it did not
	Without  string   // why Windows was, or may have been, started without the agent; empty: no sign of it
	Messages []string // one line each, for the screen and the report
}

func (d *Judgement) say(format string, args ...any) {
	d.Messages = append(d.Messages, fmt.Sprintf(format, args...))
}

// Judge decides at a start of the agent, after the disk was recovered and before anything is
// deployed, what became of the last hand-off. It is pure: the same arguments give the same result.
func Judge(h Health, s Seen) Judgement {
	h.Worked, h.Ignored, h.Bad = slices.Clone(h.Worked), slices.Clone(h.Ignored), slices.Clone(h.Bad)
	h.Times, h.Doubted = slices.Clone(h.Times), slices.Clone(h.Doubted)
	d := Judgement{Health: h}
	if s.Direct > 0 {
		d.say("direct starts of Windows since the last hand-off, without the agent: %d", s.Direct)
	}
	d.judgeWithout(s)
	d.judgeMethod(s)
	d.judgeVersion(s)
	d.Health.Method = ""
	d.Methods = d.Health.methods()
	return d
}

// judgeWithout finds out whether Windows was started by somebody else than the agent.
func (d *Judgement) judgeWithout(s Seen) {
	m, why := d.Health.Method, ""
	switch {
	case !s.Ran || !s.Firmware:
	case m == "":
		why = "no hand-off was made since its last start was seen"
	case m == ByBootNext && s.BootNext && s.Direct == 0:
		why = "BootNext was not used"
	case m == ByBootOrder:
		why = "it comes first in the boot order since the last hand-off"
	case s.Behind:
		why = "it comes before the agent in the boot order"
	}
	if why != "" {
		d.Without = "Windows ran, or may have run, without the agent: " + why
		d.say("%s", d.Without)
	}
}

// judgeMethod finds out whether the last hand-off reached Windows.
func (d *Judgement) judgeMethod(s Seen) {
	h, m := &d.Health, d.Health.Method
	left := m == ByBootNext && s.BootNext || m == ByGRUB && s.GRUB
	switch {
	case m == "":
	case (s.Ran || s.Healthy) && !(left && s.Direct > 0): // else it ran by the direct starts alone
		d.worked = m
		h.Ignored, h.Doubted = without(h.Ignored, m), without(h.Doubted, m)
		if m == ByBootOrder {
			h.Doubted = nil // this start is a new chance: a person brought the agent back
		}
		h.Worked = append(without(h.Worked, m), m)
		d.say("the last hand-off worked, by %s", m)
	case left:
		// Windows had no chance, so it is not to blame.
		h.Ignored = append(without(h.Ignored, m), m)
		h.Worked = without(h.Worked, m)
		h.Starts = max(0, h.Starts-1)
		h.Times = h.Times[:max(0, len(h.Times)-1)]
		d.say("the firmware ignored %s: it is still set; another way to start Windows comes first now", m)
	case s.Blind:
	case m != ByBootOrder && !slices.Contains(h.Worked, m):
		h.Doubted = append(h.Doubted, m)
		h.Doubted = h.Doubted[max(0, len(h.Doubted)-maxDoubted):]
		d.say("nothing shows that Windows ran after the hand-off by %s, which never worked here before", m)
	default:
		h.Unwritten = min(h.Unwritten+1, maxUnwritten)
		d.say("nothing shows that Windows ran after the hand-off by %s", m)
	}
}

// judgeVersion counts, and gives the verdict.
func (d *Judgement) judgeVersion(s Seen) {
	h := &d.Health
	if s.Blind {
		return
	}
	if s.Version != h.Version { // another program changed it, or nothing is remembered
		*h = h.of(s.Version)
	}
	if s.Ran {
		h.Unwritten, h.Wrote = 0, min(h.Wrote+1, maxCounted)
	}
	switch {
	case s.Healthy:
		h.Starts, h.Times, h.Unwritten, h.Proven = 0, nil, 0, true
		h.Bad = without(h.Bad, s.Version)
		d.Verdict = Good
	case s.Ran && s.Untold: // no start counts against a version that cannot show its health
		h.Starts, h.Times = 0, nil
		d.say("version %s ran, but its volume cannot be read: whether it is healthy is not known", s.Version)
	case h.Proven && h.Starts == 0:
		d.Verdict = Good
	case h.Proven: // what was good once is not to blame
		d.say("version %s was healthy before; starts without a sign of health since: %d", s.Version, h.Starts)
	case h.Starts >= MaxStarts && h.loops(s.Now):
		d.Verdict = Failing
		d.say("version %s was started %d times without a sign of health", s.Version, h.Starts)
	case h.Starts >= maxUnwritten && h.Unwritten >= maxUnwritten:
		d.Verdict = Failing
		d.say("version %s was started %d times without a sign of health, and Windows wrote nothing", s.Version, h.Starts)
	case h.Starts > 0:
		d.say("version %s has given no sign of health yet; starts: %d", s.Version, h.Starts)
	}
}

// loops tells whether the last MaxStarts hand-offs came within loopWindow. Where the clock was not
// known, or jumped, they count as they came, in a row.
func (h *Health) loops(now time.Time) bool {
	if len(h.Times) < MaxStarts {
		return false
	}
	for i, t := range append(slices.Clone(h.Times), now) {
		if t.IsZero() || i > 0 && t.Before(h.Times[i-1]) {
			return true
		}
	}
	return h.Times[len(h.Times)-1].Sub(h.Times[0]) <= loopWindow
}

// methods returns all methods, the one to try first at the head: those of which nothing bad is
// known, those that showed no sign, Windows first in BootOrder (the agent does not start again by
// itself then), and those that the firmware ignored. After maxDoubted hand-offs without a sign
// BootOrder comes earlier: Windows is to start.
func (h *Health) methods() []Method {
	rank := func(m Method) int {
		switch {
		case slices.Contains(h.Ignored, m):
			return 4
		case m == ByBootOrder:
			return 2
		case !slices.Contains(h.Doubted, m):
			return 0
		case len(h.Doubted) < maxDoubted:
			return 1
		}
		return 3
	}
	all := allMethods()
	slices.SortStableFunc(all, func(a, b Method) int { return rank(a) - rank(b) })
	return all
}

// without returns a new list that lacks x.
func without[T comparable](list []T, x T) []T {
	return slices.DeleteFunc(slices.Clone(list), func(y T) bool { return x == y })
}
