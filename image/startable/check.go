package startable

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"troy/chainload/bootfiles"
	"troy/chainload/secureboot"
	"troy/diskwriter/blockdev"
	"troy/diskwriter/ntfs"
	"troy/internal/block"
)

const windowsFolder = `\Windows`

// Check looks at a virtual disk of size bytes with logical sectors of that size.
func Check(disk io.ReaderAt, size int64, sector int) *Verdict {
	v := &Verdict{}
	list, err := blockdev.Volumes(disk, size, sector)
	if err != nil {
		v.noVolumes(disk, sector, err)
		return v
	}
	windows := 0
	for _, e := range list {
		if v.partition(e, disk, sector) {
			windows++
		}
	}
	switch {
	case windows == 0 && !slices.ContainsFunc(v.Findings, hidesWindows):
		v.add(NoWindows, "", "partitions of a type that can hold it: %d", len(list))
	case windows > 0:
		v.bootFiles(disk, size, sector)
	}
	slices.SortStableFunc(v.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Level(), a.Level()), cmp.Compare(a.Reason, b.Reason))
	})
	return v
}

// hidesWindows tells whether a finding explains why no Windows was seen.
func hidesWindows(f Finding) bool {
	return slices.Contains([]Reason{BitLocker, SectorSize, TooLarge, Damaged}, f.Reason)
}

// noVolumes says why a disk has no table: a table may stand where another sector size puts it.
func (v *Verdict) noVolumes(disk io.ReaderAt, sector int, err error) {
	for _, other := range []int{512, 4096} {
		mark := make([]byte, 8)
		if other != sector && block.ReadFull(disk, mark, int64(other)) == nil && string(mark) == "EFI PART" {
			v.add(SectorSize, "", "its partition table has sectors of %d bytes, the disk says %d", other, sector)
			return
		}
	}
	v.add(NoTable, "", "%v", err)
}

// partition looks into one, and tells whether it holds a Windows.
func (v *Verdict) partition(e blockdev.Entry, disk io.ReaderAt, sector int) bool {
	where := fmt.Sprintf("partition %d", e.Number)
	volume, err := ntfs.Open(io.NewSectionReader(disk, e.Start, e.Size), e.Size)
	switch {
	case errors.Is(err, ntfs.ErrBitLocker):
		v.add(BitLocker, where, "")
	case errors.Is(err, ntfs.ErrTooLarge):
		v.add(TooLarge, where, "%v", err)
	case errors.Is(err, ntfs.ErrNotNTFS): // another file system is none of ours
	case err != nil:
		v.add(Damaged, where, "%v", err)
	case volume.Geometry().SectorSize != sector:
		v.add(SectorSize, where, "its NTFS volume has sectors of %d bytes, the disk says %d", volume.Geometry().SectorSize, sector)
	default:
		return v.volume(volume, where)
	}
	return false
}

// volume judges an NTFS volume, and what lies on it.
func (v *Verdict) volume(volume *ntfs.Volume, where string) bool {
	d := volume.Judge().Except(ntfs.ErrSecondWindows)
	for _, err := range d.Refusals {
		r := Damaged
		if errors.Is(err, ntfs.ErrHibernated) {
			r = Hibernated
		}
		v.add(r, where, "%v", err)
	}
	if text := d.Unclean(); text != "" && !errors.Is(d.Err, ntfs.ErrHibernated) {
		v.add(Unclean, where, "%s", text)
	}
	v.secrets(volume, where)
	if _, err := volume.Lookup(windowsFolder); err != nil {
		return false
	}
	v.loader(volume, where)
	v.registry(volume, where)
	return true
}

// bootFiles reads them as the agent does for a machine that takes all of them.
func (v *Verdict) bootFiles(disk io.ReaderAt, size int64, sector int) {
	everything := &secureboot.Firmware{CAs: []secureboot.CA{{Name: secureboot.PCA2011}, {Name: secureboot.CA2023}}}
	_, err := bootfiles.Load(disk, size, sector, everything)
	switch {
	case err == nil:
	case errors.Is(err, bootfiles.ErrCompressed):
		v.add(Compressed, "", "%v", err)
	case errors.Is(err, bootfiles.ErrManyWindows):
		v.add(ManyWindows, "", "%v", err)
	default:
		v.add(BootFiles, "", "%v", err)
	}
}

// loader looks at the program that Windows Boot Manager starts.
func (v *Verdict) loader(volume *ntfs.Volume, where string) {
	const path = windowsFolder + `\System32\winload.efi`
	f, err := volume.OpenFile(path)
	mark := make([]byte, 2)
	switch {
	case errors.Is(err, ntfs.ErrUnsupported):
		v.add(Compressed, where, "%v", err)
	case err != nil:
		v.add(BootFiles, where, "%v", err)
	case block.ReadFull(f, mark, 0) != nil || string(mark) != "MZ":
		v.add(BootFiles, where, "%s is no program", path)
	}
}
