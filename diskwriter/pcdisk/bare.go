package pcdisk

import (
	"context"
	"errors"
	"fmt"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/diskwriter/ntfs"
	"troy/internal/guid"
)

// Errors of options; nothing was written.
var (
	// ErrVirtualSize: the virtual disk is none that the files can hold.
	ErrVirtualSize = errors.New("the virtual disk must be a whole number of 4 KiB pages")
	// ErrName: the name of the image or the number of the version is missing.
	ErrName = errors.New("an image name and a version from 1 are needed")
)

// BareOptions say what ProvisionBare makes. Image, Version and VirtualSize are required.
type BareOptions struct {
	Image    string // that is going to be filled in
	Version  int
	Manifest string // see machine.Label

	VirtualSize        int64  // of the virtual disk in bytes, a multiple of 4 KiB
	LogicalSectorSize  uint32 // of the virtual disk; 0: 512
	PhysicalSectorSize uint32 // of the virtual disk; 0: 4096
	SlotBytes          int64  // payload that a slot takes; 0: a quarter of the virtual disk
	ESPSize            int64  // bytes; 0: 512 MiB
	DataSize           int64  // of the NTFS volume in bytes, what is behind it stays free; 0: all there is
	Room               int64  // bytes on the volume for Windows' pagefile; 0: an eighth of the virtual disk, 8 GiB at most

	SectorSize int    // of an image file, 512 or 4096; 0: 512. Block devices know theirs
	TempDir    string // for a sparse scratch file as large as the data volume (about 100 MB for 1 TB); "": the system's
	Wipe       bool   // go on although the disk is not empty: everything on it is lost
	Key        []byte // machine.RecordKey of the new journal, there before anything else is; nil: none
}

// maxRoom bounds the default of BareOptions.Room, in bytes.
const maxRoom = 8 << 30

// overhead bounds what NTFS keeps for itself: $LogFile, $MFT and room for it, $Bitmap of a disk of
// 1 TiB; in bytes.
const overhead = 232 * mib

// sizes returns the sizes of the files.
func (o *BareOptions) sizes() Sizes { return FileSizes(o.VirtualSize, o.SlotBytes) }

// FileSizes returns the sizes in bytes of the \Troy\ files for a virtual disk; slot is the payload
// that a slot takes, 0 for a quarter of the virtual disk.
func FileSizes(virtual, slot int64) Sizes {
	if slot == 0 {
		slot = defaultSlot(virtual)
	}
	return Sizes{
		Base:    machine.BaseSize(virtual),
		LayerA:  machine.SlotSize(virtual, slot),
		LayerB:  machine.SlotSize(virtual, slot),
		Boot:    machine.BootChildSize(virtual),
		Journal: machine.JournalSize,
		Mailbox: MailboxSize,
	}
}

// volumeNeed returns how many bytes the NTFS volume needs.
func (o *BareOptions) volumeNeed() int64 {
	total := o.Room + overhead
	if o.Room == 0 {
		total += min(o.VirtualSize/8, maxRoom)
	}
	for _, n := range o.sizes() {
		total += n
	}
	return (total + mib - 1) &^ (mib - 1)
}

// Need returns how many bytes the disk needs.
func (o *BareOptions) Need() int64 {
	esp := o.ESPSize
	if esp == 0 {
		esp = defaultESPSize
	}
	return (esp+mib-1)&^(mib-1) + unpartitioned + max(o.volumeNeed(), o.DataSize)
}

func (o *BareOptions) check() error {
	if n := o.VirtualSize; n <= 0 || n%ntfs.PageSize != 0 {
		return fmt.Errorf("%w, it has %d bytes", ErrVirtualSize, n)
	}
	if o.Image == "" || o.Version <= 0 {
		return fmt.Errorf("%w: %q, %d", ErrName, o.Image, o.Version)
	}
	if need := o.volumeNeed(); o.DataSize != 0 && o.DataSize < need {
		return fmt.Errorf("%w: the data volume is to have %d bytes, a virtual disk of %d bytes with its slots needs %d",
			ErrNoSpace, o.DataSize, o.VirtualSize, need)
	}
	return nil
}

// ProvisionBare makes the whole disk or image file at path into the disk of a machine whose parent
// is still to be filled: partition table, ESP (empty), data volume, \Troy\ files, disk record, and
// a reinstall that has begun at 0. From the first byte on the disk carries a mark (unfinishedMark),
// so that a call that is cut off can be made again although the disk is not empty any more; once
// the mark is gone the disk is found by Find, and Reinstall goes on. At no instant does it boot
// anything.
//
// What comes next: Fill, the boot files on the ESP, Reinstaller.Finish. The caller closes the
// target.
//
// Errors: ErrOccupied, ErrNoSpace, ErrVirtualSize, ErrName, ErrTool, and those of the disk. With
// ErrUnfinished the disk was written to and starts nothing; without it, it is untouched.
func ProvisionBare(ctx context.Context, path string, o *BareOptions) (*Target, *machine.Reinstaller, error) {
	if err := o.check(); err != nil {
		return nil, nil, err
	}
	z, err := newZeroer(path)
	if err != nil {
		return nil, nil, err
	}
	defer z.Close()
	if err := makeDisk(ctx, path, o); err != nil {
		return nil, nil, err
	}
	t, r, err := makeFiles(ctx, path, z, o)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
	z.Reread()
	return t, r, nil
}

