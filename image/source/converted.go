package source

import (
	"context"
	"io"

	"troy/internal/errline"
	"troy/vhdx"
	"troy/vhdx/foreign"
)

// converted is a disk in another program's format.
type converted struct{ image *foreign.Image }

// Kind implements Source.
func (c converted) Kind() string { return c.image.Kind }

// Open implements Source: it reads a raw copy of the disk.
func (c converted) Open(ctx context.Context, o *Options) (*Disk, error) {
	dir, err := o.room("a raw copy of the disk", 0)
	if err != nil {
		return nil, err
	}
	f, err := c.image.Open(ctx, dir, o.Progress)
	if err != nil {
		return nil, err
	}
	d, err := openContent(f, c.image.Path)
	if err == nil {
		d.note("from a %s", c.image.Kind)
	}
	return d, err
}

// openContent makes a disk of what a raw file holds, a disk or a volume, or closes it.
func openContent(f *vhdx.Raw, path string) (*Disk, error) {
	b := make([]byte, 16)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, errline.Join(err, f.Close())
	}
	switch string(b[bootMarkAt : bootMarkAt+8]) {
	case ntfsMark, bitLockerMark:
		return volumeDisk(f, path)
	}
	return rawDisk(f, path)
}
