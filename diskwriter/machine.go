package diskwriter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"troy/vhdx"
)

// Options are for OpenMachine; there are none yet.
type Options struct{}

// Machine is the set of files of one PC. Its methods must not be called concurrently.
type Machine struct {
	files   Files
	journal *Journal
	rec     *machineRecord
	base    *diskFile
	slots   [2]*diskFile
	boot    *diskFile
	chain   []*diskFile // what the boot child sits on: slots from the top down, then base
	failed  bool
}

// diskFile is one VHDX as it was when it was read. v is nil for a slot that cannot be used as a parent; why says so.
type diskFile struct {
	File
	name    string
	v       *vhdx.File
	header  vhdx.Header
	meta    *vhdx.Metadata
	linkage vhdx.GUID
	why     error
}

func (d *diskFile) guid() vhdx.GUID { return d.header.DataWriteGUID }

// State is what a machine holds. Versions are 0 when unknown: the journal was lost, which costs labels but no data.
type State struct {
	Image       string // of the version that the boot child shows
	Version     int    // that the boot child shows: what the machine boots
	BaseVersion int    // that the parent alone would show; 0 while a merge makes it a mixture
	Staged      int    // finished slot that waits for Commit; 0: none
	StagedImage string

	Layers         int   // slots between boot child and parent: 0, 1 or 2
	SlotFree       bool  // Stage has a slot to write to
	Merging        bool  // the merge has begun: no rollback
	Merged         bool  // the merge is finished, Relink is next
	MergeOffset    int64 // bytes of the virtual disk that are done
	SessionWritten bool  // somebody wrote to the virtual disk since Commit, Reset or Rollback: Windows was up
	LogPending     bool  // the boot child has a log to replay: Windows was cut off, or Recover has work
	Recorded       bool  // the journal knows the version

	VirtualSize       int64 // bytes
	LogicalSectorSize uint32
}

