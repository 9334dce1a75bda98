package machine

import (
	"context"
	"fmt"
	"io"

	"troy/internal/guid"
	"troy/vhdx"
)

// unfinishedName is what the locator of a poisoned boot child names: a file that is not there, so
// that no program opens the half-written parent, even one that ignores GUIDs.
const unfinishedName = "reinstall-unfinished"

// ReinstallRequest is the explicit order to make the parent another version as a whole.
type ReinstallRequest struct {
	Image    string
	Version  int
	Manifest string // see Label

	// The virtual disk of the version; 0: what the files say.
	VirtualSize       int64 // bytes
	LogicalSectorSize uint32
}

// Reinstaller rewrites the parent in place, for a version that fits no slot, or a machine that
// cannot be healed. From the moment Reinstall returns until Finish does, the machine boots nothing:
// it needs the agent.
type Reinstaller struct {
	m    *Machine
	req  ReinstallRequest
	pay  *payloadWriter
	view *vhdx.Chain

	newBase *Base // to format the parent with; nil: it is used as it is
	newBoot *Base // likewise the boot child
}

// Reinstall begins, or goes on with, the rewriting of the parent. The boot child is poisoned first,
// so that a mixture never boots, and its session is lost; then the parent gets a new DataWriteGuid,
// so that no child that named the old one finds it. An unfinished reinstall of the same version
// goes on at Offset, of another one starts over. f need not be a machine that Open takes: a parent
// that was changed by another program does not matter, and damaged files are made again.
//
// Errors: ErrOtherSize, and ErrChain if files of these sizes cannot be made into a machine: nothing
// was written; *StepError.
func Reinstall(ctx context.Context, f Files, r *ReinstallRequest) (*Reinstaller, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	in := &Reinstaller{m: &Machine{files: f}, req: *r}
	if err := in.look(); err != nil {
		return nil, fmt.Errorf("reinstall: %w", err)
	}
	if err := in.begin(ctx); err != nil {
		return nil, err
	}
	return in, nil
}

// CheckReinstall returns the error with which Reinstall would refuse the order. It writes nothing.
func CheckReinstall(f Files, r *ReinstallRequest) error {
	return (&Reinstaller{m: &Machine{files: f}, req: *r}).look()
}

// look refuses before anything is written.
func (in *Reinstaller) look() error {
	m := in.m
	if err := m.settle(); err != nil {
		return err
	}
	if err := m.look(); err != nil {
		return err
	}
	return in.plan()
}

func (in *Reinstaller) begin(ctx context.Context) error {
	m := in.m
	if err := m.mendJournal(opReinstall); err != nil {
		return err
	}
	id, resumed := in.resumable()
	if !resumed {
		id = guid.New()
		if err := m.step(opReinstall, "record the order", func() error { return in.recordOrder(id) }); err != nil {
			return err
		}
	}
	if err := in.poisonBoot(ctx); err != nil {
		return err
	}
	parent := step{"replay the log of the parent", m.replayBaseLog}
	if in.newBase != nil {
		parent = step{"make the parent again", func() error { return formatBase(m.files.Base, in.newBase) }}
	}
	for _, s := range []step{
		parent,
		{"give the parent a new GUID", func() error { return m.switchBaseGUID(id) }},
		{"reload the machine", m.load},
		{"look at the parent", in.openBase},
	} {
		if err := m.step(opReinstall, s.name, s.run); err != nil {
			return err
		}
	}
	return nil
}

// step is one step of an operation.
type step struct {
	name string
	run  func() error
}

// resumable tells whether the parent holds the beginning of the same version. The GUID vouches for
// it: it is new for every reinstall, and any other program that writes to the parent changes it.
func (in *Reinstaller) resumable() (guid.GUID, bool) {
	m, r := in.m, in.m.rec.Reinstall
	if !m.reinstalling || r == nil || r.Base != m.base.guid() || !m.base.header.LogGUID.IsZero() {
		return guid.GUID{}, false
	}
	return r.Base, r.Image == in.req.Image && r.Version == in.req.Version && r.Manifest == in.req.Manifest
}

func (in *Reinstaller) recordOrder(id guid.GUID) error {
	return in.m.saveRecord(func(r *machineRecord) {
		r.Reinstall = &reinstallRecord{Image: in.req.Image, Version: in.req.Version, Manifest: in.req.Manifest, Base: id}
	})
}

// openBase looks at the parent, and at the boot child, which the machine was loaded without if it
// could not be read.
func (in *Reinstaller) openBase() (err error) {
	if err := in.m.boot.checkBoot(); err != nil {
		return err
	}
	if in.pay, err = newPayload(opReinstall, in.m.files.Base, in.m.base); err != nil {
		return err
	}
	in.view, err = vhdx.NewChain(in.m.base.v)
	return err
}

// Size is the size of the virtual disk in bytes.
func (in *Reinstaller) Size() int64 { return in.pay.virtual }

