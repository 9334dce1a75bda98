package volumes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeSys makes a sysfs: PATH OF THE DEVICE: FILE=CONTENT …
func fakeSys(t *testing.T, devices string) string {
	t.Helper()
	sys := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(sys, "class/block"), 0o755))
	for line := range strings.Lines(devices) {
		path, files, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			continue
		}
		dir := filepath.Join(sys, path)
		must(os.MkdirAll(dir, 0o755))
		for _, f := range strings.Fields(files) {
			name, value, _ := strings.Cut(f, "=")
			must(os.WriteFile(filepath.Join(dir, name), []byte(value+"\n"), 0o644))
		}
		must(os.Symlink(dir, filepath.Join(sys, "class/block", filepath.Base(path))))
	}
	return sys
}

// TestRemovable: sticks, cards and disks on USB count, by their volumes; built-in disks, discs and
// empty readers do not.
func TestRemovable(t *testing.T) {
	stick := filepath.Join(t.TempDir(), "my stick")
	if err := os.Mkdir(stick, 0o755); err != nil {
		t.Fatal(err)
	}
	sys := fakeSys(t, `
		devices/pci0/ata1/block/sda: dev=8:0 size=1000 removable=0
		devices/pci0/ata1/block/sda/sda1: dev=8:1 size=900 partition=1
		devices/pci0/usb1/1-1/block/sdb: dev=8:16 size=4000 removable=1
		devices/pci0/usb1/1-1/block/sdb/sdb1: dev=8:17 size=3000 partition=1
		devices/pci0/usb2/2-1/block/sdc: dev=8:32 size=2000 removable=0
		devices/pci0/usb2/2-2/block/sdd: dev=8:48 size=0 removable=1
		devices/pci0/usb2/2-3/block/sde: dev=8:64 size=100 removable=1
		devices/pci0/mmc_host/mmc0/block/mmcblk0: dev=179:0 size=200 removable=0
		devices/pci0/ata2/block/sr0: dev=11:0 size=900 removable=1
	`)
	mounts := strings.NewReader(`22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 8:17 / ` + strings.ReplaceAll(stick, " ", `\040`) + ` rw,nosuid - vfat /dev/sdb1 rw
31 22 8:17 / /elsewhere rw - vfat /dev/sdb1 rw
32 22 8:64 / /ro ro - vfat /dev/sde ro
`)
	list, err := removable(sys, mounts)
	if err != nil || len(list) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	for i, want := range []Volume{{Device: "mmcblk0", Size: 200 * 512}, {Device: "sdb1", Mounted: stick, Size: 3000 * 512}, {Device: "sdc", Size: 2000 * 512}} {
		got := list[i]
		if (got.Free > 0) != (want.Mounted != "") {
			t.Errorf("%s: %d bytes free", got.Device, got.Free)
		}
		got.Free = 0
		if got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

// TestHere: the machine that runs the test has a table and a sysfs that can be read.
func TestHere(t *testing.T) {
	if _, err := Removable(); err != nil {
		t.Error(err)
	}
}