// OpenMachine reads the files and finds out what they are. It writes nothing, but flushes first: what an interrupted
// process left in a cache must not be believed before it is durable.
//
// Errors: ErrParentChanged (as *ParentChangedError), ErrChain, and read errors as they come.
func OpenMachine(f Files, _ *Options) (*Machine, error) {
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

// Journal returns the journal for the agent's own records.
func (m *Machine) Journal() *Journal { return m.journal }

// Content reads the version that the boot child sits on (State.Version), without the session in the boot child: the
// source of pages that a newer version has elsewhere. It is valid until the next operation.
func (m *Machine) Content() (*vhdx.Chain, error) {
	files := make([]*vhdx.File, len(m.chain))
	for i, d := range m.chain {
		files[i] = d.v
	}
	return vhdx.NewChain(files...)
}

func (m *Machine) load() error {
	var err error
	if m.journal, err = OpenJournal(m.files.Journal); err != nil {
		return err
	}
	if m.rec, err = loadRecord(m.journal); err != nil {
		return err
	}
	if err := m.readFiles(); err != nil {
		return err
	}
	if m.chain, err = m.resolve(); err != nil {
		return err
	}
	return m.checkMerge()
}

// settle flushes every file.
func (m *Machine) settle() error {
	f := m.files
	for _, s := range []File{f.Base, f.LayerA, f.LayerB, f.Boot, f.Journal} {
		if s.Storage == nil {
			return fmt.Errorf("%w: a file is missing", ErrChain)
		}
		if err := s.Sync(); err != nil {
			return fmt.Errorf("flush: %w", err)
		}
	}
	return nil
}

func (m *Machine) readFiles() (err error) {
	if m.base, err = readDisk(BaseName, m.files.Base); err != nil {
		return err
	}
	if m.boot, err = readDisk(BootName, m.files.Boot); err != nil {
		return err
	}
	for i, name := range []string{LayerAName, LayerBName} {
		if m.slots[i], err = readDisk(name, m.slotFile(i)); err != nil {
			return err
		}
		m.slots[i].judgeParent(m.base)
	}
	return m.checkEnds()
}

func (m *Machine) slotFile(i int) File {
	if i == 0 {
		return m.files.LayerA
	}
	return m.files.LayerB
}

// checkEnds refuses a base or a boot child that cannot be used at all.
func (m *Machine) checkEnds() error {
	for _, d := range []*diskFile{m.base, m.boot} {
		if d.v == nil {
			return fmt.Errorf("%w: %s: %w", ErrChain, d.name, d.why)
		}
	}
	switch {
	case m.base.meta.HasParent:
		return fmt.Errorf("%w: %s is itself a differencing disk", ErrChain, BaseName)
	case !m.boot.meta.HasParent:
		return fmt.Errorf("%w: %s is no differencing disk", ErrChain, BootName)
	case m.base.meta.VirtualDiskSize%pageSize != 0:
		return fmt.Errorf("%w: a virtual disk of %d bytes is not whole 4 KiB pages", ErrChain, m.base.meta.VirtualDiskSize)
	}
	return m.boot.agrees(m.base)
}

// readDisk parses a file, its log replayed in memory. A file that is no VHDX is not an error here: d.why tells.
func readDisk(name string, f File) (*diskFile, error) {
	d := &diskFile{File: f, name: name}
	v, err := vhdx.NewFile(f, f.Size)
	if err != nil {
		if isFormat(err) {
			d.why = err
			return d, nil
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	h, _, err := vhdx.ReadHeaders(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	d.header, d.meta = *h, v.Metadata()
	if d.meta.HasParent {
		if d.linkage, err = d.meta.ParentLocator.Linkage(); err != nil {
			d.why = err
			return d, nil
		}
	}
	d.v = v
	return d, nil
}

// isFormat tells bad content from a bad disk.
func isFormat(err error) bool {
	return errors.Is(err, vhdx.ErrCorrupt) || errors.Is(err, vhdx.ErrUnsupported) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// judgeParent takes a slot out of consideration that Windows could not open as a parent, or that is poisoned.
func (d *diskFile) judgeParent(base *diskFile) {
	switch {
	case d.v == nil || base.v == nil:
		return
	case !d.meta.HasParent || d.linkage.IsZero():
		d.why = errors.New("poisoned")
	case !d.header.LogGUID.IsZero():
		d.why = errors.New("its log is not empty")
	default:
		d.why = d.agrees(base)
	}
	if d.why != nil {
		d.v = nil
	}
}

func (d *diskFile) agrees(base *diskFile) error {
	a, b := d.meta, base.meta
	if a.VirtualDiskSize != b.VirtualDiskSize || a.LogicalSectorSize != b.LogicalSectorSize {
		return fmt.Errorf("%w: %s is a disk of %d bytes in sectors of %d, %s of %d in %d", ErrChain,
			d.name, a.VirtualDiskSize, a.LogicalSectorSize, base.name, b.VirtualDiskSize, b.LogicalSectorSize)
	}
	return nil
}

// resolve follows the linkage GUIDs from the boot child to base. Paths are only used to say what is wrong.
func (m *Machine) resolve() ([]*diskFile, error) {
	var chain []*diskFile
	for d := m.boot; ; {
		parent := m.byGUID(d.linkage)
		if parent == nil || slices.Contains(chain, parent) {
			return nil, m.unresolved(d)
		}
		chain = append(chain, parent)
		if parent == m.base {
			return chain, m.checkBase()
		}
		d = parent
	}
}

func (m *Machine) byGUID(guid vhdx.GUID) *diskFile {
	for _, d := range []*diskFile{m.slots[0], m.slots[1], m.base} {
		if d.v != nil && d.guid() == guid && !guid.IsZero() {
			return d
		}
	}
	return nil
}

// checkBase refuses a parent that somebody else is in the middle of writing to.
func (m *Machine) checkBase() error {
	if !m.base.header.LogGUID.IsZero() {
		return fmt.Errorf("%w: the log of %s is not empty: it was opened read-write elsewhere; nothing was written", ErrParentChanged, BaseName)
	}
	return nil
}

// unresolved explains a child whose parent is not there.
func (m *Machine) unresolved(child *diskFile) error {
	path, _ := child.meta.ParentLocator.Get(vhdx.KeyRelativePath)
	named := strings.ToLower(path[strings.LastIndexByte(path, '\\')+1:])
	for _, d := range []*diskFile{m.base, m.slots[0], m.slots[1]} {
		if d.name == named && d.v != nil && !child.linkage.IsZero() {
			return &ParentChangedError{Child: child.name, Parent: d.name, Want: child.linkage, Have: d.guid()}
		}
	}
	return fmt.Errorf("%w: %s names a parent %s (%q) that no file is; nothing was written", ErrChain, child.name, child.linkage, path)
}

// checkMerge refuses a base that is half a merge when the slot that masks it is not above it.
func (m *Machine) checkMerge() error {
	r := m.rec.Merge
	if r == nil || r.Base != m.base.guid() || r.Done {
		return nil
	}
	for _, d := range m.chain {
		if d.guid() == r.Top.GUID {
			return nil
		}
	}
	return fmt.Errorf("%w: %s is half merged with version %d, which %s does not sit on; nothing was written", ErrChain, BaseName, r.Top.Version, BootName)
}

// State tells what the machine holds.
func (m *Machine) State() State {
	top, known := m.rec.label(m.chain[0].guid())
	s := State{Image: top.Image, Version: top.Version, Recorded: known, Layers: len(m.chain) - 1,
		SlotFree: m.freeSlot() >= 0, LogPending: m.boot.v.LogPending(),
		VirtualSize: m.base.meta.VirtualDiskSize, LogicalSectorSize: m.base.meta.LogicalSectorSize}
	if base, ok := m.rec.label(m.base.guid()); ok {
		s.BaseVersion = base.Version
	}
	if !known {
		s.Image, s.Version = "", 0
	}
	if d := m.staged(); d != nil {
		l, _ := m.rec.label(d.guid())
		s.Staged, s.StagedImage = l.Version, l.Image
	}
	if r := m.merge(); r != nil {
		s.Merging, s.Merged, s.MergeOffset = true, r.Done, r.Cursor
	}
	s.SessionWritten = len(m.rec.Sessions) > 0 && !slices.Contains(m.rec.Sessions, m.boot.guid())
	return s
}

func (m *Machine) inChain(d *diskFile) bool { return slices.Contains(m.chain, d) }

func (m *Machine) byGUIDInChain(guid vhdx.GUID) bool {
	return slices.ContainsFunc(m.chain, func(d *diskFile) bool { return d.guid() == guid })
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

// freeSlot returns the index of a slot that no chain names, one without a staged version if possible; -1: none.
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

// ready is asked before every operation. It finishes a Relink that was cut off, because of which slots look staged.
func (m *Machine) ready(op string) error {
	if m.failed {
		return ErrReopen
	}
	return m.finishMerge(op)
}

// step runs one named step of an operation. After an error the machine has to be opened anew, because it is unknown what
// reached the disk.
func (m *Machine) step(op, name string, f func() error) error {
	if err := f(); err != nil {
		m.failed = true
		return &StepError{Op: op, Step: name, Err: err}
	}
	return nil
}

// SetVersion notes what the version that the boot child sits on is, for a machine whose journal was lost or never knew.
// It is refused while a merge is under way. Errors: ErrMergeStarted, *StepError.
func (m *Machine) SetVersion(ctx context.Context, image string, version int) error {
	if err := m.ready("set version"); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.merge() != nil {
		return ErrMergeStarted
	}
	l := Label{GUID: m.chain[0].guid(), Image: image, Version: version}
	return m.step("set version", "record it", func() error {
		return m.saveRecord(func(r *machineRecord) {
			if m.chain[0] == m.base {
				r.Base = l
				return
			}
			r.keepLayers(func(guid vhdx.GUID) bool { return guid != l.GUID })
			r.Layers = append(r.Layers, l)
		})
	})
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
