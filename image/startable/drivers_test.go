package startable

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/ntfs"
	"troy/internal/testing/samples"
)

// newSample is a disk with the hive SYSTEM of a real Windows; path is that of the hive.
func newSample(t *testing.T, name string) (d *disk, path string) {
	t.Helper()
	newDisk(t)
	path = samples.Unpack(t, t.TempDir(), "hives/"+name)
	hive, err := os.ReadFile(path)
	must(t, err)
	volume := filepath.Join(t.TempDir(), "large")
	windows(t, volume, 32*mib)
	d = &disk{t: t, volumes: []string{volume}}
	return d.put("Windows/System32/config/SYSTEM", hive), path
}

// TestSamples: the hives of three releases of Windows, against what hivexget prints. The disk of
// the Windows 7 was a member of a domain; two were captured while Windows ran.
func TestSamples(t *testing.T) {
	for name, want := range map[string][]Reason{
		"regipy-win7-SYSTEM": {DomainJoined}, "regipy-win8-dirty-SYSTEM": {Unclosed}, "regipy-win10-1709-dirty-SYSTEM": {Unclosed},
	} {
		t.Run(name, func(t *testing.T) {
			d, path := newSample(t, name)
			b := d.table()
			v := Check(bytes.NewReader(b), int64(len(b)), 512)
			says := ""
			if want[0] == DomainJoined {
				out, err := exec.Command("hivexget", path, `\ControlSet001\Services\Tcpip\Parameters`, "Domain").Output()
				must(t, err)
				says = `domain "` + strings.TrimSpace(string(out)) + `"`
			}
			compare(t, v, want, says)
			if v.Setup {
				t.Error("setup is pending")
			}
		})
	}
}

// TestDriversSample: what a Windows 10 of 2017 brings along, and what it does not.
func TestDriversSample(t *testing.T) {
	d, _ := newSample(t, "regipy-win10-1709-dirty-SYSTEM")
	b := d.table()
	drivers, err := ReadDrivers(bytes.NewReader(b), int64(len(b)), 512)
	must(t, err)
	for _, c := range []struct {
		dev  Device
		want bool
	}{
		{Device{"pci", "144d:a809", "010802"}, true},  // any NVMe disk, by its class
		{Device{"pci", "8086:a102", "010601"}, true},  // any AHCI controller
		{Device{"pci", "8086:282a", "010400"}, true},  // Intel RST as RAID: iastorav.inf
		{Device{"pci", "8086:9a0b", "010400"}, false}, // Intel VMD
		{Device{"pci", "1000:0055", "010000"}, true},  // named for some makers' cards alone
		{Device{"pci", "17a0:9755", "080501"}, true},  // any SD host controller
		{Device{"pci", "14e4:1639", "020000"}, true},  // Broadcom BCM5709
		{Device{"pci", "8086:15fb", "020000"}, false}, // Intel I219 of 2020
		{Device{"usb", "0781:5567", "080650"}, true},  // any USB stick
		{Device{"usb", "0bda:ffff", "ffff00"}, false},
		{Device{"pci", "14e4:1639", ""}, false},
	} {
		if got := drivers.Has(c.dev); got != c.want {
			t.Errorf("%+v: %v, want %v", c.dev, got, c.want)
		}
	}
}

// TestNoDrivers: a disk that does not tell is no disk without drivers.
func TestNoDrivers(t *testing.T) {
	look := func(b []byte) error {
		d, err := ReadDrivers(bytes.NewReader(b), int64(len(b)), 512)
		if (d == nil) == (err == nil) {
			t.Errorf("%+v, %v", d, err)
		}
		return err
	}
	sound := newDisk(t)
	if err := look(sound.bytes()); !errors.Is(err, ErrNoDrivers) {
		t.Error(err)
	}
	if err := look(make([]byte, mib)); !errors.Is(err, blockdev.ErrNoTable) {
		t.Error(err)
	}
	// Newer releases keep them in a hive of their own.
	d := newDisk(t).hive("DRIVERS", values{`DriverDatabase\DeviceIds\PCI\ven_8086&dev_9a0b`: nil})
	b := d.bytes()
	drivers, err := ReadDrivers(bytes.NewReader(b), int64(len(b)), 512)
	must(t, err)
	if !drivers.Has(Device{"pci", "8086:9a0b", "010400"}) || drivers.Has(Device{"pci", "8086:9a0c", "010400"}) {
		t.Errorf("%+v", drivers)
	}
	if err := look(d.put("Windows/System32/config/DRIVERS", []byte("no hive")).bytes()); err == nil {
		t.Error("a damaged hive is taken for an empty one")
	}
}

// FuzzCheck changes bytes of a disk: whatever comes, it ends, and what is sound before is so after
// an empty change.
func FuzzCheck(f *testing.F) {
	disk := newDisk(f).put("Windows/Panther/unattend.xml", secret("<ProductKey> </ProductKey>")).bytes()
	v, err := ntfs.Open(io.NewSectionReader(bytes.NewReader(disk), volumeAt, smallSize), smallSize)
	must(f, err)
	mft := int(v.Geometry().MFT)*v.Geometry().ClusterSize + volumeAt
	f.Add(uint32(0), []byte{})
	for _, at := range []int{450, 512, 1024 + 32, volumeAt + 3, volumeAt + 0x28, mft, mft + 5*1024, bytes.Index(disk, []byte("regf")), bytes.Index(disk, []byte("hbin")) + 100,
		bytes.Index(disk, []byte("ImageState"))} {
		f.Add(uint32(at), []byte{0xff, 0xff, 0xff, 0x7f})
		f.Add(uint32(at), []byte{0, 0, 0, 0})
	}
	f.Fuzz(func(t *testing.T, at uint32, b []byte) {
		d := bytes.Clone(disk)
		if int64(at) < int64(len(d)) {
			copy(d[at:], b)
		}
		v := Check(bytes.NewReader(d), int64(len(d)), 512)
		if bytes.Equal(d, disk) && len(v.Findings) > 0 {
			t.Fatalf("%q", v.Notes())
		}
		for _, line := range v.Notes() {
			if strings.TrimSpace(line) == "" {
				t.Fatal("a finding says nothing")
			}
		}
		_, _ = ReadDrivers(bytes.NewReader(d), int64(len(d)), 512)
	})
}
