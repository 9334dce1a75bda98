package decide

import (
	"fmt"

	"troy/chainload"
	"troy/server/protocol"
)

// planned tells whether going to a version by a step was planned and is allowed; if it was not
// planned yet, plan is the step that does.
func planned(f *Facts, k Kind, image string, version int) (ok bool, plan *Step) {
	starts := k == Reinstall && boots(f)
	if p := f.Planned; p != nil && p.For == k && p.Image == image && p.Version == version && p.Boots == starts {
		return p.allowed(), nil
	}
	for _, r := range f.Done {
		if s := r.Step; s.Kind == Plan && s.For == k && s.Image == image && s.Version == version && s.Boots == starts {
			return false, nil // it failed, or something else was planned since
		}
	}
	return false, &Step{Kind: Plan, For: k, Image: image, Version: version, Boots: starts, Reason: "ask the store for the plan before anything is written"}
}

// provision makes a disk of a machine that has none of Troy's, or one for a smaller disk than the
// version that is wanted: the latter is as any disk that holds something.
func provision(f *Facts) *Step {
	w := f.want()
	if w == nil || f.late() || f.Order.Permits.Provision == nil || !f.Done.fresh() || f.Unsupported != "" || !f.Done.may(Provision) {
		return nil
	}
	why := "this machine has no Troy disk, and the room permits provisioning"
	switch {
	case outgrown(f) && f.free() && f.Order.Permits.Provision.Erases():
		why = "this machine was made for a smaller disk, and a permit to wipe it is signed"
	case f.Disk.Condition != Missing:
		return nil
	}
	ok, plan := planned(f, Provision, w.Image, w.Version)
	if !ok {
		return plan
	}
	return &Step{Kind: Provision, Image: w.Image, Version: w.Version, Reason: why}
}

// outgrown tells whether a plan for what is wanted found that it is larger than the machine's disk
// was made for.
func outgrown(f *Facts) bool {
	w, p := f.want(), f.Planned
	return w != nil && p != nil && p.Outgrew && p.Image == w.Image && p.Version == w.Version && f.Disk.Condition == Opened
}

// finishReinstall ends what was begun: until then the machine boots nothing. Another version may be
// wanted by now; where that is refused, the one that was begun, which was permitted, is finished.
// No session is left that a mark could keep.
func finishReinstall(f *Facts) *Step {
	s := f.Disk.State
	if !f.unbootable() || !f.admitted() || f.Order == nil || f.Done.failed(Reinstall) || !f.Done.may(Reinstall) {
		return nil
	}
	if w := f.want(); w != nil && !w.Is(s.ReinstallImage, s.ReinstallVersion, s.ReinstallManifest) {
		ok, plan := planned(f, Reinstall, w.Image, w.Version)
		if plan != nil {
			return plan
		}
		if ok {
			return &Step{Kind: Reinstall, Image: w.Image, Version: w.Version, Reason: "a reinstall was interrupted, and this version is wanted now"}
		}
	}
	if s.ReinstallImage == "" || s.ReinstallVersion == 0 {
		return nil
	}
	ok, plan := planned(f, Reinstall, s.ReinstallImage, s.ReinstallVersion)
	if plan != nil {
		plan.Begun = true
		return plan
	}
	if !ok {
		return nil
	}
	return &Step{Kind: Reinstall, Image: s.ReinstallImage, Version: s.ReinstallVersion, Begun: true, Reason: "a reinstall was interrupted; nothing starts until it is finished"}
}

func heal(f *Facts) *Step {
	if f.Disk.Condition != ParentChanged || !f.admitted() || f.Order == nil || f.marked() != "" || !f.Done.may(Heal) {
		return nil
	}
	return &Step{Kind: Heal, Reason: "base.vhdx was opened read-write elsewhere: Windows cannot start from it until it has been compared"}
}

// whole says why the version on the disk cannot be brought to the one that is wanted by what
// changed; "" = it can, or nothing is wanted.
func whole(f *Facts) string {
	w, s := f.want(), f.Disk.State
	switch {
	case w == nil || !f.admitted() || s.Reinstalling:
		return ""
	case f.Disk.Condition == Damaged, f.Disk.Condition == ParentChanged && (f.Done.did(Heal) || f.marked() != ""):
		return f.Disk.Why
	case f.Disk.Condition != Opened:
		return ""
	case s.Version == 0 && s.Image == "":
		return fmt.Sprintf("the disk holds a version that is not recorded, %s version %d is wanted", w.Image, w.Version)
	case s.Image != w.Image || s.Version == 0:
		return fmt.Sprintf("the disk holds %s version %d, %s version %d is wanted", s.Image, s.Version, w.Image, w.Version)
	case foreign(f) && !rollsBack(f):
		return fmt.Sprintf("the disk holds another %s version %d than this store has", s.Image, s.Version)
	case !f.recovered() && !f.Done.may(Recover):
		return "interrupted work cannot be finished"
	case f.Done.failed(Merge) && s.Layers > 0:
		return "the versions in the slots cannot be merged"
	}
	return ""
}

// reinstall writes over what the disk holds, where that is needed and permitted.
func reinstall(f *Facts) *Step {
	why := whole(f)
	if why == "" || f.late() || !f.Order.Permits.Reinstall || f.marked() != "" || f.Done.failed(Reinstall) || !f.Done.may(Reinstall) {
		return nil
	}
	w := f.want()
	ok, plan := planned(f, Reinstall, w.Image, w.Version)
	if !ok {
		return plan
	}
	name := Name(w.Image, w.Version, w.Manifest)
	if h := f.Memo.Health; f.Done.may(Note) && (h.Refuses(name) || h.Version == name) {
		m := f.Memo
		m.Health = h.Renewed(name)
		return &Step{Kind: Note, Memo: &m, Reason: "the version is written completely: its starts are counted from now on"}
	}
	return &Step{Kind: Reinstall, Image: w.Image, Version: w.Version, Reason: why}
}

