package decide

import "slices"

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
		d.Staged, d.StagedImage, d.StagedManifest = s.Version, s.Image, ""
		if w := f.want(); w != nil {
			d.StagedManifest = w.Manifest
		}
	case Adopt:
		c := f.Compared
		if c == nil {
			break
		}
		if d.Staged, d.StagedImage, d.StagedManifest = s.Version, s.Image, c.With.Manifest; c.Differ == 0 {
			d.Image, d.Version, d.Manifest, d.Staged = s.Image, s.Version, c.With.Manifest, 0
		}
	case Commit:
		d.PreviousManifest, d.Manifest, d.StagedManifest = d.Manifest, d.StagedManifest, ""
		d.Image, d.Previous, d.Version, d.Staged, d.StagedImage = s.Image, d.Version, s.Version, 0, ""
		d.Layers, d.SessionWritten, d.SessionUnknown = d.Layers+1, false, false
		d.SlotFree = d.Layers < 2
	case Rollback:
		d.Version, d.Previous, d.Layers, d.SlotFree = s.Version, 0, max(0, d.Layers-1), true
		d.Manifest, d.PreviousManifest = d.PreviousManifest, ""
		d.SessionWritten, d.SessionUnknown = false, false
	case Reset:
		d.SessionWritten, d.SessionUnknown = false, false
	case EndSetup:
		f.Memo.Marks.Setup, f.Memo.Marks.SetUp, f.EndedSetup = false, true, f.Order.EndSetup.ID
	case LeaveSetup:
		d.SessionWritten, d.SessionUnknown, f.EndedSetup = false, false, f.Order.EndSetup.ID
	case Confirm:
		f.OnTrial = false
	}
	return f
}
