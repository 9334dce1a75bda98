package decide

import (
	"fmt"
	"time"

	"troy/chainload"
	"troy/diskwriter/machine"
	"troy/internal/format"
	"troy/server/protocol"
)

// Facts is all that a decision depends on. The zero value is a start of which nothing is known.
type Facts struct {
	Now time.Time // by the server's clock
	// ClockUnsure: no server has told the time, and what is known of it cannot be right.
	ClockUnsure bool
	// Unsupported is why nothing may be written to a machine with this firmware; "" = it may.
	Unsupported string
	// InUse: the machine is not handed over at the end.
	InUse bool
	// Woken: the network switched the machine on.
	Woken bool
	// LinkPatience is what the kernel arguments say of it; 0 = nothing.
	LinkPatience time.Duration

	Disk    Disk
	Memo    Memo
	Verdict chainload.Verdict // by Judge
	Judged  string            // the version that Verdict is about: Name of image and version
	OnTrial bool              // this agent is a new one that has to report before it is kept
	Order   *protocol.Order   // nil: no server gave one
	// Identity is what the order's identity comes to (machine.Identity.Of); "" = it has none.
	Identity string
	Planned  *Planned // what the last Plan found
	// Foreign is the manifest of a version on the disk that Plan found to be none of this store's.
	Foreign  string
	Compared *Compared // what Verify found
	// EndedSetup is the order about the setup of a version that was carried out last; "" = none.
	EndedSetup string
	Renewed    bool // another agent is to be started next
	// Discard: a person at the machine pressed R while that was offered (Offers).
	Discard bool
	Method  chainload.Method // by which HandOff starts Windows
	// Installed: the next start that is not of Windows is this agent's, from its own copy on the ESP.
	Installed bool

	Done History // of this start
}

// Condition is what was found of the machine's disk.
type Condition string

// Conditions.
const (
	Unseen        Condition = ""               // Open was not done
	Missing       Condition = "missing"        // no disk is prepared for Troy
	Unsuitable    Condition = "unsuitable"     // nothing may be written: Windows has to repair its volume, files moved, …
	Damaged       Condition = "damaged"        // the files do not make a chain; the journal and a reinstall are possible
	ParentChanged Condition = "parent changed" // another program opened the parent read-write
	Opened        Condition = "opened"         // State says what it holds
)

// Disk is the disk of the machine.
type Disk struct {
	Condition Condition
	Why       string        // unless Opened
	Lacks     []string      // words of its documents that this program does not know
	State     machine.State // if Opened
}

// Memo is what the journal keeps for the decisions of later starts.
type Memo struct {
	Health chainload.Health `json:"health"`
	Reset  protocol.Reset   `json:"reset,omitempty"` // the rule of the last order
	Link   Link             `json:"link,omitzero"`
	Starts protocol.Starts  `json:"starts,omitempty"` // likewise
	Direct bool             `json:"direct,omitempty"` // since the last hand-off GRUB may start Windows without the agent
	Marks  Marks            `json:"marks,omitzero"`
	Shown  Shown            `json:"shown,omitzero"` // of the last order
}

// Shown is what the screen says of the machine, also at starts without a server.
type Shown struct {
	Name    string `json:"name,omitempty"`
	Room    string `json:"room,omitempty"`
	Contact string `json:"contact,omitempty"` // who helps

	Unknown format.Unknown `json:",embed"`
}

// ShownBy is what an order says of the machine.
func ShownBy(o *protocol.Order) Shown { return Shown{Name: o.Name, Room: o.Room, Contact: o.Contact} }

func (s *Shown) equals(t *Shown) bool {
	return s.Name == t.Name && s.Room == t.Room && s.Contact == t.Contact
}

// Marks keep a machine as it is. While one is set nothing is reset, rolled back, deployed,
// reinstalled, healed, merged or discarded.
type Marks struct {
	Hold   time.Time `json:"hold,omitzero"`    // until then, and MaxHold after Held at most
	Held   time.Time `json:"held,omitzero"`    // when the hold was ordered
	Golden bool      `json:"golden,omitempty"` // a version is being prepared on this machine
	Setup  bool      `json:"setup,omitempty"`  // the setup of the version has not run to its end yet
	// SetUp says that the session is what setup made of the version: nothing is held back but a
	// reset, which would undo it.
	SetUp bool `json:"set_up,omitempty"`

	Unknown format.Unknown `json:",embed"`
}

// Planned is what Plan found of going to a version. Texts are reasons; "" = no objection.
type Planned struct {
	For     Kind
	Image   string
	Version int
	Boots   bool   // as that of the Step
	Foreign bool   // the store does not have the version that is on the disk
	Outgrew bool   // its disk is larger than the one that this machine was made for
	Unfit   string // it does not fit, is not in the store, or is another than the one that was ordered
	Lacks   string // no permit is signed for it
	Permit  string // what the admin tells "troy permit", if Lacks
}

func (p *Planned) allowed() bool { return p.Unfit == "" && p.Lacks == "" && !p.Foreign }

