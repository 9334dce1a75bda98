package pcdisk

import (
	"context"
	"errors"
	"fmt"
	"io"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/diskwriter/ntfs"
	"troy/internal/block"
	"troy/internal/errline"
	"troy/internal/progress"
	"troy/vhdx"
)

// ProvisionOptions say what Provision makes. Image, Version and one of Base and Size are required.
type ProvisionOptions struct {
	Image    string
	Version  int
	Manifest string      // of the version's label; "": not known, so it is compared before the first update
	Base     vhdx.Source // content of the parent; nil: an empty disk
	Size     int64       // bytes of the virtual disk without Base

	// Content brings the version in place of Base, whose Size and sector sizes then count; nil:
	// Base is copied.
	Content Version

	LogicalSectorSize  uint32 // of the virtual disk; 0: 512
	PhysicalSectorSize uint32 // of the virtual disk; 0: 4096
	SlotBytes          int64  // payload that a slot takes; 0: a quarter of the virtual disk
	ESPSize            int64  // bytes; 0: 512 MiB
	DataSize           int64  // see BareOptions
	Room               int64  // see BareOptions
	SectorSize         int    // of an image file, 512 or 4096; 0: 512. Block devices know theirs
	TempDir            string // for a sparse scratch file as large as the data volume; "": the system's

	Wipe bool // go on although the disk is not empty: everything on it is lost
	// Filled is called when the parent holds the version and before the machine boots it: the time
	// to look at it. nil: it is not looked at.
	Filled func(ctx context.Context, r *machine.Reinstaller) error
	// BootFiles, called after Filled, returns what to put on the ESP, knowing the GUIDs of the
	// partitions; nil: nothing.
	BootFiles func(table *blockdev.Table) ([]BootFile, error)
	Progress  progress.Adder // of the bytes of the virtual disk; may be nil
}

// content returns what fills the parent.
func (o *ProvisionOptions) content() Version {
	if o.Content != nil {
		return o.Content
	}
	return &copied{from: o.Base, size: o.Size}
}

func (o *ProvisionOptions) bare() *BareOptions {
	return &BareOptions{Image: o.Image, Version: o.Version, Manifest: o.Manifest, VirtualSize: o.content().Size(), LogicalSectorSize: o.LogicalSectorSize,
		PhysicalSectorSize: o.PhysicalSectorSize, SlotBytes: o.SlotBytes, ESPSize: o.ESPSize, DataSize: o.DataSize, Room: o.Room,
		SectorSize: o.SectorSize, TempDir: o.TempDir, Wipe: o.Wipe}
}

// DiskSize returns how many bytes a disk needs for what o says, with some room on the volume.
func DiskSize(o *ProvisionOptions) int64 { return o.bare().Need() }

// Provision makes the whole disk or image file at path into the disk of a machine that holds a
// version: ProvisionBare, Fill, the boot files, and Finish. One that was cut off early starts over
// without Wipe; later, one with Content goes on where it was, for image and version say what that
// is, and one with Base needs Wipe.
//
// Errors: those of ProvisionBare and Fill, and those of disk and source. With ErrUnfinished the
// disk was written to and starts nothing; without it, it is untouched.
func Provision(ctx context.Context, path string, o *ProvisionOptions) error {
	b := o.bare()
	if err := b.check(); err != nil {
		return err
	}
	var t *Target
	var r *machine.Reinstaller
	var err error
	if o.Content != nil && !o.Wipe {
		if t, r, err = goOn(ctx, path, b); err != nil {
			return err
		}
	}
	if t == nil {
		if t, r, err = ProvisionBare(ctx, path, b); err != nil {
			return err
		}
	}
	defer t.Close()
	err = t.Fill(ctx, r, o.content(), &FillOptions{Progress: o.Progress})
	if err == nil && o.Filled != nil {
		err = o.Filled(ctx, r)
	}
	if err == nil {
		err = putBootFiles(ctx, path, t.Table, o)
	}
	if err == nil {
		err = r.Finish(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
	return nil
}

// goOn takes up a disk of which an earlier call has made everything but the content. Without one
// all is nil.
func goOn(ctx context.Context, path string, o *BareOptions) (*Target, *machine.Reinstaller, error) {
	t, err := Look(path, nil)
	if err != nil {
		return nil, nil, nil // whatever it is, ProvisionBare looks at it
	}
	m, _, err := t.Open()
	if err == nil {
		s := m.State()
		if !s.Reinstalling || s.VirtualSize != o.VirtualSize || s.ReinstallImage != o.Image || s.ReinstallVersion != o.Version || s.ReinstallManifest != o.Manifest {
			err = errors.New("another machine")
		}
	}
	if err != nil {
		return nil, nil, t.Close()
	}
	r, err := machine.Reinstall(ctx, t.Files(), &machine.ReinstallRequest{Image: o.Image, Version: o.Version, Manifest: o.Manifest})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnfinished, errline.Join(err, t.Close()))
	}
	return t, r, nil
}

func putBootFiles(ctx context.Context, path string, table *blockdev.Table, o *ProvisionOptions) error {
	if o.BootFiles == nil {
		return nil
	}
	files, err := o.BootFiles(table)
	if err != nil {
		return err
	}
	return writeBootFiles(ctx, path, table.ByType(blockdev.TypeESP)[0], files)
}

// copied is a disk that is copied as it is: what it does not hold becomes zeros.
type copied struct {
	from vhdx.Source // nil: zeros
	size int64
	runs []machine.Run
	err  error
}

// Size implements Version.
func (c *copied) Size() int64 {
	if c.from != nil {
		return c.from.Size()
	}
	return c.size
}

// Runs implements Version. Its error is that of Fetch.
func (c *copied) Runs() []machine.Run {
	if c.runs == nil {
		c.runs, c.err = c.list()
	}
	return c.runs
}

func (c *copied) list() (runs []machine.Run, err error) {
	add := func(from, to int64, zero bool) {
		if from >= to {
			return
		}
		if n := len(runs) - 1; n >= 0 && runs[n].Zero == zero {
			runs[n].Length += to - from
			return
		}
		runs = append(runs, machine.Run{Offset: from, Length: to - from, Zero: zero})
	}
	size, done := c.Size(), int64(0)
	if c.from != nil {
		for e, err := range c.from.Extents(0, size) {
			if err != nil {
				return []machine.Run{{Length: size}}, err
			}
			if e.Kind != vhdx.Data {
				continue
			}
			start := max(done, e.Offset/ntfs.PageSize*ntfs.PageSize)
			end := min(size, (e.Offset+e.Length+ntfs.PageSize-1)/ntfs.PageSize*ntfs.PageSize)
			add(done, start, true)
			add(start, end, false)
			done = max(done, end)
		}
	}
	add(done, size, true)
	return runs, nil
}

// Fetch implements Version.
func (c *copied) Fetch(ctx context.Context, from, to int64, sink io.WriterAt) error {
	if c.err != nil {
		return c.err
	}
	buf := block.Aligned(mib)
	for _, r := range c.runs {
		start, end := max(from, r.Offset), min(to, r.Offset+r.Length)
		for ; !r.Zero && start < end; start += mib {
			if err := ctx.Err(); err != nil {
				return err
			}
			b := buf[:min(mib, end-start)]
			if n, err := c.from.ReadAt(b, start); n < len(b) {
				return fmt.Errorf("read the base at %d: %w", start, err)
			}
			if _, err := sink.WriteAt(b, start); err != nil {
				return err
			}
		}
	}
	return nil
}
