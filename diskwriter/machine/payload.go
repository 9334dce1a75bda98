package machine

import (
	"fmt"

	"troy/internal/guid"
	"troy/vhdx"
)

// baseMap finds the places of the virtual disk in the parent's file.
type baseMap struct {
	disk  *vhdx.Chain // the parent alone
	block int64       // bytes
}

func newBaseMap(v *vhdx.File) (*baseMap, error) {
	disk, err := vhdx.NewChain(v)
	return &baseMap{disk: disk, block: int64(v.Geometry().BlockSize)}, err
}

// place returns where the parent holds the byte at off, and how many of the next n bytes follow it
// in the file.
func (b *baseMap) place(off, n int64) (at, length int64, err error) {
	for e, err := range b.disk.Extents(off, n) {
		if err == nil {
			err = b.check(e)
		}
		return e.FileOffset, e.Length, wrapFormat(err)
	}
	return 0, 0, fmt.Errorf("%w: %d is past the end of %s", ErrChain, off, BaseName)
}

// whole refuses a parent that does not hold every byte of the disk.
func (b *baseMap) whole() error {
	for e, err := range b.disk.Extents(0, b.disk.Size()) {
		if err == nil {
			err = b.check(e)
		}
		if err != nil {
			return wrapFormat(err)
		}
	}
	return nil
}

func (b *baseMap) check(e vhdx.Extent) error {
	if e.Kind == vhdx.Data {
		return nil
	}
	return fmt.Errorf("%w: block %d of %s is %s, not FULLY_PRESENT; nothing was written", ErrChain, e.Offset/b.block, BaseName, e.Kind)
}

// wrapFormat makes bad content of the parent an ErrChain; a bad disk stays what it is.
func wrapFormat(err error) error {
	if err == nil || !isFormat(err) {
		return err
	}
	return fmt.Errorf("%w: %s: %w", ErrChain, BaseName, err)
}

// payloadWriter writes the virtual disk into the parent, in place: payload alone, never a
// structure.
type payloadWriter struct {
	op      Op
	f       File
	base    *baseMap
	virtual int64
}

// newPayload refuses, before anything is written, a parent that does not hold every block. d may
// have a log to replay.
func newPayload(op Op, f File, d *diskFile) (*payloadWriter, error) {
	if err := d.checkBase(); err != nil {
		return nil, err
	}
	base, err := newBaseMap(d.v)
	if err == nil {
		err = base.whole()
	}
	if err != nil {
		return nil, err
	}
	return &payloadWriter{op: op, f: f, base: base, virtual: d.meta.VirtualDiskSize}, nil
}

func (p *payloadWriter) writeAt(b []byte, off int64) (n int, err error) {
	size := int64(len(b))
	if off < 0 || off%pageSize != 0 || size%pageSize != 0 || size > p.virtual || off > p.virtual-size {
		return 0, fmt.Errorf("%w: write of %d bytes at %d of %d is not whole pages inside of the disk", ErrRuns, size, off, p.virtual)
	}
	for n < len(b) {
		dst, length, err := p.base.place(off+int64(n), size-int64(n))
		if err != nil {
			return n, err
		}
		part := b[n : n+int(length)]
		if err := writeFull(p.f, part, dst); err != nil {
			return n, &StepError{Op: p.op, Step: "write payload", Err: err}
		}
		n += len(part)
	}
	return n, nil
}

// replayBaseLog carries out and closes a log that another program left in the parent.
func (m *Machine) replayBaseLog() error {
	h, _, err := vhdx.ReadHeaders(m.files.Base)
	if err != nil || h.LogGUID.IsZero() {
		return err
	}
	v, err := vhdx.OpenStorage(m.files.Base, m.files.Base.Size, &vhdx.OpenOptions{Writable: true})
	if err != nil {
		return err
	}
	if err := v.Close(); err != nil {
		return err
	}
	return m.files.Base.Sync()
}

// switchBaseGUID gives the parent a DataWriteGuid, in both copies of the header. The first one
// decides.
func (m *Machine) switchBaseGUID(id guid.GUID) error {
	h, current, err := vhdx.ReadHeaders(m.files.Base)
	if err != nil {
		return err
	}
	h.DataWriteGUID, h.LogGUID = id, guid.GUID{}
	return writeBothHeaders(m.files.Base, h, current)
}

// writeBothHeaders writes the copy that is not current first; each is durable before the next.
func writeBothHeaders(f File, h *vhdx.Header, current int) error {
	for _, slot := range []int{1 - current, current} {
		h.SequenceNumber++
		h.FileWriteGUID = guid.New()
		if err := writeFull(f, h.Marshal(), headerOffset(slot)); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}
