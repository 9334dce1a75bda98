package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"troy/diskwriter"
	"troy/diskwriter/blockdev"
	"troy/diskwriter/ntfs"
	"troy/diskwriter/prepare"
	"troy/vhdx"
)

const mib = 1 << 20

// ProvisionOptions say what Provision makes. Image, Version and one of Base and Size are required.
type ProvisionOptions struct {
	Image   string
	Version int
	Base    vhdx.Source // content of the parent; nil: an empty disk
	Size    int64       // bytes of the virtual disk without Base

	LogicalSectorSize  uint32 // of the virtual disk; 0: 512
	PhysicalSectorSize uint32 // of the virtual disk; 0: 4096
	SlotBytes          int64  // payload that a slot takes; 0: a quarter of the virtual disk
	ESPSize            int64  // bytes; 0: prepare.DefaultESPSize
	SectorSize         int    // of an image file, 512 or 4096; 0: 512. Block devices know theirs
	TempDir            string // for a sparse scratch file as large as the data volume; "": the system's

	Wipe bool // go on although the disk is not empty: everything on it is lost
	// BootFiles returns what to put on the ESP, knowing the GUIDs of the partitions; nil: nothing.
	BootFiles func(table *blockdev.Table) ([]prepare.BootFile, error)
	Progress  diskwriter.Progress // of the bytes of the virtual disk; may be nil
}

// virtual returns the size of the virtual disk in bytes.
func (o *ProvisionOptions) virtual() int64 {
	if o.Base != nil {
		return o.Base.Size()
	}
	return o.Size
}

// sizes returns the sizes of the files.
func (o *ProvisionOptions) sizes() prepare.Sizes { return FileSizes(o.virtual(), o.SlotBytes) }

// FileSizes returns the sizes in bytes of the \Troy\ files for a virtual disk; slot is the payload that a slot takes, 0 for
// a quarter of the virtual disk.
func FileSizes(virtual, slot int64) prepare.Sizes {
	if slot == 0 {
		slot = max(virtual/4, diskwriter.SlotBlockSize)
	}
	return prepare.Sizes{
		prepare.Base:    diskwriter.BaseSize(virtual),
		prepare.LayerA:  diskwriter.SlotSize(virtual, slot),
		prepare.LayerB:  diskwriter.SlotSize(virtual, slot),
		prepare.Boot:    diskwriter.BootChildSize(virtual),
		prepare.Journal: diskwriter.JournalSize,
	}
}

// DiskSize returns how many bytes a disk needs for what o says, with some room on the volume.
func DiskSize(o *ProvisionOptions) int64 {
	total := o.ESPSize
	if total == 0 {
		total = prepare.DefaultESPSize
	}
	total += 256 * mib
	for _, n := range o.sizes() {
		total += n
	}
	return (total + mib - 1) &^ (mib - 1)
}

// Provision makes the whole disk or image file at path into the disk of a machine that holds a version: partition table,
// ESP, data volume, \Troy\ files, and the disk record in the journal last, so that a disk whose provisioning was cut off
// is never taken for one that is finished: its journal has no record, and its boot child none of its structures.
//
// Errors: prepare.ErrOccupied, prepare.ErrNoSpace, ErrVirtualSize, ErrName, prepare.ErrTool, and those of disk and source. With
// prepare.ErrUnfinished the disk was written to and starts nothing; without it, it is untouched.
func Provision(ctx context.Context, path string, o *ProvisionOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	z, err := prepare.NewZeroer(path)
	if err != nil {
		return err
	}
	defer z.Close()
	table, err := makeDisk(ctx, path, o)
	if err != nil {
		return err
	}
	err = putBootFiles(ctx, path, table, o)
	if err == nil {
		err = makeFiles(ctx, path, z, o)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", prepare.ErrUnfinished, err)
	}
	z.Reread()
	return nil
}

func putBootFiles(ctx context.Context, path string, table *blockdev.Table, o *ProvisionOptions) error {
	if o.BootFiles == nil {
		return nil
	}
	files, err := o.BootFiles(table)
	if err != nil {
		return err
	}
	return prepare.PutBootFiles(ctx, path, table.ByType(blockdev.TypeESP)[0], files)
}

// Errors of options; nothing was written.
var (
	// ErrVirtualSize: the virtual disk is none that the files can hold.
	ErrVirtualSize = errors.New("the virtual disk must be a whole number of 4 KiB pages")
	// ErrName: the name of the image or the number of the version is missing.
	ErrName = errors.New("a name of the image and a version from 1 are needed")
)

func (o *ProvisionOptions) check() error {
	if n := o.virtual(); n <= 0 || n%ntfs.PageSize != 0 {
		return fmt.Errorf("%w, it has %d bytes", ErrVirtualSize, n)
	}
	if o.Image == "" || o.Version <= 0 {
		return fmt.Errorf("%w: %q, %d", ErrName, o.Image, o.Version)
	}
	return nil
}

