package decide

import (
	"fmt"
	"slices"
)

// verify reads all that the boot child sits on and compares it with a version of the store: because
// an admin asked for it, or because the journal does not say which version it is.
func verify(f *Facts) *Step {
	s, w := f.Disk.State, f.want()
	if f.Order == nil || f.Order.Wait > 0 || f.Disk.Condition != Opened || !f.admitted() || !f.recovered() || s.Reinstalling || f.late() || !f.Done.may(Verify) {
		return nil
	}
	why := ""
	switch v := f.Order.Verify; {
	case v != nil && v.Adopt:
		why = "an admin ordered that this machine is compared and adopted"
	case v != nil:
		why = "an admin ordered that this machine is compared"
	case w != nil && s.Image == w.Image && s.Version != 0 && s.Manifest == "":
		why = fmt.Sprintf("the journal does not say which store this version %d is from", s.Version)
	default:
		return nil
	}
	return &Step{Kind: Verify, Reason: why}
}

// adopt makes the machine hold what it was compared with: what differs goes into the free slot as
// any version does, and the session on top of it is discarded with the commit. Where nothing
// differs, the version only gets its name.
func adopt(f *Facts) *Step {
	c, s := f.Compared, f.Disk.State
	if !adopts(f) || !f.free() || Adopted(f) || f.Memo.Health.Refuses(c.name()) {
		return nil
	}
	step := &Step{Kind: Adopt, Image: c.With.Image, Version: c.With.Version,
		Reason: fmt.Sprintf("bring this machine to %s version %d by what differs", c.With.Image, c.With.Version)}
	if c.Differ > 0 && f.Done.succeeded(Adopt) && c.With.Is(s.StagedImage, s.Staged, s.StagedManifest) {
		step.Kind = Commit
		return commit(f, step)
	}
	switch {
	case f.late():
		return nil
	case c.Differ > 0 && !s.SlotFree:
		return mergeForSlot(f)
	}
	if ok, plan := planned(f, Adopt, c.With.Image, c.With.Version); !ok {
		return plan
	}
	if !f.Done.may(Adopt) {
		return nil
	}
	return step
}

// adopts tells whether what was compared is to be made equal.
func adopts(f *Facts) bool {
	return f.Compared != nil && f.Order != nil && f.Order.Verify != nil && f.Order.Verify.Adopt
}

// Adopted tells whether an order to adopt is carried out: the machine holds what it was compared
// with.
func Adopted(f *Facts) bool {
	c, s := f.Compared, f.Disk.State
	if !adopts(f) || f.Disk.Condition != Opened || !f.Done.fresh() || !c.With.Is(s.Image, s.Version, s.Manifest) {
		return false
	}
	return c.Differ == 0 || f.Done.succeeded(Adopt) && !c.With.Is(s.StagedImage, s.Staged, s.StagedManifest)
}

func (c *Compared) name() string { return Name(c.With.Image, c.With.Version, c.With.Manifest) }

// unadopted is why an order to adopt is not carried out; "" = it is, there is none, or a step that
// failed says so.
func unadopted(f *Facts) string {
	c := f.Compared
	if !adopts(f) || Adopted(f) || slices.ContainsFunc([]Kind{Plan, Adopt, Commit, Merge}, f.Done.failed) {
		return ""
	}
	why := ""
	switch {
	case f.marked() != "":
		why = f.marked()
	case f.Memo.Health.Refuses(c.name()):
		why = fmt.Sprintf("version %d was started several times on this machine without a sign of health; order it again to retry", c.With.Version)
	case f.late():
		why = "the window closed"
	case !f.Disk.State.SlotFree:
		why = "both slots are in use until their versions are merged"
	default:
		return ""
	}
	return "adopt: " + why
}
