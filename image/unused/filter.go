package unused

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

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
	parts, note, err := partitions(disk, size, int64(sectorSize))
	if err != nil {
		return nil, nil, err
	}
	notes := []string{note}
	var unused []image.Range
	for _, p := range parts {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		ranges, note, err := f.partition(ctx, disk, p)
		if err != nil {
			return nil, nil, fmt.Errorf("partition %d: %w", p.number, err)
		}
		for _, r := range ranges {
			unused = append(unused, image.Range{Offset: p.start + r.Offset, Length: r.Length})
		}
		notes = append(notes, fmt.Sprintf("partition %d: %s", p.number, note))
	}
	return unused, notes, nil
}

func (f Filter) partition(ctx context.Context, disk io.ReaderAt, p partition) ([]image.Range, string, error) {
	r := io.NewSectionReader(disk, p.start, p.size)
	boot := make([]byte, 512)
	if err := block.ReadFull(r, boot, 0); err != nil {
		return nil, "", fmt.Errorf("unused: reading the boot sector: %w", err)
	}
	switch string(boot[3:11]) {
	case "-FVE-FS-":
		return nil, "", ErrBitLocker
	case "NTFS    ":
	default:
		return nil, "no NTFS, all of it counts", nil
	}
	open := f.open
	if open == nil {
		open = readNTFS
	}
	v, err := open(ctx, r, p.size)
	if err != nil {
		if ctx.Err() != nil {
			return nil, "", ctx.Err()
		}
		return nil, fmt.Sprintf("NTFS, not read (%v), all of it counts", err), nil
	}
	if v.Hibernated {
		return nil, "", ErrHibernated
	}
	if v.Unclean != "" {
		return nil, fmt.Sprintf("NTFS, not clean (%s), all of it counts", v.Unclean), nil
	}
	ranges, err := v.ranges(p.size)
	if err != nil {
		return nil, "", err
	}
	var n int64
	for _, r := range ranges {
		n += r.Length
	}
	note := fmt.Sprintf("NTFS, clean, %d MiB of %d unused", n>>20, p.size>>20)
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
