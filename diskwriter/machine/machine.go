package machine

import (
	"fmt"
	"sync/atomic"

	"troy/vhdx"
)

// Machine is the set of files of one PC. Its methods must not be called concurrently.
type Machine struct {
	files   Files
	journal *Journal
	rec     *machineRecord
	base    *diskFile
	slots   [2]*diskFile
	boot    *diskFile
	chain   []*diskFile // what the boot child sits on: slots from the top down, then base
	failed  atomic.Bool

	reinstalling bool // Reinstall has begun: chain is empty
}

// Open reads the files and finds out what they are. It writes nothing, but flushes first: what an
// interrupted process left in a cache must not be believed before it is durable.
//
// Errors: ErrParentChanged (as *ParentChangedError), ErrChain, and read errors as they come.
func Open(f Files) (*Machine, error) {
	m := &Machine{files: f}
	err := m.settle()
	if err == nil {
		err = m.load()
	}
	if err != nil {
		return nil, fmt.Errorf("open machine: %w", err)
	}
	return m, nil
}

// Content reads the version that the boot child sits on (State.Version), without the session in the
// boot child: the source of pages that a newer version has elsewhere. It is valid until the next
// operation. Errors: ErrReinstalling.
func (m *Machine) Content() (*vhdx.Chain, error) {
	if m.reinstalling {
		return nil, ErrReinstalling
	}
	return chainOf(m.chain)
}

func chainOf(disks []*diskFile) (*vhdx.Chain, error) {
	files := make([]*vhdx.File, len(disks))
	for i, d := range disks {
		files[i] = d.v
	}
	return vhdx.NewChain(files...)
}

// look reads journal and files, each by itself.
func (m *Machine) look() (err error) {
	if m.rec, err = loadRecord(m.journal); err != nil {
		return err
	}
	m.readFiles()
	m.chain = nil
	if m.boot.checkBoot() == nil {
		m.reinstalling = m.boot.unfinished()
	} else {
		m.reinstalling = m.rec.Reinstall != nil // which was making the boot child again
	}
	return nil
}

// loadFiles also wants parent and boot child to be of use. While a reinstall is not finished, the
// parent may be anything.
func (m *Machine) loadFiles() error {
	if err := m.look(); err != nil || m.reinstalling {
		return err
	}
	return m.checkEnds()
}

func (m *Machine) load() error {
	err := m.loadFiles()
	if err != nil || m.reinstalling {
		return err
	}
	if m.chain, err = m.resolve(); err != nil {
		return err
	}
	return m.checkMerge()
}

// settle opens the journal and flushes every file.
func (m *Machine) settle() (err error) {
	f := m.files
	for _, s := range []File{f.Base, f.LayerA, f.LayerB, f.Boot} {
		if s.Storage == nil {
			return fmt.Errorf("%w: a file is missing", ErrChain)
		}
		if err := s.Sync(); err != nil {
			return fmt.Errorf("flush: %w", err)
		}
	}
	if m.journal, err = OpenJournal(f.Journal); err != nil {
		return err
	}
	return m.journal.settle()
}

// ready is asked before every operation. A Put that was cut off between the two slots of a record is
// finished, for what follows relies on it; so is a Reinstall, and a Relink, because of which slots look
// staged.
func (m *Machine) ready(op Op) error {
	if m.failed.Load() {
		return ErrReopen
	}
	if m.reinstalling {
		return ErrReinstalling
	}
	if err := m.mendJournal(op); err != nil {
		return err
	}
	if err := m.forgetOrder(op); err != nil {
		return err
	}
	return m.finishMerge(op)
}

// forgetOrder ends a reinstall that was cut off after the boot child named the parent: an old order
// permits nothing.
func (m *Machine) forgetOrder(op Op) error {
	if m.rec.Reinstall == nil {
		return nil
	}
	return m.step(op, "forget the order", func() error {
		return m.saveRecord(func(r *machineRecord) { r.Reinstall = nil })
	})
}

// mendJournal makes sure that no slot that rots brings back an older record than the one that was
// read.
func (m *Machine) mendJournal(op Op) error {
	return m.step(op, "mend the journal", m.journal.mend)
}

// step runs one named step of an operation. After an error the machine has to be opened again,
// because it is unknown what reached the disk.
func (m *Machine) step(op Op, name string, f func() error) error {
	if err := f(); err != nil {
		m.failed.Store(true)
		return &StepError{Op: op, Step: name, Err: err}
	}
	return nil
}

// saveRecord makes a changed record durable, then believes it.
func (m *Machine) saveRecord(change func(r *machineRecord)) error {
	r := m.rec.clone()
	change(r)
	if err := r.save(m.journal); err != nil {
		return err
	}
	m.rec = r
	return nil
}
