package decide

import (
	"fmt"
	"slices"

	"troy/diskwriter/machine"
	"troy/server/protocol"
)

// says tells whether the order says what the machine is called in Windows, be it nothing. A machine
// that a server does not know, or makes wait, stays what it is.
func says(f *Facts) bool {
	o := f.Order
	return o != nil && o.Code == "" && o.Refused == "" && o.Wait == 0 && (f.Identity != "" || o.Room != "")
}

// nameable tells whether the journal and an empty boot child may get an identity. A setup that has
// not begun yet finds its answers that way; where it has begun, there is a session, and nothing is
// pending.
func nameable(f *Facts) bool {
	g := *f
	g.Memo.Marks.Setup = false
	return g.free()
}

// noted tells whether the journal has for the version that starts what the order says.
func noted(f *Facts) bool {
	s := f.Disk.State
	if f.Identity == "" {
		return !s.IdentityKept
	}
	return s.IdentityOf == f.Identity
}

// wantFirst notes what the machine is to be called in a staged version before that is committed:
// from then on a start without a server can name it.
func wantFirst(f *Facts, version *Step) *Step {
	if f.Identity == "" || f.Disk.State.StagedIdentityOf == f.Identity || !mayWant(f, version.Image, version.Version) {
		return nil
	}
	return &Step{Kind: Want, Image: version.Image, Version: version.Version,
		Reason: fmt.Sprintf("what this machine is called in version %d has to be known before it starts", version.Version)}
}

// refusesName tells whether a staged version is not to start because it cannot be named.
func refusesName(f *Facts) bool {
	return f.Identity != "" && f.Order.Identity.Required && f.Disk.State.StagedIdentityOf != f.Identity
}

// want notes what the machine is to be called in the version that starts, or that it is nothing.
func want(f *Facts) *Step {
	s := f.Disk.State
	if !says(f) || !nameable(f) || noted(f) || !mayWant(f, s.Image, s.Version) {
		return nil
	}
	step := &Step{Kind: Want, Image: s.Image, Version: s.Version, Reason: "what this machine is called in Windows is new"}
	if f.Identity == "" {
		step.Reason = "the room no longer gives its machines names"
		return step
	}
	if s.Version == 0 || s.Manifest == "" || s.Manifest == protocol.NoVersion || s.Manifest == f.Foreign {
		return nil // its fields are not known
	}
	return step
}

// mayWant tells whether a version may be tried.
func mayWant(f *Facts, image string, version int) bool {
	return f.Done.may(Want) && !slices.ContainsFunc(f.Done, func(r Result) bool {
		return r.Step.Kind == Want && r.Step.Image == image && r.Step.Version == version
	})
}

// renew empties a boot child that has another identity than the one that is wanted, where nothing is
// lost by that.
func renew(f *Facts) *Step {
	s := f.Disk.State
	if !says(f) || !noted(f) || !f.free() || s.SessionWritten || s.SessionUnknown || s.IdentityApplied == "" || s.IdentityApplied == s.IdentityWanted ||
		f.Done.did(Personalise) || !f.Done.may(Reset) {
		return nil
	}
	return &Step{Kind: Reset, Reason: "this machine is called something else now, and Windows has written nothing since the last reset"}
}

// personalise names an empty boot child, with or without a server.
func personalise(f *Facts) *Step {
	s := f.Disk.State
	if !s.IdentityPending || s.IdentityWanted == "" || !nameable(f) || !f.Done.may(Personalise) {
		return nil
	}
	return &Step{Kind: Personalise, Image: s.Image, Version: s.Version, Reason: "Windows is to find what this machine is called"}
}

// settled tells whether Windows has the identity that is wanted, if one is.
func settled(f *Facts) bool {
	s := f.Disk.State
	switch {
	case says(f) && !noted(f):
		return false
	case !s.IdentityKept:
		return true
	case s.IdentityWanted == machine.SumEdits(nil):
		return s.IdentityApplied == "" && !s.IdentityUnknown
	}
	return s.IdentityApplied != "" && s.IdentityApplied == s.IdentityWanted
}
