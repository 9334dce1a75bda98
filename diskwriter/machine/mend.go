package machine

import (
	"context"
	"errors"
	"fmt"
	"io"

	"troy/internal/block"
	"troy/vhdx"
)

// Mender brings back pages of the version that the boot child sits on (State.Version), where they
// are wrong or cannot be read, in whatever file of the chain they lie. The caller compares what
// ReadAt gives with the version, writes right bytes with WriteAt, and calls Finish. The machine boots
// all the while: only what was wrong is written, and no structure. A Mender that is dropped or cut
// off leaves the rest as wrong as it was.
type Mender struct {
	m    *Machine
	view *vhdx.Chain
}

// Mender looks at the version without the session, as Content does. It is valid until the next
// operation. Errors: ErrReopen, ErrReinstalling.
func (m *Machine) Mender() (*Mender, error) {
	if err := m.ready(opMend); err != nil {
		return nil, err
	}
	view, err := m.Content()
	return &Mender{m: m, view: view}, err
}

// Size is the size of the virtual disk in bytes.
func (d *Mender) Size() int64 { return d.view.Size() }

// ReadAt reads the virtual disk. Pages that cannot be read come back as what no version holds, so
// that the caller finds them wrong.
func (d *Mender) ReadAt(p []byte, off int64) (int, error) { return readAround(d.view, p, off) }

// unreadByte fills pages that cannot be read.
const unreadByte = 0xe5

// readAround reads a disk that is compared and repaired: a page that cannot be read is as good as
// wrong, and often whole again once it was written to.
func readAround(view *vhdx.Chain, p []byte, off int64) (int, error) {
	n, err := view.ReadAt(p, off)
	if err == nil || errors.Is(err, io.EOF) || isFormat(err) {
		return n, err
	}
	for n = 0; n < len(p); {
		part := p[n:min(len(p), n+pageSize-int(off+int64(n))%pageSize)]
		k, err := view.ReadAt(part, off+int64(n))
		switch {
		case k == len(part):
		case errors.Is(err, io.EOF) || isFormat(err):
			return n + k, err
		default:
			for i := range part {
				part[i] = unreadByte
			}
		}
		n += len(part)
	}
	return n, nil
}

// WriteAt writes whole pages of the virtual disk, where they differ, to the places where the chain
// has them. It may be called concurrently. Errors: ErrRuns, ErrChain for data where a slot says
// zeros, ErrReopen, *StepError.
func (d *Mender) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off%pageSize != 0 || len(p)%pageSize != 0 || int64(len(p)) > d.Size()-off {
		return 0, fmt.Errorf("%w: write of %d bytes at %d of %d is not whole pages inside of the disk", ErrRuns, len(p), off, d.Size())
	}
	if d.m.failed.Load() {
		return 0, ErrReopen
	}
	err := d.m.step(opMend, "write payload", func() error { return d.write(p, off) })
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (d *Mender) write(p []byte, off int64) error {
	for e, err := range d.view.Extents(off, int64(len(p))) {
		if err != nil {
			return err
		}
		part := p[e.Offset-off:][:e.Length]
		if e.Kind == vhdx.Data {
			err = writeChanged(d.m.chain[e.Layer].File, part, e.FileOffset)
		} else if !block.IsZero(part) {
			err = fmt.Errorf("%w: %d is zeros in every file", ErrChain, e.Offset)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Finish makes durable what was written. Errors: ErrReopen, *StepError.
func (d *Mender) Finish(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if d.m.failed.Load() {
		return ErrReopen
	}
	for _, f := range d.m.chain {
		if err := d.m.step(opMend, "flush payload", f.Sync); err != nil {
			return err
		}
	}
	return nil
}

var (
	_ io.ReaderAt = (*Mender)(nil)
	_ io.WriterAt = (*Mender)(nil)
)
