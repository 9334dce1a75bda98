package machine

import (
	"slices"

	"troy/internal/guid"
)

// State is what a machine holds. Versions are 0 when unknown: the journal was lost, which costs
// labels but no data.
type State struct {
	Image       string // of the version that the boot child shows
	Version     int    // that the boot child shows: what the machine boots
	BaseVersion int    // that the parent alone would show; 0 while a merge makes it a mixture
	Previous    int    // that Rollback brings back; 0: none, or it is unknown whether it is whole
	Staged      int    // finished slot that waits for Commit; 0: none
	StagedImage string

	// The SHA-256 of the manifests of Version, Previous and Staged, in hex; "": not recorded.
	Manifest, PreviousManifest, StagedManifest string

	Layers         int   // slots between boot child and parent: 0, 1 or 2
	SlotFree       bool  // Stage has a slot to write to
	Merging        bool  // the merge has begun: no rollback
	Merged         bool  // the merge is finished, Relink is next
	MergeOffset    int64 // bytes of the virtual disk that are done
	SessionWritten bool  // the virtual disk was written to since Commit, Reset or Rollback: Windows was up
	SessionUnknown bool  // whether it was is not known: the journal was lost
	LogPending     bool  // the boot child has a log to replay: Windows was cut off, or Recover has work

	// SumEdits of what is wanted for Version ("": nothing, or not known for this version), and of what
	// the boot child has ("": nothing, or that is unknown).
	IdentityWanted, IdentityApplied string
	// What was wanted for Version and Staged was made of (Identity.Of); "": as above.
	IdentityOf, StagedIdentityOf string
	IdentityKept                 bool // one is wanted, for whatever version
	IdentityUnknown              bool // which one the boot child has is not known
	// An identity is wanted, and the boot child is empty and has none. Where it is known that there is
	// nothing to write into this version, nothing is pending.
	IdentityPending bool

	Reinstalling      bool   // Reinstall has begun: the machine boots nothing until it is run again and finished
	ReinstallImage    string // ordered; empty when the journal was lost
	ReinstallVersion  int
	ReinstallManifest string

	VirtualSize       int64 // bytes
	LogicalSectorSize uint32
}

// State tells what the machine holds.
func (m *Machine) State() State {
	if m.reinstalling {
		return m.reinstallState()
	}
	top, known := m.rec.label(m.chain[0].guid())
	s := State{Image: top.Image, Version: top.Version, Manifest: top.Manifest, Layers: len(m.chain) - 1,
		SlotFree: m.freeSlot() >= 0, LogPending: m.boot.v.LogPending(),
		VirtualSize: m.base.meta.VirtualDiskSize, LogicalSectorSize: m.base.meta.LogicalSectorSize}
	if base, ok := m.rec.label(m.base.guid()); ok {
		s.BaseVersion = base.Version
	}
	if !known {
		s.Image, s.Version, s.Manifest = "", 0, ""
	}
	if d := m.staged(); d != nil {
		l, _ := m.rec.label(d.guid())
		s.Staged, s.StagedImage, s.StagedManifest = l.Version, l.Image, l.Manifest
	}
	if r := m.merge(); r != nil {
		s.Merging, s.Merged, s.MergeOffset = true, r.Done, r.Cursor
	}
	below := m.previous(known)
	s.Previous, s.PreviousManifest = below.Version, below.Manifest
	s.SessionUnknown = len(m.rec.Sessions) == 0
	s.SessionWritten = !s.SessionUnknown && !m.untouched()
	m.identityState(&s)
	return s
}

func (m *Machine) identityState(s *State) {
	if d := m.staged(); d != nil {
		if w := m.wanted(d); w != nil {
			s.StagedIdentityOf = w.Of
		}
	}
	if w := m.wanted(m.chain[0]); w != nil {
		s.IdentityOf, s.IdentityWanted = w.Of, w.Sum
	}
	s.IdentityKept = m.Wanted() != nil
	a, known := m.applied()
	if s.IdentityUnknown = !known; a != nil {
		s.IdentityApplied = a.Sum
	}
	s.IdentityPending = s.IdentityKept && s.IdentityWanted != SumEdits(nil) && m.untouched() && a == nil
}

// previous is the version below the topmost slot, as long as Rollback takes it.
func (m *Machine) previous(known bool) (below Label) {
	if len(m.chain) < 2 || !known || m.merge() != nil {
		return Label{}
	}
	below, _ = m.rec.label(m.chain[1].guid())
	return below
}

func (m *Machine) inChain(d *diskFile) bool { return slices.Contains(m.chain, d) }

func (m *Machine) byGUIDInChain(id guid.GUID) bool {
	return slices.ContainsFunc(m.chain, func(d *diskFile) bool { return d.guid() == id })
}

// merge returns the record of the merge of the present chain, nil if none has begun.
func (m *Machine) merge() *mergeRecord {
	if r := m.rec.Merge; r != nil && r.Base == m.base.guid() && r.Top.GUID == m.chain[0].guid() {
		return r
	}
	return nil
}

// staged returns the slot that waits for Commit.
func (m *Machine) staged() *diskFile {
	if m.relinked() {
		return nil
	}
	for _, d := range m.slots {
		if d.v == nil || m.inChain(d) || d.linkage != m.chain[0].guid() {
			continue
		}
		if _, ok := m.rec.label(d.guid()); ok {
			return d
		}
	}
	return nil
}

// freeSlot returns the index of a slot that no chain names, one without a staged version if
// possible; -1: none.
func (m *Machine) freeSlot() int {
	free := -1
	for i, d := range m.slots {
		if m.inChain(d) {
			continue
		}
		if m.staged() != d {
			return i
		}
		free = i
	}
	return free
}
