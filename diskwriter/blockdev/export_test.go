package blockdev

// Direct reports whether requests bypass the page cache.
func (d *Device) Direct() bool { return d.ioAlign > 1 }

// IsBlock reports whether this is a block device, not an image file.
func (d *Device) IsBlock() bool { return d.block }
