package machine

import (
	"encoding/binary"
	"fmt"

	"troy/internal/guid"
	"troy/vhdx"
)

// payloadWriter writes the virtual disk into the parent, in place: payload alone, never a structure.
type payloadWriter struct {
	op   string
	f    File
	plan *mergePlan
}

// newPayload refuses, before anything is written, a parent that does not hold every block. d may have a log to replay.
func newPayload(op string, f File, d *diskFile) (*payloadWriter, error) {
	p := &payloadWriter{op: op, f: f, plan: &mergePlan{base: d, geo: d.v.Geometry(), virtual: d.meta.VirtualDiskSize}}
	p.plan.bat = make([]byte, p.plan.geo.BATEntries()*8)
	for block := range p.plan.geo.Blocks() {
		i := p.plan.geo.PayloadIndex(block)
		e, err := d.v.BATEntry(i)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", BaseName, err)
		}
		binary.LittleEndian.PutUint64(p.plan.bat[i*8:], uint64(e))
		if _, _, err := p.plan.place(block * int64(p.plan.geo.BlockSize)); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *payloadWriter) writeAt(b []byte, off int64) (n int, err error) {
	size := int64(len(b))
	if off < 0 || off%pageSize != 0 || size%pageSize != 0 || size > p.plan.virtual || off > p.plan.virtual-size {
		return 0, fmt.Errorf("%w: write of %d bytes at %d of %d is not whole pages inside of the disk", ErrRuns, size, off, p.plan.virtual)
	}
	for n < len(b) {
		dst, room, err := p.plan.place(off + int64(n))
		if err != nil {
			return n, err
		}
		part := b[n:min(int64(len(b)), int64(n)+room)]
		if err := writeFull(p.f, part, dst); err != nil {
			return n, &StepError{Op: p.op, Step: "write payload", Err: err}
		}
		n += len(part)
	}
	return n, nil
}

// replayBaseLog carries out and closes a log that somebody else left in the parent.
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

// switchBaseGUID gives the parent a DataWriteGuid, in both copies of the header. The first one decides.
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
