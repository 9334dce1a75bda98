package machine

import (
	"errors"
	"fmt"

	"troy/internal/digest"
	"troy/internal/guid"
)

// Classes of errors, for errors.Is.
var (
	// ErrParentChanged: a parent was written by another program, so its DataWriteGuid is not the
	// one its child names. Nothing was written.
	ErrParentChanged = errors.New("the parent was changed by another program")
	// ErrChain: the files do not make a chain that this package made. Nothing was written.
	ErrChain = errors.New("the files are not a chain made here")
	// ErrTooBig: the version does not fit the slot. Nothing was written.
	ErrTooBig = errors.New("the version does not fit the slot")
	// ErrNoSlot: both slots are in use; merge first. Nothing was written.
	ErrNoSlot = errors.New("both slots are in use")
	// ErrRuns: the runs are unsorted, misaligned or outside of the virtual disk; or a write was
	// outside of the runs.
	ErrRuns = errors.New("bad runs")
	// ErrIncomplete: Finish came before every page was written.
	ErrIncomplete = errors.New("pages are missing")
	// ErrVerify: the disk gave back other bytes than were written.
	ErrVerify = errors.New("the disk returned other bytes than were written")
	// ErrNothingStaged: Commit found no finished slot.
	ErrNothingStaged = errors.New("nothing is staged")
	// ErrNotMerged: Relink came before the end of Merge.
	ErrNotMerged = errors.New("the merge is not finished")
	// ErrNotHealthy: a lazy merge has to wait until the version was seen healthy.
	ErrNotHealthy = errors.New("the version was not seen healthy yet")
	// ErrMergeStarted: no rollback any more, the old version is being overwritten, or may be.
	ErrMergeStarted = errors.New("the merge has begun")
	// ErrNoRollback: the boot child names the parent; there is no version to go back to.
	ErrNoRollback = errors.New("no older version is on the disk")
	// ErrReopen: an earlier call failed, so it is unknown what the disk holds: open the machine
	// again.
	ErrReopen = errors.New("an earlier step failed: open the machine again")
	// ErrNothingToHeal: the parent carries the DataWriteGuid that its child names. Nothing was
	// written.
	ErrNothingToHeal = errors.New("the parent was not changed")
	// ErrReinstalling: the boot child was poisoned by Reinstall; only Reinstall goes on. Nothing
	// was written.
	ErrReinstalling = errors.New("a reinstall is not finished: run it again")
	// ErrOtherSize: the files were made for a virtual disk of another size. Nothing was written.
	ErrOtherSize = errors.New("the virtual disk of the version has another size")
	// ErrUnreadable: the disk gives back neither slot of a journal record. What it holds is not
	// known, so it must not be replaced by what follows from its absence. Nothing was written.
	ErrUnreadable = errors.New("neither copy of the record can be read")
	// ErrIdentity: the edits are no identity for this disk and its journal, or not the one that was
	// noted. Nothing was written.
	ErrIdentity = errors.New("this identity cannot be written")
	// ErrSession: the boot child is not as a reset leaves it. Nothing was written.
	ErrSession = errors.New("the boot child is not empty: reset it first")
	// ErrPage: a page that is to change is not as published. Nothing was written.
	ErrPage = errors.New("a page is not as published")
	// ErrRecord: a journal record is too large, or its number is out of range.
	ErrRecord = errors.New("bad journal record")
)

// ParentChangedError says which parent carries which DataWriteGuid. It is ErrParentChanged.
type ParentChangedError struct {
	Child  string    // file whose locator names the parent
	Parent string    // file that is there
	Want   guid.GUID // named by the locator
	Have   guid.GUID // of the file that is there
}

// Error gives one line with both GUIDs.
func (e *ParentChangedError) Error() string {
	return fmt.Sprintf("%s names a parent with DataWriteGuid %s, but %s has %s: it was opened read-write elsewhere; nothing was written",
		e.Child, e.Want, e.Parent, e.Have)
}

// Unwrap returns ErrParentChanged.
func (e *ParentChangedError) Unwrap() error { return ErrParentChanged }

// SpaceError gives the numbers of ErrTooBig, in bytes of payload blocks.
type SpaceError struct {
	Slot       string
	Need, Have int64
}

// Error gives one line with the numbers.
func (e *SpaceError) Error() string {
	return fmt.Sprintf("the version needs %d MiB in payload blocks, %s holds %d MiB; nothing was written", e.Need>>20, e.Slot, e.Have>>20)
}

// Unwrap returns ErrTooBig.
func (e *SpaceError) Unwrap() error { return ErrTooBig }

// SizeError gives the numbers of ErrOtherSize, in bytes.
type SizeError struct {
	Want, Have             int64 // virtual disk that was ordered, and that the files were made for
	WantSector, HaveSector uint32
}

// Error gives one line with the numbers.
func (e *SizeError) Error() string {
	return fmt.Sprintf("it is a disk of %d bytes in sectors of %d, the machine was prepared for %d in sectors of %d: prepare it again",
		e.Want, e.WantSector, e.Have, e.HaveSector)
}

// Unwrap returns ErrOtherSize.
func (e *SizeError) Unwrap() error { return ErrOtherSize }

// PageError says which page is not as published. It is ErrPage.
type PageError struct {
	Offset     int64 // on the virtual disk, in bytes
	Want, Have digest.Sum
}

// Error gives one line with both hashes.
func (e *PageError) Error() string {
	return fmt.Sprintf("the page at %d of the disk is not as published (SHA-256 %s, published %s); nothing was written", e.Offset, e.Have, e.Want)
}

// Unwrap returns ErrPage.
func (e *PageError) Unwrap() error { return ErrPage }

// Op is an operation on a machine.
type Op string

// The operations that can stop at a step.
const (
	opStage     Op = "stage"
	opCommit    Op = "commit"
	opReset     Op = "reset"
	opRollback  Op = "rollback"
	opMerge     Op = "merge"
	opRelink    Op = "relink"
	opRecover   Op = "recover"
	opHeal      Op = "heal"
	opMend      Op = "mend"
	opReinstall Op = "reinstall"
	opIdentify  Op = "identify"

	opWant        Op = "want identity"
	opPersonalise Op = "personalise"
)

// after is what the machine boots when the operation stopped.
func (op Op) after() string {
	switch op {
	case opHeal:
		return "run it again: nothing boots until the parent is healed"
	case opReinstall:
		return "run it again: nothing boots until it is finished, unless the old version still does"
	}
	return "the disk still boots one whole version"
}

// StepError says at which step of which operation the disk failed. The operation stopped there, and
// the next run completes; what the machine boots is one whole version all the same, or, in a heal
// or a reinstall, nothing.
type StepError struct {
	Op   Op
	Step string // name of the step
	Err  error
}

// Error gives operation, step and cause.
func (e *StepError) Error() string {
	return fmt.Sprintf("%s: %s: %v (%s)", e.Op, e.Step, e.Err, e.Op.after())
}

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }
