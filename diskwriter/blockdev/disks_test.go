package blockdev

import (
	"errors"
	"os"
	"testing"
	"testing/fstest"
)

func TestDisksIn(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	sys := fstest.MapFS{
		"nvme0n1/size":                      file("1000215216\n"),
		"nvme0n1/queue/logical_block_size":  file("512\n"),
		"nvme0n1/queue/physical_block_size": file("4096\n"),
		"nvme0n1/queue/rotational":          file("0\n"),
		"nvme0n1/device/model":              file("Some SSD 512GB       \n"),
		"sdb/size":                          file("30310400\n"),
		"sdb/removable":                     file("1\n"),
		"sdb/ro":                            file("1\n"),
		"sdc/size":                          file("0\n"), // card reader without a card
		"loop0/size":                        file("2048\n"),
		"sr0/size":                          file("2048\n"),
		"cciss!c0d0/size":                   file("100\n"),
	}
	link := func(path string) (string, error) {
		if path == "/sys/block/sdb" {
			return "../devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/host0/target0:0:0/0:0:0:0/block/sdb", nil
		}
		return "", errors.New("none")
	}
	disks, err := disksIn(sys, link)
	if err != nil || len(disks) != 3 {
		t.Fatalf("%+v, %v", disks, err)
	}
	byName := map[string]Disk{}
	for _, d := range disks {
		byName[d.Name] = d
	}
	want := Disk{Name: "nvme0n1", Path: "/dev/nvme0n1", Model: "Some SSD 512GB", Size: 1000215216 * 512, SectorSize: 512, PhysicalSectorSize: 4096}
	if byName["nvme0n1"] != want {
		t.Errorf("nvme %+v", byName["nvme0n1"])
	}
	if d := byName["sdb"]; !d.USB || !d.Removable || !d.ReadOnly {
		t.Errorf("sdb %+v", d)
	}
	if d := byName["cciss!c0d0"]; d.Path != "/dev/cciss/c0d0" {
		t.Errorf("cciss %+v", d)
	}
}

// What the kernel shows of the disks that PCs are sold with, and of what is beside them.
func TestKinds(t *testing.T) {
	const usb = "../devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0/"
	const pci = "../devices/pci0000:00/0000:00:1d.0/0000:03:00.0/"
	for name, c := range map[string]struct {
		disk   string
		link   string
		files  map[string]string // below /sys/block/DISK, besides size
		listed bool
		unfit  string
	}{
		"SATA":                   {"sda", pci + "ata1/host0/target0:0:0/0:0:0:0/block/sda", map[string]string{"removable": "0"}, true, ""},
		"NVMe":                   {"nvme0n1", pci + "nvme/nvme0/nvme0n1", map[string]string{"hidden": "0"}, true, ""},
		"NVMe, several paths":    {"nvme1n1", "../devices/virtual/nvme-subsystem/nvme-subsys1/nvme1n1", map[string]string{"hidden": "0"}, true, ""},
		"one of its paths":       {"nvme1c0n1", pci + "nvme/nvme0/nvme1c0n1", map[string]string{"hidden": "1"}, false, ""},
		"eMMC":                   {"mmcblk0", pci + "mmc_host/mmc0/mmc0:0001/block/mmcblk0", map[string]string{"removable": "0", "device/type": "MMC"}, true, ""},
		"its boot part":          {"mmcblk0boot0", pci, map[string]string{"device/type": "MMC"}, false, ""},
		"its RPMB":               {"mmcblk0rpmb", pci, map[string]string{"device/type": "MMC"}, false, ""},
		"its general part":       {"mmcblk0gp1", pci, map[string]string{"device/type": "MMC"}, false, ""},
		"UFS":                    {"sda", pci + "host0/target0:0:0/0:0:0:0/block/sda", map[string]string{"removable": "0"}, true, ""},
		"SD card, built-in slot": {"mmcblk1", pci + "mmc_host/mmc1/mmc1:aaaa/block/mmcblk1", map[string]string{"removable": "0", "device/type": "SD"}, true, "removable"},
		"card of unknown type":   {"mmcblk1", pci + "mmc_host/mmc1/mmc1:aaaa/block/mmcblk1", nil, true, "removable"},
		"SD card, USB reader":    {"mmcblk1", usb + "rtsx_usb_sdmmc.0/mmc_host/mmc0/block/mmcblk1", map[string]string{"device/type": "SD"}, true, "on USB"},
		"reader without a card":  {"sdc", usb + "host3/target3:0:0/3:0:0:0/block/sdc", map[string]string{"size": "0", "removable": "1"}, false, ""},
		"Memory Stick":           {"mspblk0", pci, nil, false, ""},
		"stick":                  {"sdb", usb + "host3/target3:0:0/3:0:0:0/block/sdb", map[string]string{"removable": "1"}, true, "on USB"},
		"disk of a dock":         {"sdb", usb + "host3/target3:0:0/3:0:0:0/block/sdb", map[string]string{"removable": "0"}, true, "on USB"},
		"locked by a switch":     {"sdb", pci + "ata2/host1/target1:0:0/1:0:0:0/block/sdb", map[string]string{"ro": "1"}, true, "read-only"},
		"SATA, hot-pluggable":    {"sdb", pci + "ata2/host1/target1:0:0/1:0:0:0/block/sdb", map[string]string{"removable": "1"}, true, ""},
		"removable on SCSI":      {"sdb", pci + "host1/target1:0:0/1:0:0:0/block/sdb", map[string]string{"removable": "1"}, true, "removable"},
	} {
		t.Run(name, func(t *testing.T) {
			sys := fstest.MapFS{c.disk + "/size": &fstest.MapFile{Data: []byte("250347520\n")}}
			for f, s := range c.files {
				sys[c.disk+"/"+f] = &fstest.MapFile{Data: []byte(s + "\n")}
			}
			disks, err := disksIn(sys, func(string) (string, error) { return c.link, nil })
			if err != nil || len(disks) > 1 || (len(disks) == 1) != c.listed {
				t.Fatalf("%+v, %v; want it listed: %v", disks, err, c.listed)
			}
			if c.listed && disks[0].Unfit() != c.unfit {
				t.Errorf("%q, want %q", disks[0].Unfit(), c.unfit)
			}
		})
	}
}

// A card has a name in place of a model.
func TestModelOfACard(t *testing.T) {
	sys := fstest.MapFS{"mmcblk0/size": &fstest.MapFile{Data: []byte("8")}, "mmcblk0/device/name": &fstest.MapFile{Data: []byte("DA4128\n")}}
	disks, err := disksIn(sys, func(string) (string, error) { return "", errors.New("none") })
	if err != nil || len(disks) != 1 || disks[0].Model != "DA4128" {
		t.Errorf("%+v, %v", disks, err)
	}
}

// TestDisks: what this machine lists exists.
func TestDisks(t *testing.T) {
	disks, err := Disks()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range disks {
		if d.Size <= 0 || checkSectorSize(d.SectorSize) != nil || d.PhysicalSectorSize < d.SectorSize {
			t.Errorf("%+v", d)
		}
		if st, err := os.Stat("/sys/class/block/" + d.Name); err != nil || !st.IsDir() {
			t.Errorf("%s: %v", d.Name, err)
		}
	}
	t.Logf("%+v", disks)
}
