package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"troy/internal/guid"
	"troy/vhdx"
)

// Healer brings a parent back that was opened read-write elsewhere: Open refuses it with
// ErrParentChanged, for its DataWriteGuid is not the one that its child names. The caller compares
// what ReadAt gives with the version that Label names, writes right bytes over wrong ones with
// WriteAt, and calls Finish. Until Finish the chain opens nowhere, neither here nor in Windows, as
// it was when it was found; a Healer that is dropped or cut off leaves that as it is, and the whole
// can be done again.
type Healer struct {
	m       *Machine
	want    guid.GUID
	label   Label
	known   bool
	merging []*diskFile // ReadAt shows these, slots too; nil: the parent alone
	view    *vhdx.Chain
	pay     *payloadWriter

	mu    sync.Mutex
	begun bool
}

// OpenForHeal finds the DataWriteGuid that the parent had, in the locators of its children. Like
// Open it flushes and writes nothing.
//
// Errors: ErrNothingToHeal for a machine that Open takes; ErrReinstalling; ErrParentChanged if a
// slot was changed (only a reinstall helps); ErrChain, also for a parent of which a block is
// missing; read errors.
func OpenForHeal(f Files) (*Healer, error) {
	h := &Healer{m: &Machine{files: f}}
	err := h.m.settle()
	if err == nil {
		err = h.m.loadFiles()
	}
	if err == nil {
		err = h.find()
	}
	if err != nil {
		return nil, fmt.Errorf("open for heal: %w", err)
	}
	return h, nil
}

// find looks at the machine as it will be once the GUID is back.
func (h *Healer) find() (err error) {
	m := h.m
	if h.want, err = m.lostGUID(); err != nil {
		return err
	}
	m.base = readDisk(BaseName, withGUID(m.files.Base, m.base.header, h.want))
	if err := m.base.checkBase(); err != nil {
		return err
	}
	if m.chain, err = m.walk(); err != nil {
		return err
	}
	if err := m.checkMerge(); err != nil {
		return err
	}
	if h.pay, err = newPayload(opHeal, m.files.Base, m.base); err != nil {
		return err
	}
	return h.aim()
}

// aim says what the parent is to show. While a merge makes it a mixture, what counts is what the slots
// that are merged make of it: one above them hides too much, for it may be rolled back. Where
// nothing is recorded, all slots count.
func (h *Healer) aim() (err error) {
	m := h.m
	if h.label, h.known = m.rec.label(h.want); h.known {
		h.view, err = vhdx.NewChain(m.base.v)
		return err
	}
	if r := m.rec.Merge; r != nil && r.Base == h.want {
		h.merging = m.chain[slices.IndexFunc(m.chain, func(d *diskFile) bool { return d.guid() == r.Top.GUID }):]
	} else {
		h.merging = m.chain
	}
	h.label, h.known = m.rec.label(h.merging[0].guid())
	h.view, err = chainOf(h.merging)
	return err
}

// lostGUID returns the DataWriteGuid that the lowest child names and that no file carries.
func (m *Machine) lostGUID() (guid.GUID, error) {
	if m.reinstalling {
		return guid.GUID{}, ErrReinstalling
	}
	d := m.boot
	for range len(m.slots) + 1 {
		parent := m.byGUID(d.linkage)
		switch {
		case parent == nil:
			return d.linkage, m.parentIsBase(d)
		case parent == m.base && m.base.header.LogGUID.IsZero():
			return guid.GUID{}, ErrNothingToHeal
		case parent == m.base:
			return d.linkage, nil
		}
		d = parent
	}
	return guid.GUID{}, m.unresolved(d)
}

// parentIsBase tells whether it was base that a child names: by the journal, or by the file name in
// the locator.
func (m *Machine) parentIsBase(child *diskFile) error {
	id := child.linkage
	if !id.IsZero() && (m.rec.Base.GUID == id || m.rec.Merge != nil && m.rec.Merge.Base == id) {
		return nil
	}
	err := m.unresolved(child)
	var changed *ParentChangedError
	if errors.As(err, &changed) && changed.Parent == BaseName {
		return nil
	}
	return err
}