// deploys tells whether the disk is to be brought to what is wanted by what changed.
func deploys(f *Facts) bool {
	w, s := f.want(), f.Disk.State
	return w != nil && f.free() && s.Image == w.Image && s.Version != 0 && s.Version != w.Version && (!foreign(f) || rollsBack(f))
}

// rollsBack tells whether what is wanted lies below the version on the disk.
func rollsBack(f *Facts) bool {
	s := f.Disk.State
	return f.want().Is(s.Image, s.Previous, s.PreviousManifest)
}

// deploy brings the disk to what is wanted by what changed.
func deploy(f *Facts) *Step {
	if !deploys(f) {
		return nil
	}
	w, s := f.want(), f.Disk.State
	if f.Memo.Health.Refuses(Name(w.Image, w.Version, w.Manifest)) {
		return nil
	}
	step := &Step{Image: w.Image, Version: w.Version, Reason: fmt.Sprintf("version %d is wanted, version %d is on the disk", w.Version, s.Version)}
	switch {
	case f.want().Is(s.StagedImage, s.Staged, s.StagedManifest):
		step.Kind = Commit
		return commit(f, step)
	case f.late():
		return nil
	case rollsBack(f):
		step.Kind = Rollback
	case s.Manifest == "":
		return nil // it could not be compared
	case !s.SlotFree:
		return mergeForSlot(f)
	default:
		step.Kind = Stage
	}
	if ok, plan := planned(f, step.Kind, w.Image, w.Version); !ok {
		return plan
	}
	if !f.Done.may(step.Kind) {
		return nil
	}
	return step
}

// commit makes a staged version the one that starts. A release of the agent goes before it: Windows
// may raise what the firmware asks of shim, and then only the new one starts.
func commit(f *Facts, step *Step) *Step {
	if first := ownAgent(f); first != nil || f.Renewed {
		return first
	}
	if first := wantFirst(f, step); first != nil {
		return first
	}
	if refusesName(f) || !f.Done.may(Commit) {
		return nil
	}
	return step
}

// mergeForSlot makes room for the next version. A version of which nothing is known may be merged
// once Windows wrote at a few starts in it.
func mergeForSlot(f *Facts) *Step {
	h := f.Memo.Health
	wrote := h.Version == f.current() && h.Wrote >= chainload.MayMerge && !f.failing()
	if !f.mergeable() && !wrote && f.Order.Rules.Merge != protocol.MergeNow || f.Done.since(Merge, CheckIn) || !f.Done.may(Merge) {
		return nil
	}
	return &Step{Kind: Merge, Until: f.Order.Rules.Until, Reason: "the next version needs the slot"}
}

// mergeRest merges what waits in the slots, as the room's rule says.
func mergeRest(f *Facts) *Step {
	if f.Order == nil || f.Order.Refused != "" || !f.free() || f.Disk.State.Layers == 0 || f.late() || f.Done.since(Merge, CheckIn, Commit) || !f.Done.may(Merge) {
		return nil
	}
	now := f.Order.Rules.Merge == protocol.MergeNow
	if !now && !f.mergeable() {
		return nil
	}
	why := "the version was seen healthy"
	if now {
		why = "the rule of the room is merge: now"
	}
	return &Step{Kind: Merge, Until: f.Order.Rules.Until, Reason: why}
}

// resetSession discards what Windows wrote, or may have written, with or without a server.
func resetSession(f *Facts) *Step {
	switch {
	case !discardable(f):
		return nil
	case f.reset() == protocol.ResetBoot:
		return &Step{Kind: Reset, Reason: "the rule of the room is reset: boot"}
	case f.Discard && Offers(f):
		return &Step{Kind: Reset, Reason: "a person at the machine pressed R"}
	}
	return nil
}

// discardable tells whether there is a session that may go.
func discardable(f *Facts) bool {
	s := f.Disk.State
	return f.free() && (s.SessionWritten || s.SessionUnknown) && !f.Memo.Marks.SetUp && f.Done.may(Reset)
}

// Offers tells whether a person at the machine may have the session discarded now. It is so until
// the machine is handed over.
func Offers(f *Facts) bool {
	return discardable(f) && f.reset() == protocol.ResetKey && !f.Done.did(HandOff)
}

// bootFiles follow the version that starts, whatever became of the starts before: at each start
// they are compared with what it needs. They are no reason to stop: those that are there have
// started Windows before.
func bootFiles(f *Facts) *Step {
	if f.Disk.Condition != Opened || !f.admitted() || !f.recovered() || f.unbootable() || f.Renewed || !f.Done.may(BootFiles) {
		return nil
	}
	why := "they have to be those of the version that starts"
	if f.deployed() {
		why = "another version starts now"
	}
	return &Step{Kind: BootFiles, Reason: why}
}

// deployed tells whether a step of this start, after the order, changed the version by what
// changed.
func (f *Facts) deployed() bool {
	yes := false
	for _, r := range f.Done {
		switch k := r.Step.Kind; {
		case k == CheckIn:
			yes = false
		case k == Commit, k == Rollback:
			yes = yes || r.Step.Version == f.Disk.State.Version
		}
	}
	return yes
}

// ownAgent needs the journal, which remembers trials.
func ownAgent(f *Facts) *Step {
	if f.Order == nil || f.Order.Agent == "" || f.OnTrial || !f.admitted() || f.unbootable() || !f.Done.may(OwnAgent) {
		return nil
	}
	return &Step{Kind: OwnAgent, Reason: "release " + f.Order.Agent + " of the agent is ordered"}
}
