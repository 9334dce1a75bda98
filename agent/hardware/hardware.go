package hardware

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"troy/server/protocol"
)

// Kinds of devices, as the protocol has them.
const (
	Storage = "storage"
	Network = "network"
	Unknown = "unknown"
)

// Machine is what firmware and kernel say about this machine. What they do not say is empty.
type Machine struct {
	UUID, Serial, Vendor, Product string
	Firmware                      string // vendor, version, date
	Devices                       []Device
}

// Device is one device on PCI or USB.
type Device struct {
	protocol.Device
	address  string // the kernel's name of it on its bus
	remapped string // how many NVMe disks its firmware hides behind it; "" and "0" = none
	used     bool   // a disk hangs on it
}

// Look reads what is there now. Sys is sysfs.
func Look(sys fs.FS) *Machine {
	dmi := func(name string) string {
		b, _ := fs.ReadFile(sys, "class/dmi/id/"+name) // what is not there stays empty
		return protocol.Clean(strings.TrimSpace(string(b)), protocol.MaxText)
	}
	m := &Machine{UUID: strings.ToLower(dmi("product_uuid")), Serial: dmi("product_serial"), Vendor: dmi("sys_vendor"), Product: dmi("product_name")}
	m.Firmware = strings.TrimSpace(dmi("bios_vendor") + " " + dmi("bios_version"))
	if date := dmi("bios_date"); date != "" {
		m.Firmware += " (" + date + ")"
	}
	m.Firmware = protocol.Clean(m.Firmware, protocol.MaxText)
	m.look(sys, "pci", pciDevice)
	m.look(sys, "usb", usbDevice)
	return m
}

// look adds the devices of one bus.
func (m *Machine) look(sys fs.FS, bus string, parse func(map[string]string) protocol.Device) {
	dir := "bus/" + bus + "/devices"
	entries, _ := fs.ReadDir(sys, dir) // a machine without the bus has none
	disks := diskPaths(sys)
	for _, e := range entries {
		at := path.Join(dir, e.Name())
		d := Device{Device: parse(uevent(sys, at)), address: e.Name()}
		d.Bus = bus
		if bus == "usb" && d.Kind == Unknown && d.Driver != "" {
			if _, err := fs.Stat(sys, path.Join(at, "net")); err != nil {
				continue // it has its driver, and is no network card
			}
			d.Kind = Network
		}
		if d.Kind == "" {
			continue
		}
		b, _ := fs.ReadFile(sys, path.Join(at, "remapped_nvme")) // most have none
		d.remapped = strings.TrimSpace(string(b))
		for _, p := range disks {
			d.used = d.used || strings.Contains(p, "/"+d.address+"/")
		}
		m.Devices = append(m.Devices, d)
	}
}

// uevent reads the lines of a device's uevent.
func uevent(sys fs.FS, dir string) map[string]string {
	b, _ := fs.ReadFile(sys, path.Join(dir, "uevent")) // it was unplugged meanwhile
	values := map[string]string{}
	for line := range strings.Lines(protocol.Clean(string(b), protocol.MaxDetail)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[key] = protocol.Clean(value, protocol.MaxText)
	}
	return values
}

// diskPaths says where disks hang, as paths below devices. That of an NVMe disk with several paths
// leads nowhere, but each of its paths is listed as well.
func diskPaths(sys fs.FS) (all []string) {
	entries, _ := fs.ReadDir(sys, "block") // without the folder there are no disks
	for _, e := range entries {
		if to, err := fs.ReadLink(sys, "block/"+e.Name()); err == nil {
			all = append(all, to)
		}
	}
	return all
}

// pciDevice knows by its class whether a PCI device is of interest.
func pciDevice(u map[string]string) protocol.Device {
	const bits = 24
	class, err := strconv.ParseUint(u["PCI_CLASS"], 16, bits)
	if err != nil {
		return protocol.Device{}
	}
	d := protocol.Device{ID: strings.ToLower(u["PCI_ID"]), Class: fmt.Sprintf("%06x", class), Driver: u["DRIVER"]}
	switch {
	case strings.HasPrefix(d.Class, "01"), strings.HasPrefix(d.Class, "0805"): // the latter for eMMC and SD
		d.Kind = Storage
	case strings.HasPrefix(d.Class, "02"):
		d.Kind = Network
	}
	return d
}

// usbDevice does so for an interface of a USB device; the device itself has no class of interest.
func usbDevice(u map[string]string) protocol.Device {
	var vendor, product uint16
	var class, subclass, variant uint8
	if _, err := fmt.Sscanf(u["PRODUCT"], "%x/%x/", &vendor, &product); err != nil {
		return protocol.Device{}
	}
	if _, err := fmt.Sscanf(u["INTERFACE"], "%d/%d/%d", &class, &subclass, &variant); err != nil {
		return protocol.Device{}
	}
	d := protocol.Device{ID: fmt.Sprintf("%04x:%04x", vendor, product), Class: fmt.Sprintf("%02x%02x%02x", class, subclass, variant), Driver: u["DRIVER"]}
	switch d.Class[:4] {
	case "0206", "020c", "020d", "e001", "ef04": // ECM, EEM, NCM, RNDIS twice
		d.Kind = Network
	}
	switch d.Class[:2] {
	case "08":
		d.Kind = Storage
	case "ff":
		d.Kind = Unknown
	}
	return d
}

// Report is the devices as the server is told of them.
func (m *Machine) Report() (list []protocol.Device) {
	for _, d := range m.Devices[:min(len(m.Devices), protocol.MaxDevices)] {
		list = append(list, d.Device)
	}
	return list
}

// Lines is what a photo of the screen of a machine in trouble should show.
func (m *Machine) Lines() []string {
	text := strings.TrimSpace(m.Vendor + " " + m.Product)
	if m.Serial != "" {
		text += ", serial " + m.Serial
	}
	lines := []string{fmt.Sprintf("machine: %s, firmware %s", cmp.Or(text, "of unknown make"), cmp.Or(m.Firmware, "unknown"))}
	for _, kind := range []string{Storage, Network, Unknown} {
		var list []string
		for _, d := range m.Devices {
			if d.Kind == kind {
				list = append(list, d.String())
			}
		}
		switch {
		case len(list) > 0:
			lines = append(lines, kind+": "+strings.Join(list, "; "))
		case kind != Unknown:
			lines = append(lines, kind+": no device on PCI or USB")
		}
	}
	return lines
}
