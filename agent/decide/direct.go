package decide

import (
	"troy/chainload"
	"troy/server/protocol"
)

// direct tells whether GRUB may give the next starts to Windows without this agent: the room wants
// it, this version is good on this machine, and nothing is left that a start of the agent would do.
func direct(f *Facts) bool {
	s, rule := f.Disk.State, f.Memo.Starts
	if f.Order != nil {
		rule = f.Order.Rules.Starts // the machine may be forgotten: then it shows its code
	}
	switch {
	case rule != protocol.StartsDirect || f.reset() != protocol.ResetUpdate:
		return false // R is pressed on the agent's page
	case !f.Installed || f.OnTrial || f.Renewed || f.Done.did(Confirm) || f.Method == chainload.ByBootOrder:
		return false
	case !f.free() || f.Verdict != chainload.Good || f.Judged != f.current() || !f.proven():
		return false
	case s.Layers > 0 || s.Staged > 0 || s.Merging || s.Merged:
		return false
	case f.Order != nil && f.Order.Wait > 0 || !Satisfied(f) || !settled(f):
		return false
	}
	o := Judged(f).Outcome
	return Unreached(f) || o == protocol.OutcomeKept || o == protocol.OutcomeDone
}

// allowDirect comes last: what the journal says was written before, and a start that is cut off
// here has the agent come next.
func allowDirect(f *Facts) *Step {
	if !f.Memo.Direct || !f.Done.succeeded(Count) || !f.Done.may(Direct) {
		return nil
	}
	return &Step{Kind: Direct, Reason: "the rule of the room is starts: direct, and there is nothing to do"}
}
