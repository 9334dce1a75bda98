package bcd

import (
	"fmt"
	"strings"
)

// VHD is a VHDX (or VHD) file on a GPT disk.
type VHD struct {
	Disk      GUID   // of the disk, from its GPT header
	Partition GUID   // unique GUID of the partition
	Path      string // from the root of the partition, with backslashes
}

// String shows path, partition and disk.
func (v VHD) String() string {
	return fmt.Sprintf("%s on partition %s of disk %s", v.Path, v.Partition, v.Disk)
}

// same compares as Windows does: paths without regard to case.
func (v VHD) same(w VHD) bool {
	return v.Disk == w.Disk && v.Partition == w.Partition && strings.EqualFold(v.Path, w.Path)
}

// Device returns the "locate" form of v: the partition inside the disk that
// holds the file which element (ApplicationPath or SystemRoot) names.
func (v VHD) Device(element ElementType) Device {
	host := Partition{ID: v.Partition, Table: GPT, Disk: v.Disk}
	return Locate{Element: element, Parent: VirtualDisk{Parent: File{On: host, Path: v.Path}}}
}

// VHDOf returns the file that a device lies in, for both forms in use: locate,
// and the qualified one that names partition and disk inside the file.
func VHDOf(d Device) (VHD, bool) {
	var from Device
	switch d := d.(type) {
	case Locate:
		disk, ok := d.Parent.(VirtualDisk)
		if !ok || d.Path != "" {
			return VHD{}, false
		}
		from = disk.Parent
	case Partition:
		from = d.On
	}
	file, ok := from.(File)
	if !ok {
		return VHD{}, false
	}
	host, ok := file.On.(Partition)
	if !ok || host.Table != GPT || host.On != nil {
		return VHD{}, false
	}
	return VHD{Disk: host.Disk, Partition: host.ID, Path: file.Path}, true
}
