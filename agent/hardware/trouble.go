package hardware

import (
	"fmt"
	"slices"
	"strings"
)

// vmd are the devices that Intel calls Volume Management Device, as the kernel's driver knows them.
var vmd = []string{"8086:201d", "8086:28c0", "8086:467f", "8086:4c3d", "8086:7d0b", "8086:9a0b", "8086:a77f", "8086:ad0b", "8086:b06f", "8086:b07f", "8086:b60b"}

// Vendors whose RAID is a mode of the chipset that the firmware setup can switch off.
const (
	intel = "8086:"
	amd   = "1022:"
)

// Hidden says which controllers hide a disk and what helps against it; "" = none is known to.
// Visible says that the machine shows a disk of its own: then only those are named that say
// themselves that they hide one.
func (m *Machine) Hidden(visible bool) string {
	var all []string
	for _, d := range m.Devices {
		if text := d.hides(visible); text != "" && !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return strings.Join(all, "; ")
}

func (d *Device) hides(visible bool) string {
	raid := strings.HasPrefix(d.Class, "0104")
	switch {
	case d.remapped != "" && d.remapped != "0":
		return fmt.Sprintf("the controller %s (Intel RST) hides the NVMe disk (%s in all): set the SATA or storage mode to AHCI in the firmware setup", d.ID, d.remapped)
	case visible || d.used || d.Kind != Storage || d.Bus != "pci":
		return ""
	case slices.Contains(vmd, d.ID):
		return fmt.Sprintf("the controller %s (Intel VMD) may hide the disk: switch VMD off in the firmware setup, or set the SATA or storage mode to AHCI", d.ID)
	case raid && strings.HasPrefix(d.ID, intel):
		return fmt.Sprintf("the controller %s (Intel RST) may hide the disk: set the SATA or storage mode to AHCI in the firmware setup", d.ID)
	case raid && strings.HasPrefix(d.ID, amd):
		return fmt.Sprintf("the controller %s (AMD RAID) may hide the disk: set the SATA mode to AHCI and switch NVMe RAID off in the firmware setup", d.ID)
	case d.Driver == "":
		return fmt.Sprintf("the storage controller %s (class %.4s) has no driver on the boot media", d.ID, d.Class)
	case raid:
		return fmt.Sprintf("the RAID controller %s (driver %s) shows no disk: make a volume in its setup", d.ID, d.Driver)
	}
	return ""
}

// Driverless names the network cards that no driver serves; "" = there is none. Wi-Fi is not one of
// them: the agent does not use it.
func (m *Machine) Driverless() string {
	const other = "0280" // of PCI: Wi-Fi
	var cards, perhaps []string
	for _, d := range m.Devices {
		name := d.Bus + " " + d.ID
		switch {
		case d.Driver != "" || d.Bus == "pci" && strings.HasPrefix(d.Class, other):
		case d.Kind == Network && !slices.Contains(cards, name):
			cards = append(cards, name)
		case d.Kind == Unknown && !slices.Contains(perhaps, name):
			perhaps = append(perhaps, name)
		}
	}
	var all []string
	if len(cards) > 0 {
		all = append(all, "no driver on the boot media for the network card "+strings.Join(cards, ", "))
	}
	if len(perhaps) > 0 {
		all = append(all, "no driver for "+strings.Join(perhaps, ", ")+", which may be a network card")
	}
	return strings.Join(all, "; ")
}
