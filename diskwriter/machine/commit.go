package machine

import (
	"bytes"
	"context"
	"fmt"

	"troy/internal/block"
	"troy/internal/guid"
	"troy/vhdx"
)

// change is one atomic change of the boot child: which parent it names, whether its session is
// thrown away, and what the machine is called.
type change struct {
	m      *Machine
	op     Op
	parent *diskFile
	reset  bool      // empty the boot child; otherwise what it shows stays the same
	own    *ownPages // show these over the version, in a boot child that is empty

	layout  *layout
	patches []patch
	header  vhdx.Header // current, later the one just written
	slot    int         // where header is
}

// patch is a part of the boot child that the change rewrites: whole pages, data or zeros.
type patch struct {
	off  int64
	data []byte
	zero int64 // bytes, when data is nil
}

// changeStep is one step of the write order. Each ends durable, so that the next may rely on it.
type changeStep struct {
	name string
	run  func(*change) error
}

// commitSteps is the order that docs/design.md promises. Nothing of it may be swapped: the first
// header write decides (all of a header is in its first 512 bytes), the entry has to be durable
// before it, and may only be applied after both: were one copy to rot, the other would show half of
// the change.
func commitSteps() []changeStep {
	return append([]changeStep{
		{"replay the log Windows left", (*change).replayLog},
		{"compose the change", (*change).compose},
	}, switchSteps()...)
}

// switchSteps is the part that all changes have in common.
func switchSteps() []changeStep {
	return []changeStep{
		{"record the session", (*change).recordSession},
		{"write the log entry", (*change).writeLogEntry},
		{"switch the header", (*change).writeHeader},
		{"switch its other copy", (*change).writeHeader},
		{"apply the log entry", (*change).applyLogEntry},
		{"close the log", (*change).closeLog},
	}
}

// Commit makes the boot child name the staged slot and throws its session away, in one act: one
// sector decides. It costs eight flushes, and the replay of the log if Windows was cut off.
//
// Errors: ErrNothingStaged, ErrChain if the boot child was not made here, *StepError.
func (m *Machine) Commit(ctx context.Context) error {
	if err := m.ready(opCommit); err != nil {
		return err
	}
	d := m.staged()
	if d == nil {
		return m.nothingStaged()
	}
	return m.change(ctx, &change{op: opCommit, parent: d, reset: true})
}

// nothingStaged names a slot that could not be read.
func (m *Machine) nothingStaged() error {
	for _, d := range m.slots {
		if d.unread {
			return m.step(opCommit, "find the staged slot", func() error { return fmt.Errorf("%w: %w", ErrNothingStaged, d.unusable()) })
		}
	}
	return ErrNothingStaged
}

// Reset empties the boot child: the machine is as it was after Commit. Errors: ErrChain,
// *StepError.
func (m *Machine) Reset(ctx context.Context) error {
	if err := m.ready(opReset); err != nil {
		return err
	}
	return m.change(ctx, &change{op: opReset, parent: m.chain[0], reset: true})
}

// Rollback makes the boot child name what is below the topmost slot, throws its session away, and
// poisons the slot. Errors: ErrNoRollback, ErrMergeStarted, ErrChain, *StepError.
func (m *Machine) Rollback(ctx context.Context) error {
	if err := m.ready(opRollback); err != nil {
		return err
	}
	top := m.chain[0]
	if top == m.base {
		return ErrNoRollback
	}
	if _, known := m.rec.label(top.guid()); !known || m.merge() != nil {
		return ErrMergeStarted
	}
	if err := m.change(ctx, &change{op: opRollback, parent: m.chain[1], reset: true}); err != nil {
		return err
	}
	return m.poisonUnused(opRollback)
}

// change runs the steps and reloads the machine.
func (m *Machine) change(ctx context.Context, c *change) error {
	if err := m.runChange(ctx, c, commitSteps()); err != nil {
		return err
	}
	return m.changed(c.op)
}

// changed looks at what the machine is now.
func (m *Machine) changed(op Op) error {
	if err := m.step(op, "reload the machine", m.load); err != nil {
		return err
	}
	return m.settleSession(op)
}

// runChange asks ctx only before the first step: the steps take milliseconds, and a log that is
// left open for no reason would be one more thing for Windows' boot loader to understand.
func (m *Machine) runChange(ctx context.Context, c *change, steps []changeStep) error {
	c.m = m
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := m.checkLayout(c); err != nil {
		return err
	}
	for _, s := range steps {
		if err := m.step(c.op, s.name, func() error { return s.run(c) }); err != nil {
			return err
		}
	}
	return nil
}

// checkLayout refuses, before anything is written, a boot child whose places are not those of
// formatBootChild.
func (m *Machine) checkLayout(c *change) error {
	if err := m.boot.checkBoot(); err != nil {
		return err
	}
	c.layout = bootLayout(m.boot.meta.VirtualDiskSize, m.boot.meta.LogicalSectorSize)
	if m.boot.meta.BlockSize != bootBlockSize || m.boot.Size < c.layout.size {
		return fmt.Errorf("%w: %s has blocks of %d bytes and %d bytes in all; nothing was written", ErrChain, BootName, m.boot.meta.BlockSize, m.boot.Size)
	}
	if err := c.layout.matches(&m.boot.header, m.boot.v.Regions()); err != nil {
		return fmt.Errorf("%w: %s was not made here: %w; nothing was written", ErrChain, BootName, err)
	}
	return nil
}

// replayLog carries out what Windows, or a change that was cut off, had in its log, and closes it.
// Without a log it writes nothing.
func (c *change) replayLog() error { return c.m.replayBootLog() }

