package blockdev

import (
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// Disk is one whole disk of the machine as the kernel lists it.
type Disk struct {
	Name               string // kernel name: "sda", "nvme0n1"
	Path               string // "/dev/" + Name
	Model              string // "" when the kernel does not know
	Size               int64  // bytes
	SectorSize         int    // logical, bytes
	PhysicalSectorSize int    // bytes
	Removable          bool
	ReadOnly           bool
	USB                bool // attached by USB
}

// Disks lists the machine's disks from /sys/block, in the kernel's order. Devices
// without a medium and those that are not disks (loop, RAM, device mapper, optical,
// floppy, network block) are left out.
func Disks() ([]Disk, error) { return disksIn(os.DirFS("/sys/block"), os.Readlink) }

// disksIn reads a /sys/block tree; readlink finds the bus a device hangs on.
func disksIn(sys fs.FS, readlink func(string) (string, error)) ([]Disk, error) {
	entries, err := fs.ReadDir(sys, ".")
	if err != nil {
		return nil, err
	}
	var disks []Disk
	for _, e := range entries {
		if notADisk(e.Name()) {
			continue
		}
		d := Disk{Name: e.Name(), Path: "/dev/" + strings.ReplaceAll(e.Name(), "!", "/")}
		d.Size = sysInt(sys, d.Name, "size") * 512 // always in 512-byte units
		if d.Size == 0 {
			continue
		}
		d.SectorSize = int(sysInt(sys, d.Name, "queue/logical_block_size"))
		d.PhysicalSectorSize = int(sysInt(sys, d.Name, "queue/physical_block_size"))
		d.Removable = sysInt(sys, d.Name, "removable") == 1
		d.ReadOnly = sysInt(sys, d.Name, "ro") == 1
		d.Model = sysString(sys, d.Name, "device/model")
		if target, err := readlink("/sys/block/" + d.Name); err == nil {
			d.USB = strings.Contains(target, "/usb")
		}
		disks = append(disks, d)
	}
	return disks, nil
}

func notADisk(name string) bool {
	for _, p := range []string{"loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "mtdblock"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	// The boot and RPMB areas of an eMMC are not its user area.
	return strings.HasPrefix(name, "mmcblk") && (strings.Contains(name, "boot") || strings.Contains(name, "rpmb"))
}

func sysString(sys fs.FS, name, attr string) string {
	b, err := fs.ReadFile(sys, path.Join(name, attr))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func sysInt(sys fs.FS, name, attr string) int64 {
	v, _ := strconv.ParseInt(sysString(sys, name, attr), 10, 64)
	return v
}
