package blockdev

import (
	"io"

	"troy/internal/block"
)

// ReadAt reads len(p) bytes at byte offset off; any offset and length is allowed.
// Fewer bytes come only with an error, io.EOF at the end of the device.
func (d *Device) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > d.size {
		return 0, &RangeError{Offset: off, Length: int64(len(p)), Size: d.size, Err: ErrBounds}
	}
	want, eof := p, error(nil)
	if int64(len(p)) > d.size-off {
		want, eof = p[:d.size-off], io.EOF
	}
	n, err := d.read(want, off)
	if err == nil {
		err = eof
	}
	return n, err
}

func (d *Device) read(p []byte, off int64) (int, error) {
	a := int64(d.ioAlign)
	if off%a == 0 && int64(len(p))%a == 0 && aligned(p, d.memAlign) {
		return d.f.ReadAt(p, off)
	}
	buf := d.pool.Get().(*[]byte)
	defer d.pool.Put(buf)
	done := 0
	for done < len(p) {
		pos := off + int64(done)
		start := pos - pos%a
		end := min(block.RoundUp(off+int64(len(p)), a), start+int64(len(*buf)))
		n, err := d.f.ReadAt((*buf)[:end-start], start)
		if int64(n) <= pos-start {
			return done, block.NoEOF(err)
		}
		done += copy(p[done:], (*buf)[pos-start:n])
		if err != nil && done < len(p) {
			return done, block.NoEOF(err)
		}
	}
	return done, nil
}

// WriteAt writes p at byte offset off. Offset and length must be multiples of the
// logical sector size (ErrUnaligned) inside the device (ErrBounds); then nothing was
// written. On another error an unknown part of the range was written.
func (d *Device) WriteAt(p []byte, off int64) (int, error) {
	if err := d.checkWrite(int64(len(p)), off); err != nil {
		return 0, err
	}
	if aligned(p, d.memAlign) {
		return d.f.WriteAt(p, off)
	}
	buf := d.pool.Get().(*[]byte)
	defer d.pool.Put(buf)
	done := 0
	for done < len(p) {
		n, err := d.f.WriteAt((*buf)[:copy(*buf, p[done:])], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (d *Device) checkWrite(n, off int64) error {
	if d.readOnly {
		return ErrReadOnly
	}
	if off < 0 || off > d.size || n > d.size-off {
		return &RangeError{Offset: off, Length: n, Size: d.size, Err: ErrBounds}
	}
	if s := int64(d.logical); off%s != 0 || n%s != 0 {
		return &RangeError{Offset: off, Length: n, Size: d.size, Err: ErrUnaligned}
	}
	return nil
}
