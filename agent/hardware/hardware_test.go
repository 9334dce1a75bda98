package hardware

import (
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"troy/server/protocol"
)

// machine is a made-up sysfs.
type machine fstest.MapFS

func newMachine() machine {
	m := machine{}
	for name, text := range map[string]string{"product_uuid": "4C4C4544-0042", "product_serial": "C02X1", "sys_vendor": "Dell Inc.", "product_name": "OptiPlex 7090\x1b",
		"bios_vendor": "Dell Inc.", "bios_version": "1.2.3", "bios_date": "05/12/2023"} {
		m.file("class/dmi/id/"+name, text)
	}
	return m
}

func (m machine) file(name, text string) { m[name] = &fstest.MapFile{Data: []byte(text + "\n")} }

// pci plugs in a device; what it says of itself is as the kernel writes it.
func (m machine) pci(address, class, id, driver string) machine {
	text := "PCI_CLASS=" + class + "\nPCI_ID=" + strings.ToUpper(id) + "\nPCI_SUBSYS_ID=1028:0A2B\nMODALIAS=pci:v"
	if driver != "" {
		text = "DRIVER=" + driver + "\n" + text
	}
	m.file("bus/pci/devices/"+address+"/uevent", text)
	return m
}

func (m machine) usb(address, product, class, driver string) machine {
	text := "DEVTYPE=usb_interface\nPRODUCT=" + product + "\nTYPE=0/0/0\nINTERFACE=" + class
	if driver != "" {
		text = "DRIVER=" + driver + "\n" + text
	}
	m.file("bus/usb/devices/"+address+"/uevent", text)
	return m
}

// disk hangs a disk below devices.
func (m machine) disk(name, below string) machine {
	m["block/"+name] = &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte("../devices/" + below + "/" + name)}
	return m
}

func (m machine) look() *Machine { return Look(fstest.MapFS(m)) }

func TestLook(t *testing.T) {
	m := newMachine().
		pci("0000:00:02.0", "30000", "8086:9a60", "i915").
		pci("0000:00:14.0", "C0330", "8086:a0ed", "xhci_hcd").
		pci("0000:00:1f.6", "20000", "8086:15fb", "e1000e").
		pci("0000:01:00.0", "10802", "144d:a809", "nvme").
		pci("0000:02:00.0", "80501", "17a0:9755", "sdhci-pci").
		pci("0000:03:00.0", "28000", "8086:2723", "").
		pci("0000:04:00.0", "nonsense", "8086:1", "").
		usb("1-1:1.0", "bda/8153/3000", "255/255/0", "r8152").
		usb("1-2:1.0", "46d/c31c/1", "3/1/1", "usbhid").
		usb("1-3:1.0", "6cb/bd/0", "255/0/0", "").
		usb("1-4:1.0", "781/5567/100", "8/6/80", "usb-storage").
		usb("1-5:1.0", "b95/1790/200", "2/13/0", "").
		usb("1-6:1.0", "bda/129/1", "255/6/80", "rtsx_usb")
	m["bus/usb/devices/1-1:1.0/net/eth0"] = &fstest.MapFile{Mode: fs.ModeDir}
	m.file("bus/usb/devices/1-1/uevent", "DEVTYPE=usb_device\nPRODUCT=bda/8153/3000\nTYPE=0/0/0")
	m.file("bus/usb/devices/usb1/uevent", "PRODUCT=1d6b/2/612")
	got := m.look()
	want := []protocol.Device{
		{Kind: "network", Bus: "pci", ID: "8086:15fb", Class: "020000", Driver: "e1000e"},
		{Kind: "storage", Bus: "pci", ID: "144d:a809", Class: "010802", Driver: "nvme"},
		{Kind: "storage", Bus: "pci", ID: "17a0:9755", Class: "080501", Driver: "sdhci-pci"},
		{Kind: "network", Bus: "pci", ID: "8086:2723", Class: "028000"},
		{Kind: "network", Bus: "usb", ID: "0bda:8153", Class: "ffff00", Driver: "r8152"},
		{Kind: "unknown", Bus: "usb", ID: "06cb:00bd", Class: "ff0000"},
		{Kind: "storage", Bus: "usb", ID: "0781:5567", Class: "080650", Driver: "usb-storage"},
		{Kind: "network", Bus: "usb", ID: "0b95:1790", Class: "020d00"},
	}
	if list := got.Report(); !slices.Equal(list, want) {
		t.Errorf("devices\n%v, want\n%v", list, want)
	}
	if got.UUID != "4c4c4544-0042" || got.Firmware != "Dell Inc. 1.2.3 (05/12/2023)" {
		t.Errorf("%+v", got)
	}
	if s, want := got.Driverless(), "no driver on the boot media for the network card usb 0b95:1790; no driver for usb 06cb:00bd, which may be a network card"; s != want {
		t.Errorf("%q, want %q", s, want)
	}
	lines := strings.Join(got.Lines(), "\n")
	for _, want := range []string{"machine: Dell Inc. OptiPlex 7090, serial C02X1, firmware Dell Inc. 1.2.3 (05/12/2023)\n",
		"\nstorage: pci 144d:a809 class 010802 nvme; ", "\nnetwork: pci 8086:15fb class 020000 e1000e; ", "; usb 0b95:1790 class 020d00 without driver\n", "\nunknown: usb 06cb:00bd"} {
		if !strings.Contains(lines, want) {
			t.Errorf("%q is not in\n%s", want, lines)
		}
	}
}

