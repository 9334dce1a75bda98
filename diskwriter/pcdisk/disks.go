package pcdisk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"troy/diskwriter/blockdev"
)

// Holding is what lies on a disk.
type Holding int

// What a disk may hold.
const (
	// Unknown: the disk could not be read. It is never chosen.
	Unknown Holding = iota
	// Bare: first and last MiB hold nothing, see erased.
	Bare
	// Unfinished: it was being made into the disk of a machine and that was cut off, see
	// unfinishedMark.
	Unfinished
	// Prepared: it has a \Troy\ folder: Find takes it.
	Prepared
	// Occupied: anything else.
	Occupied
)

// DiskInfo is a disk as one chooses it.
type DiskInfo struct {
	blockdev.Disk
	Serial    string // "" when neither kernel nor disk tell
	Transport string // nvme, ata, scsi, virtio, mmc, usb or "" when unknown
	Holding   Holding
	Detail    string // what it holds, or why it cannot be read
}

// String names the disk for people: path, model, serial, size, what it holds.
func (d DiskInfo) String() string {
	var b strings.Builder
	b.WriteString(d.Path)
	for _, s := range []string{d.Model, d.Transport} {
		if s != "" {
			b.WriteString(" " + s)
		}
	}
	serial := "no serial"
	if d.Serial != "" {
		serial = "serial " + d.Serial
	}
	fmt.Fprintf(&b, ", %s, %d bytes", serial, d.Size)
	if d.Detail != "" {
		b.WriteString(", " + d.Detail)
	}
	return b.String()
}

// Disks lists the disks of the machine and looks at each. Nothing is written.
func Disks() ([]DiskInfo, error) {
	list, err := blockdev.Disks()
	var out []DiskInfo
	for _, d := range list {
		i := DiskInfo{Disk: d, Serial: serial(os.DirFS("/sys/block"), d.Name)}
		link, _ := filepath.EvalSymlinks("/sys/block/" + d.Name)
		i.Transport = transport(link, d)
		i.look(nil)
		out = append(out, i)
	}
	return out, err
}

// ErrPartition: what should be a whole disk is a partition.
var ErrPartition = errors.New("a partition, not a whole disk")

// Describe looks at one disk, which may be an image file or a loop device: those have no serial and
// are neither removable nor on USB. Errors: ErrPartition, and those of opening.
func Describe(path string, o *blockdev.Options) (DiskInfo, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return DiskInfo{}, err
	}
	all, err := Disks()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return DiskInfo{}, err
	}
	for _, d := range all {
		if d.Path == real {
			return d, nil
		}
	}
	if _, err := os.Stat(filepath.Join("/sys/class/block", filepath.Base(real), "partition")); err == nil && strings.HasPrefix(real, "/dev/") {
		return DiskInfo{}, fmt.Errorf("%s: %w", path, ErrPartition)
	}
	return describeFile(path, o)
}

func describeFile(path string, o *blockdev.Options) (DiskInfo, error) {
	i := DiskInfo{Disk: blockdev.Disk{Name: filepath.Base(path), Path: path}}
	dev, err := blockdev.Open(path, readOnly(o))
	if err != nil {
		return i, err
	}
	i.Size, i.SectorSize, i.PhysicalSectorSize = dev.Size(), dev.SectorSize(), dev.PhysicalSectorSize()
	if err := dev.Close(); err != nil {
		return i, err
	}
	i.look(o)
	return i, nil
}

func readOnly(o *blockdev.Options) *blockdev.Options {
	ro := blockdev.Options{ReadOnly: true}
	if o != nil {
		ro.SectorSize = o.SectorSize
	}
	return &ro
}

// look finds out what the disk holds.
func (d *DiskInfo) look(o *blockdev.Options) {
	dev, err := blockdev.Open(d.Path, readOnly(o))
	if err != nil {
		d.Holding, d.Detail = Unknown, err.Error()
		return
	}
	defer dev.Close()
	d.Holding, d.Detail = holding(dev, d.Path)
}

func holding(dev *blockdev.Device, path string) (Holding, string) {
	err := checkEmpty(dev)
	if err == nil {
		return Bare, "empty"
	}
	if !errors.Is(err, ErrOccupied) {
		return Unknown, err.Error()
	}
	mark, merr := unfinishedMark(dev)
	switch {
	case merr != nil:
		return Unknown, merr.Error()
	case mark != nil:
		return Unfinished, "half prepared for Troy"
	}
	if t, terr := Look(path, &blockdev.Options{ReadOnly: true}); terr == nil {
		t.Close()
		return Prepared, "prepared for Troy"
	}
	what := strings.TrimPrefix(err.Error(), ErrOccupied.Error()+": "+path+" ")
	return Occupied, what
}

// maxSerial bounds what is believed of a serial number, in bytes.
const maxSerial = 64

// serial reads the serial number of a disk: NVMe and virtio disks have a file for it, SCSI and ATA
// disks page 80h of their vital product data (SPC-4 7.8.11: four bytes of header, then the number).
func serial(sys fs.FS, name string) string {
	for _, file := range []string{"device/serial", "serial"} {
		if b, err := fs.ReadFile(sys, path.Join(name, file)); err == nil {
			if s := printable(b); s != "" {
				return s
			}
		}
	}
	b, err := fs.ReadFile(sys, path.Join(name, "device/vpd_pg80"))
	if err != nil || len(b) < 4 || b[1] != 0x80 {
		return ""
	}
	return printable(b[4:min(len(b), 4+int(b[2])<<8+int(b[3]))])
}

// printable returns what of a serial number can be shown and compared.
func printable(b []byte) string {
	s := strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, string(b)))
	return s[:min(len(s), maxSerial)]
}

// transport tells the bus from the path of the device in /sys.
func transport(link string, d blockdev.Disk) string {
	switch {
	case d.USB || strings.Contains(link, "/usb"):
		return "usb"
	case strings.HasPrefix(d.Name, "nvme"):
		return "nvme"
	case strings.HasPrefix(d.Name, "mmcblk"):
		return "mmc"
	case strings.HasPrefix(d.Name, "vd"):
		return "virtio"
	case strings.Contains(link, "/ata"):
		return "ata"
	case strings.HasPrefix(d.Name, "sd"):
		return "scsi"
	}
	return ""
}
