package decide

import (
	"slices"

	"troy/diskwriter/machine"
)

// assume returns the facts after a step that goes well, so that a list tells more than one step.
func assume(f Facts, s Step) Facts {
	f.Done = append(slices.Clip(f.Done), Result{Step: s})
	d := &f.Disk.State
	switch s.Kind {
	case Recover:
		d.LogPending = false
	case Note, TryAgain, Count:
		f.Memo = *s.Memo
	case Plan:
		f.Planned = &Planned{For: s.For, Image: s.Image, Version: s.Version, Boots: s.Boots,
			Outgrew: s.For == Provision && f.Disk.Condition == Opened}
	case Merge:
		d.PreviousManifest = ""
		d.BaseVersion, d.Previous, d.Layers, d.SlotFree, d.Merging, d.Merged = d.Version, 0, 0, true, false, false
	case Stage:
		d.Staged, d.StagedImage, d.StagedManifest, d.StagedIdentityOf = s.Version, s.Image, "", ""
		if w := f.want(); w != nil {
			d.StagedManifest = w.Manifest
		}
	case Adopt:
		c := f.Compared
		if c == nil {
			break
		}
		d.StagedIdentityOf = ""
		if d.Staged, d.StagedImage, d.StagedManifest = s.Version, s.Image, c.With.Manifest; c.Differ == 0 {
			d.Image, d.Version, d.Manifest, d.Staged = s.Image, s.Version, c.With.Manifest, 0
			d.IdentityOf, d.IdentityWanted = "", ""
		}
	case Commit:
		d.PreviousManifest, d.Manifest, d.StagedManifest = d.Manifest, d.StagedManifest, ""
		d.Image, d.Previous, d.Version, d.Staged, d.StagedImage = s.Image, d.Version, s.Version, 0, ""
		d.Layers++
		d.SlotFree = d.Layers < 2
		d.IdentityOf, d.IdentityWanted, d.StagedIdentityOf = d.StagedIdentityOf, d.StagedIdentityOf, ""
		emptied(d)
	case Rollback:
		d.Version, d.Previous, d.Layers, d.SlotFree = s.Version, 0, max(0, d.Layers-1), true
		d.Manifest, d.PreviousManifest = d.PreviousManifest, ""
		d.IdentityOf, d.IdentityWanted = "", ""
		emptied(d)
	case Reset:
		emptied(d)
	case EndSetup:
		f.Memo.Marks.Setup, f.Memo.Marks.SetUp, f.EndedSetup = false, true, f.Order.EndSetup.ID
	case LeaveSetup:
		f.EndedSetup = f.Order.EndSetup.ID
		emptied(d)
	case Want:
		wanted(d, s, f.Identity)
	case Personalise:
		d.IdentityApplied, d.IdentityPending = d.IdentityWanted, false
	case Confirm:
		f.OnTrial = false
	}
	return f
}

// emptied is a boot child without a session.
func emptied(d *machine.State) {
	d.SessionWritten, d.SessionUnknown = false, false
	d.IdentityApplied, d.IdentityUnknown, d.IdentityPending = "", false, d.IdentityKept
}

// wanted notes an identity that has something to write.
func wanted(d *machine.State, s Step, of string) {
	switch d.IdentityKept = of != ""; {
	case of == "":
		d.IdentityOf, d.IdentityWanted, d.StagedIdentityOf, d.IdentityPending = "", "", "", false
	case s.Version == d.Staged && s.Image == d.StagedImage && s.Version != d.Version:
		d.StagedIdentityOf = of
	default:
		d.IdentityOf, d.IdentityWanted = of, of
		d.IdentityPending = !d.SessionWritten && !d.SessionUnknown && d.IdentityApplied == ""
	}
}
