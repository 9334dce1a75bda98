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

// device returns the "locate" form of v: the partition inside the disk that
// holds the file which element (applicationPath or systemRootElement) names.
func (v VHD) device(element elementType) device {
	host := partitionDevice{ID: v.Partition, Table: tableGPT, Disk: v.Disk}
	return locateDevice{Element: element, Parent: virtualDisk{Parent: fileDevice{On: host, Path: v.Path}}}
}

// vhdOf returns the file that a device lies in, for both forms in use: locate,
// and the qualified one that names partition and disk inside the file.
func vhdOf(d device) (VHD, bool) {
	var from device
	if o, ok := d.(optionDevice); ok {
		d = o.Device // options do not change which file it is
	}
	switch d := d.(type) {
	case locateDevice:
		disk, ok := d.Parent.(virtualDisk)
		if !ok || d.Path != "" {
			return VHD{}, false
		}
		from = disk.Parent
	case partitionDevice:
		from = d.On
	}
	file, ok := from.(fileDevice)
	if !ok {
		return VHD{}, false
	}
	host, ok := file.On.(partitionDevice)
	if !ok || host.Table != tableGPT || host.On != nil {
		return VHD{}, false
	}
	return VHD{Disk: host.Disk, Partition: host.ID, Path: file.Path}, true
}
