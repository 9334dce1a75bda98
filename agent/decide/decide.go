package decide

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"troy/server/protocol"
)

const (
	// MaxWaiting is how long a server may make a machine wait in one start, and MaxUnattended where
	// nobody waits for Windows: whatever a server says, it starts then.
	MaxWaiting, MaxUnattended = 5 * time.Minute, time.Hour
	// EarlyMerge is how long a start merges before the server has said how much time there is:
	// a user may be waiting for the machine.
	EarlyMerge = 30 * time.Second
	// FirstPause and MaxPause bound the pause before a failing version is started: it doubles.
	FirstPause, MaxPause = 10 * time.Second, 2 * time.Minute
	// MaxHold is how long a hold lasts at most: whoever ordered it may have forgotten it.
	MaxHold = 7 * 24 * time.Hour
	// AgainAfter is how long a machine that can start nothing waits before it tries again.
	AgainAfter = 60 * time.Second
)

// maxSteps bounds a list; no start needs as many.
const maxSteps = 64

// Decide says what is to be done from here on, in order and with the reason. The list is never
// empty. It ends with the step that ends the start, or with one whose result has to be known first.
// The caller does the first step, adds its result and what it found to the facts, and asks again.
func Decide(f Facts) []Step {
	var steps []Step
	for len(steps) < maxSteps {
		s := next(&f)
		steps = append(steps, s)
		if s.Final() || s.Kind.discovers() {
			break
		}
		f = assume(f, s)
	}
	return steps
}

// next asks the rules in their order. The first that gives a step decides.
func next(f *Facts) Step {
	for _, rule := range [...]func(*Facts) *Step{
		openDisk, recoverDisk, judge,
		goBack, mergeEarly,
		connect, checkIn, keepRules, endSetup, tryAgain,
		provision, finishReinstall, heal, verify, adopt, reinstall, deploy,
		bootFiles, mergeRest, want, resetSession, renew, personalise, ownAgent,
		pause, handOff, report, confirm, countStart, allowDirect,
	} {
		if s := rule(f); s != nil {
			return *s
		}
	}
	return end(f)
}

func openDisk(f *Facts) *Step {
	if f.Done.fresh() && !(f.unsafe() && f.Disk.Condition != Opened && f.Done.opens() < 2) {
		return nil
	}
	s := &Step{Kind: Open, Reason: "find out what the disk holds"}
	if n := len(f.Done); n > 0 {
		last := f.Done[n-1]
		s.Reason = fmt.Sprintf("opening the disk again after %s", last.Step)
		if last.Err != nil {
			s.Reason = fmt.Sprintf("%s failed; opening the disk again first", last.Step)
		}
	}
	return s
}

// recoverDisk finishes what an earlier start, or a step of this one, left half done.
func recoverDisk(f *Facts) *Step {
	if f.Unsupported != "" || f.Disk.Condition != Opened || f.recovered() || !f.Done.may(Recover) {
		return nil
	}
	return &Step{Kind: Recover, Reason: "finish interrupted work before anything is judged or started"}
}

func judge(f *Facts) *Step {
	if !f.admitted() || !f.recovered() || f.Done.did(Judge) {
		return nil
	}
	return &Step{Kind: Judge, Reason: "find out how the last hand-off ended"}
}

// goBack gives up a version that does not come up, where the one below is still on the disk. That
// it is given up is in the journal first: a start that is cut off here goes on with the rollback.
func goBack(f *Facts) *Step {
	s := f.Disk.State
	if !f.free() || s.Previous == 0 {
		return nil
	}
	h := f.Memo.Health
	given := h.Refuses(f.current())
	if !given && !f.failing() || h.Refuses(below(f)) {
		return nil
	}
	why := fmt.Sprintf("%s version %d was started several times without a sign of health: rolling back to version %d; order it again to retry",
		s.Image, s.Version, s.Previous)
	if !given && f.Done.may(Note) {
		m := f.Memo
		m.Health = h.GivenUp(f.current())
		return &Step{Kind: Note, Memo: &m, Reason: why}
	}
	if !f.Done.may(Rollback) {
		return nil
	}
	return &Step{Kind: Rollback, Image: s.Image, Version: s.Previous, Reason: why}
}