func (m *Machine) replayBootLog() error {
	if m.boot.header.LogGUID.IsZero() {
		return nil
	}
	v, err := vhdx.OpenStorage(m.boot.File, m.boot.Size, &vhdx.OpenOptions{Writable: true})
	if err != nil {
		return err
	}
	if err := v.Close(); err != nil {
		return err
	}
	if err := m.boot.Sync(); err != nil {
		return err
	}
	m.boot = readDisk(BootName, m.files.Boot)
	return m.boot.checkBoot()
}

// readHeader reads the current header of a boot child whose log is empty.
func (c *change) readHeader() error {
	header, slot, err := vhdx.ReadHeaders(c.m.boot)
	if err != nil {
		return err
	}
	if !header.LogGUID.IsZero() {
		return fmt.Errorf("%w: the log of %s is not empty", ErrChain, BootName)
	}
	c.header, c.slot = *header, slot
	return nil
}

// compose works out which pages change. It writes nothing.
func (c *change) compose() error {
	if err := c.readHeader(); err != nil {
		return err
	}
	if err := c.composeLocator(); err != nil || !c.reset {
		return err
	}
	c.addChanged(c.layout.anchoredBAT(), c.layout.bat.off)
	for chunk := range c.layout.geo.Chunks() {
		c.addZero(c.layout.bitmapOffset(chunk))
	}
	return nil
}

// composeLocator rewrites the metadata as a whole: whatever Windows added to the locator (paths,
// parent_linkage2) named the old parent.
func (c *change) composeLocator() error {
	base := &Base{VirtualSize: c.m.boot.meta.VirtualDiskSize, LogicalSectorSize: c.m.boot.meta.LogicalSectorSize,
		PhysicalSectorSize: c.m.boot.meta.PhysicalSectorSize, DiskID: c.m.boot.meta.VirtualDiskID}
	content, err := base.childMetadata(c.layout, c.parent.guid(), c.parent.name).Marshal()
	if err != nil {
		return err
	}
	c.addChanged(content, c.layout.metadata.off)
	return nil
}

// addChanged takes pages that cannot be read for changed: they are whole again once they were
// written.
func (c *change) addChanged(want []byte, off int64) {
	runs, _ := changedPages(c.m.boot.File, want, off)
	for _, r := range runs {
		c.patches = append(c.patches, patch{off: off + int64(r[0]), data: want[r[0] : r[0]+r[1]]})
	}
}

// addZero clears a sector bitmap from its first to its last page that is not zero: one descriptor
// at most, so that the entry always fits the log.
func (c *change) addZero(off int64) {
	have, zero := make([]byte, mib), make([]byte, pageSize)
	if err := block.ReadFull(c.m.boot.File, have, off); err != nil {
		c.patches = append(c.patches, patch{off: off, zero: mib})
		return
	}
	first, end := -1, 0
	for at := 0; at < len(have); at += pageSize {
		if bytes.Equal(have[at:at+pageSize], zero) {
			continue
		}
		if first < 0 {
			first = at
		}
		end = at + pageSize
	}
	if first >= 0 {
		c.patches = append(c.patches, patch{off: off + int64(first), zero: int64(end - first)})
	}
}

// recordSession notes the DataWriteGuid that the boot child will have, beside the one it has.
func (c *change) recordSession() error {
	if !c.reset && c.own == nil {
		return nil
	}
	next := guid.New()
	err := c.m.saveRecord(func(r *machineRecord) { r.nextSession(c, next) })
	c.header.DataWriteGUID = next
	return err
}

// writeLogEntry puts the whole change into one entry at the start of the log. The log is not in use
// (its LogGuid is zero), so no reader looks at it yet.
func (c *change) writeLogEntry() error {
	c.header.LogGUID = guid.New()
	size := c.m.boot.Size / mib * mib
	e := &vhdx.LogEntry{SequenceNumber: 1, LogGUID: c.header.LogGUID, FlushedFileOffset: size, LastFileOffset: size}
	for _, p := range c.patches {
		if p.data == nil {
			e.Descriptors = append(e.Descriptors, vhdx.LogDescriptor{FileOffset: p.off, ZeroLength: p.zero})
		}
		for at := 0; at < len(p.data); at += pageSize {
			e.Descriptors = append(e.Descriptors, vhdx.LogDescriptor{FileOffset: p.off + int64(at), Data: p.data[at : at+pageSize]})
		}
	}
	b, err := e.Marshal()
	if err != nil {
		return err
	}
	if int64(len(b)) >= c.layout.log.length {
		return fmt.Errorf("the log entry has %d bytes, the log %d", len(b), c.layout.log.length)
	}
	if err := writeFull(c.m.boot.File, b, c.layout.log.off); err != nil {
		return err
	}
	return c.m.boot.Sync()
}

// writeHeader writes the header over the older of the two copies.
func (c *change) writeHeader() error {
	h := c.header
	h.SequenceNumber++
	h.FileWriteGUID, h.Version, h.LogVersion = guid.New(), 1, 0
	if err := writeFull(c.m.boot.File, h.Marshal(), headerOffset(1-c.slot)); err != nil {
		return err
	}
	c.header, c.slot = h, 1-c.slot
	return c.m.boot.Sync()
}

// applyLogEntry carries out what the entry says.
func (c *change) applyLogEntry() error {
	for _, p := range c.patches {
		data := p.data
		if data == nil {
			data = make([]byte, p.zero)
		}
		if err := writeFull(c.m.boot.File, data, p.off); err != nil {
			return err
		}
	}
	return c.m.boot.Sync()
}

// closeLog says that nothing is left to replay, in both copies of the header: a damaged one must
// not bring back a log that was overwritten since.
func (c *change) closeLog() error {
	c.header.LogGUID = guid.GUID{}
	if err := c.writeHeader(); err != nil {
		return err
	}
	return c.writeHeader()
}