// A machine that shows nothing at all has lines as well, and the list for the server is bounded.
func TestLookAtLittleAndMuch(t *testing.T) {
	lines := Look(fstest.MapFS{}).Lines()
	if want := []string{"machine: of unknown make, firmware unknown", "storage: no device on PCI or USB", "network: no device on PCI or USB"}; !slices.Equal(lines, want) {
		t.Errorf("%q, want %q", lines, want)
	}
	m := newMachine()
	for range 2 * protocol.MaxDevices {
		m.pci("0000:"+string(rune('a'+len(m))), "10601", "8086:a102", "ahci")
	}
	if n := len(m.look().Report()); n != protocol.MaxDevices {
		t.Errorf("%d devices for the server, want %d", n, protocol.MaxDevices)
	}
}

// Whatever firmware and kernel say, the server takes it.
func FuzzLook(f *testing.F) {
	f.Add("Dell Inc.", "DRIVER=ahci\nPCI_CLASS=10601\nPCI_ID=8086:A102", "PRODUCT=bda/8153/3000\nINTERFACE=255/255/0", "1")
	f.Add("\x00\xff", "PCI_CLASS=10400\nPCI_ID=\x1b[2J", "PRODUCT=-1/99999/\nINTERFACE=-1/256/x", "-")
	f.Fuzz(func(t *testing.T, text, pci, usb, remapped string) {
		m := newMachine()
		m.file("class/dmi/id/sys_vendor", text)
		m.file("class/dmi/id/bios_version", text)
		m.file("bus/pci/devices/a/uevent", pci)
		m.file("bus/pci/devices/a/remapped_nvme", remapped)
		m.file("bus/usb/devices/b/uevent", usb)
		got := m.look()
		in := protocol.CheckIn{Protocol: protocol.Version, Machine: protocol.Machine{UUID: "x", Vendor: got.Vendor}, FirmwareVersion: got.Firmware, Devices: got.Report()}
		if err := in.Validate(); err != nil {
			t.Error(err)
		}
		for _, line := range append(got.Lines(), got.Hidden(false), got.Driverless()) {
			if strings.ContainsAny(line, "\n\x1b\x00") {
				t.Errorf("%q is not one line", line)
			}
		}
	})
}

