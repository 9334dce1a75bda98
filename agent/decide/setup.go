package decide

import (
	"cmp"
	"fmt"
)

// endSetup does what the admin says of a setup that has not run to its end, if the disk still holds
// the version that the order is about.
func endSetup(f *Facts) *Step {
	s := f.Disk.State
	if f.Order == nil || f.Order.EndSetup == nil || f.Order.Refused != "" || f.Order.Wait > 0 || !f.Memo.Marks.Setup || f.Disk.Condition != Opened ||
		!f.admitted() || !f.recovered() || s.Reinstalling {
		return nil
	}
	o := f.Order.EndSetup
	step := &Step{Kind: EndSetup, Reason: "the admin says that it is over"}
	if o.Leave {
		step = &Step{Kind: LeaveSetup, Reason: "the admin discards what it has done"}
	}
	if o.ID == f.EndedSetup || o.Of.Image != s.Image || o.Of.Version != s.Version || o.Of.Manifest != s.Manifest || !f.Done.may(step.Kind) {
		return nil
	}
	return step
}

// leaves tells whether the setup of the version on the disk was left in this start for another
// version. Without one it begins again, and is kept like the first time.
func leaves(f *Facts) bool { return f.Done.did(LeaveSetup) && f.want() != nil && !Satisfied(f) }

// keeps says why a marked machine does not get what is wanted, and what ends that.
func keeps(f *Facts) string {
	why := f.marked()
	if f.Memo.Marks.Setup && !f.Memo.Marks.Golden {
		name := cmp.Or(f.Order.Name, "HOST")
		why = fmt.Sprintf("%s: wait for it, or run `troy hosts set-up %s`, or `troy hosts discard-setup %s` to discard what it has done", why, name, name)
	}
	return why
}