// Label names the version that ReadAt has to show. Its GUID is the one that Finish brings back.
// known is false when the journal cannot tell the version: then the caller has to know.
func (h *Healer) Label() (l Label, known bool) {
	l = h.label
	l.GUID = h.want
	return l, h.known
}

// Size is the size of the virtual disk in bytes.
func (h *Healer) Size() int64 { return h.pay.virtual }

// ReadAt reads the virtual disk as the parent shows it; once a merge has begun, as the parent and the
// slots that are merged show it together. Pages that cannot be read come back as what no version
// holds. What WriteAt wrote is seen at once, except under a slot.
func (h *Healer) ReadAt(p []byte, off int64) (int, error) { return readAround(h.view, p, off) }

// WriteAt writes whole 4 KiB pages of the virtual disk into the parent's payload. It may be called
// concurrently, and again after an error of the disk. The first call replays the log that was left
// in the parent. Errors: ErrRuns, ErrReopen, *StepError.
func (h *Healer) WriteAt(p []byte, off int64) (int, error) {
	if err := h.begin(); err != nil {
		return 0, err
	}
	return h.pay.writeAt(p, off)
}

// begin must come before the first byte of payload: a log could hold an older one.
func (h *Healer) begin() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.m.failed.Load() {
		return ErrReopen
	}
	if h.begun {
		return nil
	}
	err := h.m.mendJournal(opHeal)
	if err == nil {
		err = h.m.step(opHeal, "replay the log of the parent", h.m.replayBaseLog)
	}
	h.begun = err == nil
	return err
}

// Finish makes what was written durable, and then gives the parent its DataWriteGuid back: from
// then on the machine boots. A merge that has begun starts at 0 again. Whether the content is right
// is the caller's word. Afterwards the Healer is used up; open the machine. Errors: ErrReopen,
// *StepError.
func (h *Healer) Finish(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := h.begin(); err != nil {
		return err
	}
	for _, s := range []struct {
		name string
		run  func() error
	}{
		{"flush payload", h.m.files.Base.Sync},
		{"restart the merge", h.restartMerge},
		{"restore the GUID of the parent", func() error { return h.m.switchBaseGUID(h.want) }},
		{"reload the machine", h.m.load},
	} {
		if err := h.m.step(opHeal, s.name, s.run); err != nil {
			return err
		}
	}
	h.m.failed.Store(true) // used up
	return nil
}

// restartMerge forgets the progress of a merge: what lay under the slots was not compared.
func (h *Healer) restartMerge() error {
	if r := h.m.rec.Merge; h.merging == nil || r == nil || r.Base != h.want {
		return nil
	}
	return h.m.saveRecord(func(r *machineRecord) { r.Merge.Cursor = 0 })
}

// relabelled shows a VHDX as if its headers had another DataWriteGuid.
type relabelled struct {
	Storage
	headers [2][]byte
}

func withGUID(f File, h vhdx.Header, id guid.GUID) File {
	h.DataWriteGUID = id
	r := relabelled{Storage: f.Storage}
	for slot := range r.headers {
		r.headers[slot] = h.Marshal()
		h.SequenceNumber++
	}
	return File{Storage: r, Size: f.Size}
}

// ReadAt puts the headers over what it reads.
func (r relabelled) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.Storage.ReadAt(p, off)
	for slot, b := range r.headers {
		at := headerOffset(slot)
		from, to := max(at, off), min(at+int64(len(b)), off+int64(n))
		if from < to {
			copy(p[from-off:to-off], b[from-at:])
		}
	}
	return n, err
}

var (
	_ io.ReaderAt = (*Healer)(nil)
	_ io.WriterAt = (*Healer)(nil)
)