// Compared is what Verify found when it compared all that the boot child sits on with a version of
// this store.
type Compared struct {
	With   protocol.Want
	Differ int64  // bytes of the regions in which the disk differs
	Where  string // the first of them, in plain words; "" = none
}

// Name is how a version is called where starts are counted; "" = unknown. Another store may give
// its number to another content, so the manifest is part of it.
func Name(image string, version int, manifest string) string {
	if version == 0 {
		return ""
	}
	return fmt.Sprintf("%s@%d#%.12s", image, version, manifest)
}

// current names the version on the disk; "" = unknown.
func (f *Facts) current() string {
	s := f.Disk.State
	return Name(s.Image, s.Version, s.Manifest)
}

// below names the version that a rollback brings back.
func below(f *Facts) string {
	s := f.Disk.State
	return Name(s.Image, s.Previous, s.PreviousManifest)
}

// foreign tells whether the disk holds a version of the image that is wanted, but none of this
// store's.
func foreign(f *Facts) bool {
	w, s := f.want(), f.Disk.State
	if w == nil || f.Disk.Condition != Opened || s.Image != w.Image || s.Version == 0 || s.Manifest == "" {
		return false
	}
	own := ""
	if s.Version == w.Version {
		own = w.Manifest
	}
	return s.Manifest == f.Foreign || protocol.Another(s.Manifest, own)
}

// recovered tells whether nothing is left to finish of what was cut off.
func (f *Facts) recovered() bool {
	if f.Disk.Condition != Opened || f.Disk.State.Reinstalling {
		return true
	}
	for i := len(f.Done) - 1; i >= 0; i-- {
		switch r := f.Done[i]; r.Step.Kind {
		case Recover:
			return r.Err == nil
		case Open:
			return false
		}
	}
	return false
}

// admitted tells whether the journal may be written to.
func (f *Facts) admitted() bool {
	switch f.Disk.Condition {
	case Opened, ParentChanged, Damaged:
		return f.Done.fresh() && f.Unsupported == ""
	}
	return false
}

// marked tells why the machine is to be kept as it is; "" = it is not.
func (f *Facts) marked() string {
	m := f.Memo.Marks
	switch {
	case m.Golden:
		return "a version is being prepared on this machine"
	case m.Setup && !leaves(f):
		return "the setup of its version has not finished"
	case m.Hold.IsZero():
		return ""
	case f.ClockUnsure:
		return "it is on hold, and the time is not known"
	}
	if over := m.Held.Add(MaxHold); over.Before(m.Hold) {
		m.Hold = over
	}
	if f.Now.Before(m.Hold) {
		return "it is on hold until " + m.Hold.Format(time.RFC3339)
	}
	return ""
}

// Kept says why a mark keeps the machine as it is; "" = none does.
func Kept(f *Facts) string { return f.marked() }

// free tells whether the version on the disk may be changed.
func (f *Facts) free() bool {
	return f.Disk.Condition == Opened && f.admitted() && f.recovered() && !f.Disk.State.Reinstalling && f.marked() == ""
}

// proven tells whether the version on the disk was seen healthy on this machine.
func (f *Facts) proven() bool {
	h := f.Memo.Health
	return h.Proven && h.Version != "" && h.Version == f.current()
}

// boots tells whether there is a version on the disk that starts: to write over it needs a permit.
func boots(f *Facts) bool {
	return f.Disk.Condition == Opened && !f.Disk.State.Reinstalling && f.recovered()
}

// failing tells whether the version on the disk does not come up.
func (f *Facts) failing() bool {
	return f.Verdict == chainload.Failing && f.Judged == f.current() && !changed(f) && !f.Done.did(TryAgain)
}

// mergeable tells whether the slots may be merged: the way back is not needed.
func (f *Facts) mergeable() bool {
	s := f.Disk.State
	return s.Layers > 0 && (s.Merging || s.Merged || f.proven())
}

// want is the version that the server wants here, nil if it wants none or it is not time yet.
func (f *Facts) want() *protocol.Want {
	if f.Order == nil || f.Order.Wait > 0 {
		return nil
	}
	return f.Order.Want
}

// reset is the rule in force.
func (f *Facts) reset() protocol.Reset {
	if f.Memo.Reset == "" {
		return protocol.ResetUpdate
	}
	return f.Memo.Reset
}

// late tells whether the window of the order is over.
func (f *Facts) late() bool {
	return f.Order != nil && !f.Order.Rules.Until.IsZero() && !f.Now.Before(f.Order.Rules.Until)
}

// unbootable tells whether there is nothing on the disk to start until a reinstall is finished.
func (f *Facts) unbootable() bool {
	return f.Disk.Condition == Opened && f.Disk.State.Reinstalling
}

// unsafe tells whether the disk may hold a change that is half carried out.
func (f *Facts) unsafe() bool {
	if f.Done.fresh() && f.Disk.Condition == Opened {
		return !f.recovered() && (f.Disk.State.LogPending || f.Done.touched())
	}
	return f.Done.touched()
}
