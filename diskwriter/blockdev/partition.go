package blockdev

import "io"

// Partition is the section of a Device that one partition occupies. It satisfies
// io.ReaderAt and io.WriterAt with offsets from its first byte.
type Partition struct {
	d     *Device
	entry Entry
}

// Partition returns the section that e describes; it fails with ErrBounds when that
// is not inside the device.
func (d *Device) Partition(e Entry) (*Partition, error) {
	s := int64(d.logical)
	if e.Start < 0 || e.Size <= 0 || e.Start > d.size || e.Size > d.size-e.Start ||
		e.Start%s != 0 || e.Size%s != 0 {
		return nil, &RangeError{Offset: e.Start, Length: e.Size, Size: d.size, Err: ErrBounds}
	}
	return &Partition{d: d, entry: e}, nil
}

// Size returns the size in bytes.
func (p *Partition) Size() int64 { return p.entry.Size }

// SectorSize returns the logical sector size of the disk in bytes.
func (p *Partition) SectorSize() int { return p.d.logical }

// PhysicalSectorSize returns the physical sector size of the disk in bytes.
func (p *Partition) PhysicalSectorSize() int { return p.d.physical }

// Start returns the partition's first byte on the disk.
func (p *Partition) Start() int64 { return p.entry.Start }

// ReadAt reads at byte offset off of the partition, see Device.ReadAt.
func (p *Partition) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 || off > p.entry.Size {
		return 0, p.rangeError(b, off)
	}
	want, eof := b, error(nil)
	if int64(len(b)) > p.entry.Size-off {
		want, eof = b[:p.entry.Size-off], io.EOF
	}
	n, err := p.d.ReadAt(want, p.entry.Start+off)
	if err == nil {
		err = eof
	}
	return n, err
}

// WriteAt writes at byte offset off of the partition, see Device.WriteAt. A write
// that would leave the partition returns ErrBounds and writes nothing.
func (p *Partition) WriteAt(b []byte, off int64) (int, error) {
	if off < 0 || off > p.entry.Size || int64(len(b)) > p.entry.Size-off {
		return 0, p.rangeError(b, off)
	}
	return p.d.WriteAt(b, p.entry.Start+off)
}

// Sync flushes the whole disk.
func (p *Partition) Sync() error { return p.d.Sync() }

func (p *Partition) rangeError(b []byte, off int64) error {
	return &RangeError{Offset: off, Length: int64(len(b)), Size: p.entry.Size, Err: ErrBounds}
}