// makeDisk makes partitions and volume.
func makeDisk(ctx context.Context, path string, o *ProvisionOptions) (*blockdev.Table, error) {
	dev, err := blockdev.Open(path, &blockdev.Options{Exclusive: true, SectorSize: o.SectorSize})
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	if err := prepare.Empty(dev); err != nil && !(o.Wipe && errors.Is(err, prepare.ErrOccupied)) {
		return nil, err
	}
	if need := DiskSize(o); dev.Size() < need {
		return nil, fmt.Errorf("%w: %s has %d bytes, a virtual disk of %d bytes with its slots needs %d", prepare.ErrNoSpace,
			path, dev.Size(), o.virtual(), need)
	}
	return prepare.Disk(ctx, dev, &prepare.DiskOptions{ESPSize: o.ESPSize, Volume: prepare.VolumeOptions{Sizes: o.sizes(), TempDir: o.TempDir}})
}

// makeFiles fills the parent and then makes the structures of all files.
func makeFiles(ctx context.Context, path string, z *prepare.Zeroer, o *ProvisionOptions) error {
	t, err := Look(path, nil)
	if err != nil {
		return err
	}
	defer t.Close()
	files, err := t.MapFiles()
	if err != nil {
		return err
	}
	p := &payload{ctx: ctx, t: t, z: z, to: files.Base, progress: o.Progress, buf: blockdev.AlignedBuffer(mib)}
	if err := p.forget(); err != nil {
		return err
	}
	if err := p.fill(o.Base, o.virtual()); err != nil {
		return fmt.Errorf("fill %s: %w", diskwriter.BaseName, err)
	}
	err = diskwriter.Format(files, &diskwriter.BaseOptions{VirtualSize: o.virtual(), LogicalSectorSize: o.LogicalSectorSize,
		PhysicalSectorSize: o.PhysicalSectorSize}, o.Image, o.Version)
	if err != nil {
		return err
	}
	return t.recordAnew()
}

// structures bounds where the VHDX structures of a file begin and the journal lies, in bytes.
const structures = 16 * mib

// forget erases what earlier times left at the clusters of the files: a journal, and VHDX structures that a disk whose
// provisioning is cut off would be taken for.
func (p *payload) forget() error {
	for _, f := range p.t.files {
		if err := p.zeroFile(f, 0, min(f.Size(), structures)); err != nil {
			return err
		}
	}
	return p.t.part.Sync()
}

// payload fills the parent's content.
type payload struct {
	ctx      context.Context
	t        *Target
	z        *prepare.Zeroer
	to       diskwriter.File
	progress diskwriter.Progress
	buf      []byte
	at       int64 // of virtual offset 0 in the file
}

// fill copies the source; what it does not hold becomes zeros.
func (p *payload) fill(from vhdx.Source, virtual int64) error {
	p.at = diskwriter.PayloadOffset(virtual)
	if from == nil {
		return p.zero(0, virtual)
	}
	done := int64(0)
	for e, err := range from.Extents(0, virtual) {
		if err != nil {
			return err
		}
		if e.Kind != vhdx.Data {
			continue
		}
		start := max(done, e.Offset/ntfs.PageSize*ntfs.PageSize)
		end := min(virtual, (e.Offset+e.Length+ntfs.PageSize-1)/ntfs.PageSize*ntfs.PageSize)
		if err := p.zero(done, start); err != nil {
			return err
		}
		if err := p.copy(from, start, end); err != nil {
			return err
		}
		done = max(done, end)
	}
	return p.zero(done, virtual)
}

// copy copies a range of whole pages. Zeros are not written but zeroed, which may cost nothing.
func (p *payload) copy(from io.ReaderAt, start, end int64) error {
	for off := start; off < end; {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		b := p.buf[:min(int64(len(p.buf)), end-off)]
		if n, err := from.ReadAt(b, off); n < len(b) {
			return fmt.Errorf("read the base at %d: %w", off, err)
		}
		next := off + int64(len(b))
		if len(bytes.TrimLeft(b, "\x00")) == 0 {
			if err := p.zero(off, next); err != nil {
				return err
			}
		} else if _, err := p.to.WriteAt(b, p.at+off); err != nil {
			return err
		} else {
			p.add(int64(len(b)))
		}
		off = next
	}
	return nil
}

func (p *payload) add(n int64) {
	if p.progress != nil {
		p.progress.Add(n)
	}
}

// zeroPiece bounds one request, in bytes, so that it can be interrupted and is seen to go on.
const zeroPiece = 1 << 30

// zero makes a range of the virtual disk zeros.
func (p *payload) zero(start, end int64) error {
	if start >= end {
		return nil
	}
	err := p.zeroFile(p.t.files[diskwriter.BaseName], p.at+start, p.at+end)
	p.add(end - start)
	return err
}

// zeroFile makes a range of a file zeros, run by run of its clusters.
func (p *payload) zeroFile(f *ntfs.MappedFile, start, end int64) error {
	m := f.Mapping()
	cluster, at := int64(m.ClusterSize), int64(0)
	for _, r := range m.Runs {
		from, to := max(at, start), min(at+r.Length*cluster, end)
		for ; from < to; from = min(to, from+zeroPiece) {
			if err := p.ctx.Err(); err != nil {
				return err
			}
			if err := p.z.Zero(p.t.Data.Start+r.LCN*cluster+from-at, min(zeroPiece, to-from)); err != nil {
				return err
			}
		}
		at += r.Length * cluster
	}
	return nil
}
