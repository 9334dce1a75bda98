package startable

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"troy/chainload/regf"
	"troy/diskwriter/ntfs"
	"troy/diskwriter/pcdisk"
)

// ErrNoDrivers: the disk does not tell for which devices its Windows has drivers.
var ErrNoDrivers = errors.New("no list of drivers was found")

// Device is a PCI or USB device as check-ins have it: bus "pci" or "usb", id "8086:15fb", and the
// class of six hex digits.
type Device struct{ Bus, ID, Class string }

// Drivers are the ids for which a Windows has drivers, those that it brings along and those that
// were added to it. It may be used concurrently.
type Drivers struct{ ids map[string]bool }

// ReadDrivers reads them from the Windows on a virtual disk of size bytes with logical sectors of
// that size. Errors: ErrNoDrivers, and those of packages ntfs, regf and blockdev.
func ReadDrivers(disk io.ReaderAt, size int64, sector int) (*Drivers, error) {
	volume, err := pcdisk.WindowsVolume(disk, size, sector)
	if err != nil {
		return nil, err
	}
	if volume == nil {
		return nil, fmt.Errorf("%w: no Windows", ErrNoDrivers)
	}
	d := &Drivers{ids: map[string]bool{}}
	for _, name := range []string{"SYSTEM", "DRIVERS"} {
		switch h, err := openHive(volume, name); {
		case errors.Is(err, ntfs.ErrNotExist):
		case err != nil:
			return nil, err
		default:
			if err := d.read(h.Reader); err != nil {
				return nil, err
			}
		}
	}
	if len(d.ids) == 0 {
		return nil, ErrNoDrivers
	}
	return d, nil
}

// read adds the ids of a hive.
func (d *Drivers) read(h *regf.Reader) error {
	for _, bus := range []string{"PCI", "USB"} {
		names, err := h.Keys(`DriverDatabase\DeviceIds\` + bus)
		if errors.Is(err, regf.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			d.ids[bus+`\`+general(name)] = true
		}
	}
	return nil
}

// general leaves out what check-ins do not tell: the maker of the card, its revision, the function
// of a USB device. A driver for some cards of a kind counts for all of them.
func general(name string) string {
	name = strings.ToUpper(name)
	for _, part := range []string{"&SUBSYS_", "&REV_", "&MI_"} {
		name, _, _ = strings.Cut(name, part)
	}
	return name
}

// Has tells whether there is a driver for a device.
func (d *Drivers) Has(dev Device) bool {
	for _, id := range dev.ids() {
		if d.ids[id] {
			return true
		}
	}
	return false
}

// ids are the names by which Windows looks for a driver (Microsoft, Identifiers for PCI Devices,
// and for USB devices), without those that general leaves out.
func (dev Device) ids() (all []string) {
	vendor, product, _ := strings.Cut(strings.ToUpper(dev.ID), ":")
	class := strings.ToUpper(dev.Class)
	if len(class) != 6 {
		return nil
	}
	switch dev.Bus {
	case "pci":
		one, maker := `PCI\VEN_`+vendor+"&DEV_"+product, `PCI\VEN_`+vendor
		all = []string{one}
		for _, cc := range []string{"CC_" + class, "CC_" + class[:4]} {
			all = append(all, one+"&"+cc, maker+"&"+cc, `PCI\`+cc)
		}
	case "usb":
		c := `USB\CLASS_` + class[:2]
		s := c + "&SUBCLASS_" + class[2:4]
		all = []string{`USB\VID_` + vendor + "&PID_" + product, c, s, s + "&PROT_" + class[4:]}
	}
	return all
}
