package decide

import "time"

// blocked tells whether Windows must not, or cannot, be started now.
func blocked(f *Facts) bool {
	return f.Unsupported != "" || f.InUse || f.Renewed || f.unbootable() || f.unsafe()
}

// pause comes before a version that does not come up, and for which there is nothing to go back to,
// is started all the same: no machine with a version on its disk is left off.
func pause(f *Facts) *Step {
	if blocked(f) || !f.failing() || !f.Done.may(Pause) {
		return nil
	}
	pause := FirstPause
	for range min(max(0, f.Memo.Health.Starts-3), 8) {
		pause = min(2*pause, MaxPause)
	}
	return &Step{Kind: Pause, Pause: pause, Reason: "Windows does not come up in this version, and there is no version to go back to"}
}

func handOff(f *Facts) *Step {
	if blocked(f) || !f.Done.may(HandOff) {
		return nil
	}
	return &Step{Kind: HandOff, Reason: "the next start is Windows"}
}

func report(f *Facts) *Step {
	if f.Order == nil || !f.Done.may(Report) {
		return nil
	}
	return &Step{Kind: Report, Reason: "tell the server how it ended"}
}

// confirm keeps an agent that came up and reported, whatever is started next.
func confirm(f *Facts) *Step {
	if !f.OnTrial || f.refused() != "" || !f.Done.did(Report) || f.Done.failed(Report) || !f.Done.may(Confirm) {
		return nil
	}
	return &Step{Kind: Confirm, Reason: "this agent came up and reported"}
}

// countStart notes the hand-off before it is made.
func countStart(f *Facts) *Step {
	if blocked(f) || f.Done.failed(HandOff) || f.Disk.Condition != Opened || !f.admitted() || !f.Done.may(Count) {
		return nil
	}
	m := f.Memo
	now := f.Now
	if f.ClockUnsure {
		now = time.Time{}
	}
	m.Health, m.Direct = m.Health.HandedOff(f.current(), f.Method, now), direct(f)
	return &Step{Kind: Count, Memo: &m, Reason: "the next start judges this one"}
}

// end is how the start ends.
func end(f *Facts) Step {
	switch {
	case f.Unsupported != "":
		return Step{Kind: Stay, Reason: f.Unsupported}
	case f.InUse:
		return Step{Kind: Stay, Reason: "the machine is in use"}
	case f.unsafe():
		return Step{Kind: Again, Pause: AgainAfter, Reason: "the disk holds a change that is half done"}
	case f.Renewed:
		return Step{Kind: Restart, Reason: "starting the new agent"}
	case f.unbootable():
		return Step{Kind: Again, Pause: AgainAfter, Reason: "there is no Windows on this disk until the reinstallation is finished"}
	case f.Done.failed(HandOff):
		return Step{Kind: Again, Pause: AgainAfter, Reason: "Windows cannot be started"}
	}
	return Step{Kind: Windows, Reason: "all is done"}
}

// Waits tells whether nothing can be started before what stopped the start is mended.
func Waits(f *Facts) bool { return f.unbootable() || f.unsafe() }
