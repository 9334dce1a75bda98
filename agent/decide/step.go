package decide

import (
	"fmt"
	"time"
)

// Kind is what a step does.
type Kind string

// Kinds of steps that find something out. What they find decides what follows, so a list of steps
// ends behind them.
const (
	Open    Kind = "open"     // find the disk, judge its volume, open the machine; writes nothing
	Judge   Kind = "judge"    // what became of the last hand-off, and of an agent on trial
	Connect Kind = "connect"  // network link, servers, clock
	CheckIn Kind = "check-in" // tell the server what the machine is, and get its order
	Plan    Kind = "plan"     // what going to a version would take: store, signatures, room
	Verify  Kind = "verify"   // compare all that the boot child sits on with a version; records what it is
)

// Kinds of steps that work on the disk. After one that failed the disk is opened again.
const (
	Recover    Kind = "recover"     // finish what was cut off, replay logs
	Merge      Kind = "merge"       // copy the slots into the parent
	Heal       Kind = "heal"        // compare a parent that was changed elsewhere with its version
	Stage      Kind = "stage"       // fetch what changed into the free slot
	Adopt      Kind = "adopt"       // fetch what Verify found to differ into the free slot
	Commit     Kind = "commit"      // make the staged version the one that starts
	Rollback   Kind = "rollback"    // make the version below the one that starts
	Reset      Kind = "reset"       // discard what Windows wrote
	LeaveSetup Kind = "leave setup" // discard what a setup that has not finished has done, and note that
	Reinstall  Kind = "reinstall"   // write a version over the parent as a whole
	Provision  Kind = "provision"   // make a disk into one of Troy's
)

// Kinds of steps that name the machine in Windows. They work on the disk as well.
const (
	Want        Kind = "identity"    // write to the journal what the machine is to be called in a version
	Personalise Kind = "personalise" // write that into the empty boot child
)

// Kinds of steps around the work.
const (
	Note      Kind = "note"       // write what a later start must know to the journal
	EndSetup  Kind = "end setup"  // write to the journal that the setup of the version counts as over
	TryAgain  Kind = "try again"  // write to the journal that nothing is given up any more
	Wait      Kind = "wait"       // for the server
	BootFiles Kind = "boot files" // bring the version's boot manager to the ESP
	OwnAgent  Kind = "agent"      // bring another release of the agent to the ESP
	Pause     Kind = "pause"      // before a version is started that does not come up
	HandOff   Kind = "hand-off"   // make the next start of the machine that of Windows
	Report    Kind = "report"     // tell the server how it ended
	Confirm   Kind = "confirm"    // keep an agent that was on trial
	Count     Kind = "count"      // write to the journal that the machine is handed over
	Direct    Kind = "direct"     // let GRUB give the next starts to Windows without the agent
)

// Kinds of steps that end a start.
const (
	Windows Kind = "windows" // restart the machine into Windows
	Restart Kind = "restart" // restart it into the agent
	Again   Kind = "again"   // nothing can be started: wait, and restart it into the agent
	Stay    Kind = "stay"    // leave it as it is
)

// Step is one thing to do.
type Step struct {
	Kind     Kind
	Image    string        // for Plan, Stage, Adopt, Commit, Rollback, Reinstall, Provision, Want, Personalise
	Version  int           // likewise
	For      Kind          // for Plan: the step that it is for
	Begun    bool          // for Plan, Reinstall: go on with what was begun, which was permitted then
	Boots    bool          // for Plan of a Reinstall: what is on the disk starts
	Pause    time.Duration // for Wait, Pause, Again
	Until    time.Time     // for Merge: stop then; zero: do not stop
	Patience time.Duration // for Connect: how long the network is waited for
	Hurry    bool          // for Connect: somebody may be waiting for Windows
	Memo     *Memo         // for Note, TryAgain, Count: what is kept from here on
	Reason   string        // in plain words
}

// Final tells whether the step ends the start.
func (s Step) Final() bool {
	switch s.Kind {
	case Windows, Restart, Again, Stay:
		return true
	}
	return false
}

// String names the step in a few words.
func (s Step) String() string {
	text := string(s.Kind)
	if s.For != "" {
		text += " " + string(s.For)
	}
	if s.Version != 0 {
		text += fmt.Sprintf(" %d", s.Version)
	}
	if s.Pause != 0 {
		text += fmt.Sprintf(" %.0f s", s.Pause.Seconds())
	}
	return text
}

// works tells whether the step writes to the files of the machine.
func (k Kind) works() bool {
	switch k {
	case Recover, Merge, Heal, Verify, Stage, Adopt, Commit, Rollback, Reset, LeaveSetup, Reinstall, Provision, Want, Personalise:
		return true
	}
	return false
}

// boots tells whether the step changes what the machine boots, so that the disk must not be
// started from after one that failed, before it was opened and recovered.
func (k Kind) boots() bool {
	switch k {
	case Recover, Merge, Commit, Rollback, Reset, LeaveSetup, Reinstall, Personalise:
		return true
	}
	return false
}

// reopens tells whether the disk has to be opened again even after success.
func (k Kind) reopens() bool { return k == Heal || k == Reinstall || k == Provision }

// discovers tells whether what follows the step is known only after it.
func (k Kind) discovers() bool {
	return k == Open || k == Judge || k == CheckIn || k == Verify || k.reopens()
}

// limit is how often a step of a kind is done in one start, and how often it may fail. For Plan it
// counts for each target.
type limit struct{ done, failed int }

var (
	once  = limit{1, 1}
	twice = limit{3, 2} // a sector that had to be remapped works the second time
)

func (k Kind) limit() limit {
	switch k {
	case Recover:
		return limit{maxRecover, 2}
	case Commit, Rollback, Reset, LeaveSetup, Personalise:
		return twice
	case Merge:
		return limit{4, 1}
	case Want:
		return limit{4, 4} // one for each version
	case Reinstall:
		return limit{2, 2} // what is wanted, else what was begun
	case Note:
		return limit{8, 8}
	case CheckIn, Wait:
		return limit{maxAsks, 1}
	}
	return once
}

const (
	maxRecover = 32
	maxAsks    = 4000 // MaxWaiting bounds them before
)
