package blockdev

import (
	"cmp"
	"io/fs"
	"os"
	"path"
	"regexp"
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
	Removable          bool   // its medium can be taken out; so can a card in a built-in reader
	ReadOnly           bool
	USB                bool // attached by USB
}

// Unfit says why a disk cannot be that of the machine: sticks and cards come and go, and so does what
// hangs on USB, whether it is a disk, a reader, a dock or an audio device. "" = it can.
func (d *Disk) Unfit() string {
	switch {
	case d.USB:
		return "on USB"
	case d.Removable:
		return "removable"
	case d.ReadOnly:
		return "read-only"
	}
	return ""
}

// Disks lists the machine's disks from /sys/block, in the kernel's order. Devices without a medium,
// those that are not disks (loop, RAM, device mapper, optical, floppy, network block), parts of an
// eMMC that are not its user area, and the single paths to an NVMe disk with several are left out.
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
		if d.Size == 0 || sysInt(sys, d.Name, "hidden") == 1 {
			continue
		}
		d.SectorSize = int(sysInt(sys, d.Name, "queue/logical_block_size"))
		d.PhysicalSectorSize = int(sysInt(sys, d.Name, "queue/physical_block_size"))
		d.ReadOnly = sysInt(sys, d.Name, "ro") == 1
		d.Model = cmp.Or(sysString(sys, d.Name, "device/model"), sysString(sys, d.Name, "device/name"))
		at, _ := readlink("/sys/block/" + d.Name) // without it the rest must do
		d.USB = strings.Contains(at, "/usb")
		// A SATA port that is hot-pluggable makes its disk "removable", and firmware says so of ports
		// inside as well.
		d.Removable = sysInt(sys, d.Name, "removable") == 1 && !strings.Contains(at, "/ata") || card(sys, d.Name)
		disks = append(disks, d)
	}
	return disks, nil
}

// mmcDisk is the user area of an eMMC or a card. "boot0", "rpmb" or "gp0" behind it is another part.
var mmcDisk = regexp.MustCompile(`^mmcblk\d+$`)

func notADisk(name string) bool {
	for _, p := range []string{"loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "mtdblock", "msblk", "mspblk"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return strings.HasPrefix(name, "mmcblk") && !mmcDisk.MatchString(name)
}

// card tells whether a disk on an MMC bus is a card in a slot: the kernel says for all of them that
// they are not removable, but eMMC, which is soldered, has the type MMC, and cards have others.
func card(sys fs.FS, name string) bool {
	return mmcDisk.MatchString(name) && sysString(sys, name, "device/type") != "MMC"
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