// makeDisk makes partitions and volume.
func makeDisk(ctx context.Context, path string, o *BareOptions) error {
	dev, err := blockdev.Open(path, &blockdev.Options{Exclusive: true, SectorSize: o.SectorSize})
	if err != nil {
		return err
	}
	defer dev.Close()
	if err := mayErase(dev, o.Wipe); err != nil {
		return err
	}
	if need := o.Need(); dev.Size() < need {
		return fmt.Errorf("%w: %s has %d bytes, a virtual disk of %d bytes with its slots needs %d", ErrNoSpace,
			path, dev.Size(), o.VirtualSize, need)
	}
	_, err = formatDisk(ctx, dev, &diskOptions{Mark: true, ESPSize: o.ESPSize, DataSize: o.DataSize,
		Volume: volumeOptions{Sizes: o.sizes(), TempDir: o.TempDir}})
	return err
}

// mayErase says no to a disk that holds something, unless that was allowed: now, or when its making
// began.
func mayErase(dev *blockdev.Device, wipe bool) error {
	err := checkEmpty(dev)
	if !errors.Is(err, ErrOccupied) || wipe {
		if wipe && errors.Is(err, ErrOccupied) {
			return nil
		}
		return err
	}
	mark, merr := unfinishedMark(dev)
	if mark != nil || merr != nil {
		return merr
	}
	return err
}

// makeFiles makes the structures of all files and begins the reinstall.
func makeFiles(ctx context.Context, path string, z *zeroer, o *BareOptions) (_ *Target, r *machine.Reinstaller, err error) {
	t, err := open(path, nil)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			t.Close()
		}
	}()
	if _, err := t.MapFiles(); err != nil {
		return nil, nil, err
	}
	if err := t.forget(ctx, z); err != nil {
		return nil, nil, err
	}
	if err := t.emptyMailbox(ctx, z); err != nil {
		return nil, nil, err
	}
	if err := t.keep(o.Key); err != nil {
		return nil, nil, err
	}
	if r, err = t.format(ctx, o); err != nil {
		return nil, nil, err
	}
	if err := t.writeRecord(); err != nil {
		return nil, nil, err
	}
	return t, r, eraseMark(t.Device)
}

// structures bounds where the VHDX structures of a file begin and the journal lies, in bytes.
const structures = 16 * mib

// forget erases what earlier times left at the clusters of the files: a journal, and VHDX
// structures that a disk whose provisioning is cut off would be taken for.
func (t *Target) forget(ctx context.Context, z *zeroer) error {
	for _, f := range t.files {
		if err := t.zeroFile(ctx, z, f, 0, min(f.Size(), structures)); err != nil {
			return err
		}
	}
	return t.part.Sync()
}

// keep puts the machine's key into its new journal.
func (t *Target) keep(key []byte) error {
	if key == nil {
		return nil
	}
	j, err := machine.OpenJournal(t.Files().Journal)
	if err != nil {
		return err
	}
	return j.Put(machine.RecordKey, key)
}

// format makes the files. The children name a parent that is not there, until the reinstall poisons
// them in its own way: no chain that could boot exists before the parent is filled.
func (t *Target) format(ctx context.Context, o *BareOptions) (*machine.Reinstaller, error) {
	files := t.Files()
	base, err := machine.FormatBase(files.Base, &machine.BaseOptions{VirtualSize: o.VirtualSize,
		LogicalSectorSize: o.LogicalSectorSize, PhysicalSectorSize: o.PhysicalSectorSize})
	if err != nil {
		return nil, err
	}
	unknown := *base
	unknown.DataWriteGUID = guid.New()
	if err := machine.FormatChildren(files, &unknown, o.Image, o.Version); err != nil {
		return nil, err
	}
	return machine.Reinstall(ctx, files, &machine.ReinstallRequest{Image: o.Image, Version: o.Version, Manifest: o.Manifest})
}

// zeroPiece bounds one request, in bytes, so that it can be interrupted and is seen to go on.
const zeroPiece = 1 << 30

// zeroFile makes a range of a file zeros, run by run of its clusters.
func (t *Target) zeroFile(ctx context.Context, z *zeroer, f *ntfs.MappedFile, start, end int64) error {
	m := f.Mapping()
	cluster, at := int64(m.ClusterSize), int64(0)
	for _, r := range m.Runs {
		from, to := max(at, start), min(at+r.Length*cluster, end)
		for ; from < to; from = min(to, from+zeroPiece) {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(zeroPiece, to-from)
			t.part.written.Add(n)
			if err := z.Zero(t.Data.Start+r.LCN*cluster+from-at, n); err != nil {
				return err
			}
		}
		at += r.Length * cluster
	}
	return nil
}
