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
		"mmcblk0/size":                      file("100\n"),
		"mmcblk0boot0/size":                 file("100\n"),
		"cciss!c0d0/size":                   file("100\n"),
	}
	link := func(path string) (string, error) {
		if path == "/sys/block/sdb" {
			return "../devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/host0/target0:0:0/0:0:0:0/block/sdb", nil
		}
		return "", errors.New("none")
	}
	disks, err := disksIn(sys, link)
	if err != nil || len(disks) != 4 {
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