// Offset is where to go on: everything below is done.
func (in *Reinstaller) Offset() int64 { return in.m.rec.Reinstall.Cursor }

// ReadAt reads the virtual disk as the parent shows it, so that it can be verified before Finish.
// Pages that cannot be read come back as what no version holds.
func (in *Reinstaller) ReadAt(p []byte, off int64) (int, error) { return readAround(in.view, p, off) }

// Place returns where in the parent's file the byte at off of the virtual disk is, and how many of
// the next n bytes follow it there. Errors: ErrChain, read errors.
func (in *Reinstaller) Place(off, n int64) (at, length int64, err error) {
	return in.pay.base.place(off, n)
}

// WriteAt writes whole 4 KiB pages of the virtual disk, in any order, zeros too. It may be called
// concurrently, and again after an error of the disk. Errors: ErrRuns, ErrReopen, *StepError.
func (in *Reinstaller) WriteAt(p []byte, off int64) (int, error) {
	if in.m.failed.Load() {
		return 0, ErrReopen
	}
	return in.pay.writeAt(p, off)
}

// Advance makes durable what was written, and then notes that everything below offset is done:
// there a reinstall that is cut off goes on. It must not run beside WriteAt, and never goes back.
// Errors: ErrRuns, ErrReopen, *StepError.
func (in *Reinstaller) Advance(ctx context.Context, offset int64) error {
	if err := in.usable(ctx); err != nil {
		return err
	}
	if offset%pageSize != 0 || offset > in.Size() {
		return fmt.Errorf("%w: progress %d of %d", ErrRuns, offset, in.Size())
	}
	if offset <= in.Offset() {
		return nil
	}
	if err := in.m.step(opReinstall, "flush payload", in.m.files.Base.Sync); err != nil {
		return err
	}
	return in.m.step(opReinstall, "record the progress", func() error {
		return in.m.saveRecord(func(r *machineRecord) { r.Reinstall.Cursor = offset })
	})
}

func (in *Reinstaller) usable(ctx context.Context) error {
	if in.m.failed.Load() {
		return ErrReopen
	}
	return ctx.Err()
}

// Finish makes the machine boot the new version: the parent gets its label, the slots are poisoned,
// and the boot child names the parent. Whether the content is right is the caller's word.
// Afterwards the Reinstaller is used up; open the machine. Errors: ErrIncomplete if Advance did not
// reach Size, ErrReopen, *StepError.
func (in *Reinstaller) Finish(ctx context.Context) error {
	m := in.m
	if err := in.usable(ctx); err != nil {
		return err
	}
	if at := in.Offset(); at < in.Size() {
		return fmt.Errorf("%w: the reinstall is at %d of %d bytes", ErrIncomplete, at, in.Size())
	}
	if err := m.step(opReinstall, "flush payload", m.files.Base.Sync); err != nil {
		return err
	}
	if err := m.step(opReinstall, "label the parent", in.recordVersion); err != nil {
		return err
	}
	if err := m.poisonUnused(opReinstall); err != nil {
		return err
	}
	if err := m.step(opReinstall, "look at the parent", in.openBase); err != nil {
		return err
	}
	if err := m.change(ctx, &change{op: opReinstall, parent: m.base, reset: true}); err != nil {
		return err
	}
	err := m.forgetOrder(opReinstall)
	m.failed.Store(true) // used up
	return err
}

func (in *Reinstaller) recordVersion() error {
	return in.m.saveRecord(func(r *machineRecord) {
		r.Base = Label{GUID: in.m.base.guid(), Image: in.req.Image, Version: in.req.Version, Manifest: in.req.Manifest}
		r.Merge, r.Layers = nil, nil
	})
}

// unfinished tells whether the boot child is one that Reinstall poisoned.
func (d *diskFile) unfinished() bool {
	path, _ := d.meta.ParentLocator.Get(vhdx.KeyRelativePath)
	return d.linkage.IsZero() && path == `.\`+unfinishedName
}

// reinstallState is the State of a machine whose reinstall is not finished. The journal names the
// version; the boot child, poisoned or being made again, says that there is one.
func (m *Machine) reinstallState() State {
	s := State{Reinstalling: true}
	for _, d := range []*diskFile{m.base, m.boot} {
		if d.v != nil {
			s.LogPending = d == m.boot && d.v.LogPending()
			s.VirtualSize, s.LogicalSectorSize = d.meta.VirtualDiskSize, d.meta.LogicalSectorSize
		}
	}
	if r := m.rec.Reinstall; r != nil {
		s.ReinstallImage, s.ReinstallVersion, s.ReinstallManifest = r.Image, r.Version, r.Manifest
	}
	return s
}

var (
	_ io.ReaderAt = (*Reinstaller)(nil)
	_ io.WriterAt = (*Reinstaller)(nil)
)