// mergeEarly goes on with a merge, or begins one, while the network comes up later.
func mergeEarly(f *Facts) *Step {
	if !f.free() || !f.mergeable() || f.Done.did(Merge) || f.Done.did(Connect) {
		return nil
	}
	why := "a merge was begun"
	if !f.Disk.State.Merging && !f.Disk.State.Merged {
		why = fmt.Sprintf("version %d was seen healthy", f.Disk.State.Version)
	}
	return &Step{Kind: Merge, Until: f.Now.Add(EarlyMerge), Reason: why}
}

// checkIn asks the server, and again as long as it makes the machine wait.
func checkIn(f *Facts) *Step {
	if f.Done.failed(Connect) || !f.Done.may(CheckIn) || !f.Done.may(Wait) {
		return nil
	}
	if f.Order == nil {
		return &Step{Kind: CheckIn, Reason: "ask which version this machine gets"}
	}
	if f.Order.Wait == 0 {
		return nil
	}
	if f.Done.since(Wait, CheckIn) {
		return &Step{Kind: CheckIn, Reason: "the wait is over"}
	}
	pause := time.Duration(f.Order.Wait) * time.Second
	left := MaxWaiting - f.Done.waited()
	if unattended(f) {
		left += MaxUnattended - MaxWaiting
	}
	if pause > left {
		return nil
	}
	return &Step{Kind: Wait, Pause: pause, Reason: fmt.Sprintf("the server asks for it%s; Windows starts in %.0f min at the latest", because(f.Order), left.Minutes())}
}

// unattended tells whether this start is not one of a person: the network switched the machine on,
// or a window is open that an earlier order had announced. (A room that may always be worked on is
// no sign of that.)
func unattended(f *Facts) bool {
	if f.Woken {
		return true
	}
	return !f.ClockUnsure && slices.ContainsFunc(f.Memo.Link.Windows, func(w protocol.Weekly) bool {
		return w.Minutes < protocol.MaxMinutes && w.Holds(f.Now)
	})
}

func because(o *protocol.Order) string {
	if o == nil || o.Reason == "" {
		return ""
	}
	return ": " + o.Reason
}

// keepRules keeps the rules of the room for starts without a server.
func keepRules(f *Facts) *Step {
	if f.Order == nil || f.Order.Code != "" || f.Order.Refused != "" || !f.admitted() || !f.Done.may(Note) {
		return nil
	}
	m, rule, link, shown := f.Memo, f.Order.Rules.Reset, linkOf(&f.Order.Rules), ShownBy(f.Order)
	starts := f.Order.Rules.Starts
	if starts == protocol.StartsAgent {
		starts = ""
	}
	shown.Unknown = m.Shown.Unknown
	if rule == "" {
		rule = protocol.ResetUpdate
	}
	var why string
	switch {
	case f.reset() != rule:
		why = "the rule of the room is now reset: " + string(rule)
	case m.Starts != starts:
		why = "the rule of the room is now starts: " + cmp.Or(string(starts), string(protocol.StartsAgent))
	case !m.Link.equals(&link):
		why = "the room has other windows, or another patience with the network"
	case !m.Shown.equals(&shown):
		why = "the machine has another name, room or contact"
	default:
		return nil
	}
	m.Reset, m.Starts, m.Link, m.Shown = rule, starts, link, shown
	return &Step{Kind: Note, Memo: &m, Reason: why}
}

// tryAgain takes back that versions were given up, whatever else the order says. It is in the
// journal before anything is written.
func tryAgain(f *Facts) *Step {
	if f.Order == nil || !f.Order.Permits.Retry || !f.admitted() || !f.Done.may(TryAgain) {
		return nil
	}
	m := f.Memo
	if len(m.Health.Bad) == 0 && !f.failing() {
		return nil
	}
	m.Health = m.Health.Retried()
	return &Step{Kind: TryAgain, Memo: &m, Reason: "the server permits another try of what was given up here"}
}
