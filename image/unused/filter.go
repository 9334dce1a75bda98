package unused

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/ntfs"
	"troy/image"
	"troy/internal/block"
)

// maxRuns bounds how many ranges one volume may name.
const maxRuns = 16 << 20

// headKept is how many bytes at the start of each of the three files stay used.
const headKept = 64 << 10

var (
	// ErrBitLocker is returned for a disk with a volume that BitLocker encrypts.
	ErrBitLocker = errors.New("unused: a volume is encrypted by BitLocker: decrypt it before publishing")
	// ErrHibernated is returned for a disk with a volume on which a Windows sleeps.
	ErrHibernated = errors.New("unused: a hibernated Windows owns the volume: shut it down fully (shutdown /s /t 0, no fast start-up) before publishing")
	// ErrVolume is returned when the reader names what cannot be.
	ErrVolume = errors.New("unused: the NTFS reader contradicts itself")
)

// volume is what an NTFS reader says of a volume. Ranges are bytes from the start of the volume, in
// any order.
type volume struct {
	// Unclean is empty for a volume that was dismounted in order, else it says why not, in a few
	// words. Nothing else is then used.
	Unclean string
	// Hibernated says that hiberfil.sys holds a sleeping Windows.
	Hibernated bool
	// Shadowed says that the volume holds shadow copies, which need its free clusters. Nothing else
	// is then used.
	Shadowed bool
	// Free are the clusters that $Bitmap marks free.
	Free []image.Range
	// Files are the clusters of pagefile.sys, swapfile.sys and hiberfil.sys, each in the order of
	// the file. A file that is absent or cannot be mapped is left out.
	Files [][]image.Range
	// Notes are for people: why a file was left out.
	Notes []string
}

// opener reads the volume in r, a partition of size bytes that has the mark of NTFS. An error means
// that the volume cannot be read: it is published without the filter.
type opener func(ctx context.Context, r io.ReaderAt, size int64) (*volume, error)

// Filter is a publish.Filter. The zero value is right.
type Filter struct {
	open opener // nil: readNTFS
}

// Unused returns the unused ranges of all clean NTFS partitions and a line about each partition. It
// returns ErrBitLocker, ErrHibernated, ErrVolume, or the error of reading the disk.
func (f Filter) Unused(ctx context.Context, disk io.ReaderAt, size int64, sectorSize uint32) ([]image.Range, []string, error) {
	parts, note, err := partitions(disk, size, int(sectorSize))
	if err != nil {
		return nil, nil, err
	}
	notes := []string{note}
	var unused []image.Range
	for _, p := range parts {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		ranges, note, err := f.partition(ctx, io.NewSectionReader(disk, p.Start, p.Size))
		if err != nil {
			return nil, nil, fmt.Errorf("partition %d: %w", p.Number, err)
		}
		for _, r := range ranges {
			unused = append(unused, image.Range{Offset: p.Start + r.Offset, Length: r.Length})
		}
		notes = append(notes, fmt.Sprintf("partition %d: %s", p.Number, note))
	}
	return unused, notes, nil
}

// partitions are those that may hold NTFS. A disk with no table, or with a GPT whose primary copy
// is damaged, has none: the backup may be an old one. Only failing reads are errors.
func partitions(disk io.ReaderAt, size int64, sector int) ([]blockdev.Entry, string, error) {
	table, err := blockdev.ReadTable(disk, size, sector)
	if err == nil && table.FromBackup {
		return nil, "GPT damaged, all of the disk counts", nil
	}
	parts, verr := blockdev.Volumes(disk, size, sector)
	switch {
	case errors.Is(verr, blockdev.ErrNoTable):
		return nil, "no partition table, all of the disk counts", nil
	case verr != nil:
		return nil, "", fmt.Errorf("unused: reading the partition table: %w", verr)
	case err == nil:
		return parts, "GPT", nil
	}
	return parts, "MBR", nil
}

func (f Filter) partition(ctx context.Context, r *io.SectionReader) ([]image.Range, string, error) {
	boot := make([]byte, 512)
	if err := block.ReadFull(r, boot, 0); err != nil {
		return nil, "", fmt.Errorf("unused: reading the boot sector: %w", err)
	}
	switch {
	case ntfs.IsBitLocker(boot):
		return nil, "", ErrBitLocker
	case string(boot[3:11]) != "NTFS    ":
		return nil, "no NTFS, all of it counts", nil
	}
	open := f.open
	if open == nil {
		open = readNTFS
	}
	v, err := open(ctx, r, r.Size())
	if err != nil {
		if ctx.Err() != nil {
			return nil, "", ctx.Err()
		}
		return nil, fmt.Sprintf("NTFS, not read (%v), all of it counts", err), nil
	}
	if v.Hibernated {
		return nil, "", ErrHibernated
	}
	if v.Shadowed {
		return nil, "NTFS with shadow copies (restore points, backups), all of it counts: " +
			"'vssadmin delete shadows /all' in Windows deletes them, and switching System Protection off keeps new ones away", nil
	}
	if v.Unclean != "" {
		return nil, fmt.Sprintf("NTFS, not clean (%s), all of it counts", v.Unclean), nil
	}
	ranges, err := v.ranges(r.Size())
	if err != nil {
		return nil, "", err
	}
	var n int64
	for _, r := range ranges {
		n += r.Length
	}
	note := fmt.Sprintf("NTFS, clean, %d MiB of %d unused", n>>20, r.Size()>>20)
	return ranges, strings.Join(append([]string{note}, v.Notes...), "; "), nil
}

// ranges checks the free clusters and adds those of the files but their heads.
func (v *volume) ranges(size int64) ([]image.Range, error) {
	var list []image.Range
	add := func(r image.Range) error {
		if r.Offset < 512 || r.Length <= 0 || r.Offset > size-r.Length {
			return fmt.Errorf("%w: bytes %d+%d of a volume of %d", ErrVolume, r.Offset, r.Length, size)
		}
		if len(list) == maxRuns {
			return fmt.Errorf("%w: more than %d ranges", ErrVolume, maxRuns)
		}
		list = append(list, r)
		return nil
	}
	for _, r := range v.Free {
		if err := add(r); err != nil {
			return nil, err
		}
	}
	for _, file := range v.Files {
		skip := int64(headKept)
		for _, r := range file {
			cut := min(skip, r.Length)
			skip -= cut
			if r.Length == cut {
				continue
			}
			if err := add(image.Range{Offset: r.Offset + cut, Length: r.Length - cut}); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}