// TestLookHere: this machine is one as well.
func TestLookHere(t *testing.T) {
	for _, line := range Look(os.DirFS("/sys")).Lines() {
		t.Log(line)
	}
}

func TestHidden(t *testing.T) {
	const vmdBelow = "pci0000:00/0000:00:0e.0/pci10000:e0/10000:e1:00.0/nvme/nvme0"
	sata := func(class, id string) machine { return newMachine().pci("0000:00:17.0", class, id, "ahci") }
	remaps := func(m machine, n string) machine {
		m.file("bus/pci/devices/0000:00:17.0/remapped_nvme", n)
		return m
	}
	for name, c := range map[string]struct {
		m       machine
		visible bool
		want    string // words; "" = nothing is said
	}{
		"AHCI":                        {sata("10601", "8086:a102"), false, ""},
		"AHCI, nothing remapped":      {remaps(sata("10601", "8086:a102"), "0"), false, ""},
		"AHCI with a remapped NVMe":   {remaps(sata("10601", "8086:282a"), "1"), false, "8086:282a (Intel RST) hides the NVMe disk (1 in all): set the SATA or storage mode to AHCI in the firmware setup"},
		"the same beside a SATA disk": {remaps(sata("10400", "8086:282a"), "2").disk("sda", "pci0000:00/0000:00:17.0/ata1"), true, "8086:282a (Intel RST) hides the NVMe disk (2 in all)"},
		"RST in mode RAID":            {sata("10400", "8086:2822"), false, "8086:2822 (Intel RST) may hide the disk: set the SATA or storage mode to AHCI"},
		"the same with its disk":      {sata("10400", "8086:2822").disk("sda", "pci0000:00/0000:00:17.0/ata1/host0"), false, ""},
		"the same, an NVMe elsewhere": {sata("10400", "8086:2822").disk("nvme0n1", "pci0000:00/0000:01:00.0/nvme/nvme0"), true, ""},
		"VMD without driver":          {newMachine().pci("0000:00:0e.0", "10400", "8086:9a0b", ""), false, "8086:9a0b (Intel VMD) may hide the disk: switch VMD off in the firmware setup"},
		"VMD with nothing below":      {newMachine().pci("0000:00:0e.0", "10400", "8086:a77f", "vmd"), false, "8086:a77f (Intel VMD)"},
		"VMD with its disk":           {newMachine().pci("0000:00:0e.0", "10400", "8086:a77f", "vmd").disk("nvme0n1", vmdBelow), false, ""},
		"VMD, a disk of several paths": {newMachine().pci("0000:00:0e.0", "10400", "8086:a77f", "vmd").
			disk("nvme0n1", "virtual/nvme-subsystem/nvme-subsys0").disk("nvme0c0n1", vmdBelow), false, ""},
		"AMD RAID":             {newMachine().pci("0000:02:00.0", "10400", "1022:7905", ""), false, "1022:7905 (AMD RAID) may hide the disk: set the SATA mode to AHCI and switch NVMe RAID off"},
		"RAID card, no driver": {newMachine().pci("0000:02:00.0", "10400", "1000:005d", ""), false, "1000:005d (class 0104) has no driver on the boot media"},
		"RAID card, no volume": {newMachine().pci("0000:02:00.0", "10400", "1000:005d", "megaraid_sas"), false, "1000:005d (driver megaraid_sas) shows no disk"},
		"SAS without driver":   {newMachine().pci("0000:02:00.0", "10700", "1000:0072", ""), false, "1000:0072 (class 0107) has no driver"},
		"eMMC without driver":  {newMachine().pci("0000:02:00.0", "80501", "8086:4dc4", ""), false, "8086:4dc4 (class 0805) has no driver"},
		"UFS without driver":   {newMachine().pci("0000:02:00.0", "10901", "8086:54ff", ""), true, ""},
		"no controller at all": {newMachine().usb("1-4:1.0", "781/5567/100", "8/6/80", ""), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.m.look().Hidden(c.visible)
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
