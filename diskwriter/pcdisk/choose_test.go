package pcdisk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"troy/diskwriter/blockdev"
	"troy/internal/testing/needs"
)

const gib = 1 << 30

func disk(path, serial string, size int64, h Holding) DiskInfo {
	return DiskInfo{Disk: blockdev.Disk{Path: path, Model: "Model " + path, Size: size, SectorSize: 512, PhysicalSectorSize: 4096},
		Serial: serial, Holding: h, Detail: "data"}
}

func with(d DiskInfo, change func(*DiskInfo)) DiskInfo {
	change(&d)
	return d
}

func TestChoose(t *testing.T) {
	a, b := disk("/dev/sda", "A1", 500*gib, Bare), disk("/dev/sdb", "B2", 500*gib, Bare)
	full, ours, half := disk("/dev/sdc", "C3", 500*gib, Occupied), disk("/dev/sdd", "D4", 500*gib, Prepared), disk("/dev/sde", "E5", 500*gib, Unfinished)
	usb := with(a, func(d *DiskInfo) { d.USB = true })
	removable := with(a, func(d *DiskInfo) { d.Removable = true })
	locked := with(a, func(d *DiskInfo) { d.ReadOnly = true })
	broken := with(a, func(d *DiskInfo) { d.Holding = Unknown })
	native := with(a, func(d *DiskInfo) { d.SectorSize = 4096 })
	small := disk("/dev/sdf", "F6", 50*gib, Bare)
	card := with(disk("/dev/mmcblk0", "0x1234", 500*gib, Bare), func(d *DiskInfo) { d.Removable, d.Transport = true, "mmc" })
	photos := with(card, func(d *DiskInfo) { d.Holding = Occupied })
	optane := disk("/dev/nvme1n1", "G7", 16*gib, Occupied) // a cache of 16 GB, or a boot part of UFS
	twin := with(b, func(d *DiskInfo) { d.Serial = "A1" })
	yes := func(DiskInfo) error { return nil }
	no := func(DiskInfo) error { return errors.New("the signed list does not name it") }
	all := func(d ...DiskInfo) []DiskInfo { return d }
	for name, c := range map[string]struct {
		disks []DiskInfo
		o     Order
		want  string // path, or words of the error
		wipe  bool
		err   error
	}{
		"one bare":             {all(a), Order{}, a.Path, false, nil},
		"beside a full one":    {all(full, a), Order{}, a.Path, false, nil},
		"beside a stick":       {all(with(usb, func(d *DiskInfo) { d.Path = "/dev/sdz" }), b), Order{}, b.Path, false, nil},
		"two alike":            {all(a, b), Order{}, "Model /dev/sda, serial A1, 536870912000 bytes", false, ErrManyDisks},
		"two alike, the other": {all(a, b), Order{}, "Model /dev/sdb, serial B2, 536870912000 bytes", false, ErrManyDisks},
		"named":                {all(a, b), Order{Serial: "B2"}, b.Path, false, nil},
		"card beside full":     {all(card, full), Order{}, "mmc, serial 0x1234, 536870912000 bytes, data: removable", false, ErrOccupied},
		"card beside empty":    {all(card, b), Order{}, b.Path, false, nil},
		"wipe beside a card":   {all(photos, full), Order{Wipe: true, Permit: yes}, full.Path, true, nil},
		"wipe beside a cache":  {all(optane, full), Order{Wipe: true, Permit: yes}, full.Path, true, nil},
		"wipe of a cache":      {all(optane), Order{Wipe: true, Permit: yes}, "17179869184 bytes, 107374182400 are needed", false, ErrNoSpace},
		"same serial":          {all(a, twin), Order{Serial: "A1"}, "2 serial", false, ErrManyDisks},
		"named, missing":       {all(a, b), Order{Serial: "X"}, `"X"`, false, ErrNoDisk},
		"too small":            {all(small), Order{}, "53687091200 bytes, 107374182400 are needed", false, ErrNoSpace},
		"small beside":         {all(small, a), Order{}, a.Path, false, nil},
		"named, too small":     {all(small, a), Order{Serial: "F6"}, "53687091200", false, ErrNoSpace},
		"4Kn":                  {all(native), Order{}, "512 bytes, /dev/sda has sectors of 4096", false, ErrSectorSize},
		"4Kn, image too":       {all(native), Order{SectorSize: 4096}, a.Path, false, nil},
		"usb":                  {all(usb), Order{}, "on USB", false, ErrNoDisk},
		"usb, named":           {all(usb), Order{Serial: "A1", Wipe: true, Permit: yes}, "on USB", false, ErrNoDisk},
		"removable":            {all(removable), Order{Wipe: true, Permit: yes}, "removable", false, ErrNoDisk},
		"read-only":            {all(locked), Order{Wipe: true, Permit: yes}, "read-only", false, ErrNoDisk},
		"unreadable":           {all(broken), Order{Wipe: true, Permit: yes}, "cannot be read", false, ErrNoDisk},
		"no disk":              {nil, Order{}, "no disk at all", false, ErrNoDisk},
		"full":                 {all(full), Order{Permit: yes}, "serial number, or allow wipe", false, ErrOccupied},
		"full, named":          {all(full, a), Order{Serial: "C3", Permit: yes}, full.Path, true, nil},
		"full, not signed":     {all(full), Order{Serial: "C3", Permit: no}, "the signed list does not name it", false, ErrNotPermitted},
		"full, nobody":         {all(full), Order{Serial: "C3", Wipe: true}, "no signed permission", false, ErrNotPermitted},
		"wipe":                 {all(full), Order{Wipe: true, Permit: yes}, full.Path, true, nil},
		"wipe, nobody":         {all(full), Order{Wipe: true}, "no signed permission", false, ErrNotPermitted},
		"wipe, two":            {all(full, ours), Order{Wipe: true, Permit: yes}, "2 disks that may be erased", false, ErrManyDisks},
		"wipe, one bare":       {all(full, a), Order{Wipe: true, Permit: yes}, "2 disks", false, ErrManyDisks},
		"machine":              {all(ours), Order{}, "or allow wipe", false, ErrOccupied},
		"half":                 {all(half), Order{}, half.Path, false, nil},
		"half beside bare":     {all(a, half, full), Order{}, half.Path, false, nil},
		"two halves":           {all(half, with(half, func(d *DiskInfo) { d.Serial = "E6" })), Order{}, "2 half prepared", false, ErrManyDisks},
		"half, another named":  {all(half, a), Order{Serial: "A1"}, a.Path, false, nil},
	} {
		c.o.Need = 100 * gib
		d, wipe, err := Choose(c.disks, &c.o)
		if c.err == nil && (err != nil || d.Path != c.want || wipe != c.wipe) {
			t.Errorf("%s: %v, wipe %t, %v", name, d, wipe, err)
		}
		if c.err != nil && (!errors.Is(err, c.err) || !strings.Contains(fmt.Sprint(err), c.want) || d.Path != "" || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: %v, %v; want %q", name, d, err, c.want)
		}
	}
}

// TestSerial reads what the kernel shows of the three kinds of disks.
func TestSerial(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	sys := fstest.MapFS{"nvme0n1/device/serial": file("S4EVNX0N\n"), "vda/serial": file("disk-1"), "sda/device/vpd_pg80": file("\x00\x80\x00\x08  WD-99 \x00junk"),
		"sdb/device/vpd_pg80": file("\x00\x80\xff\xffX"), "sdc/device/vpd_pg80": file("\x00\x83\x00\x01X"), "sdd/size": file("1"),
		"vdb/serial": file("a\x1b[2Jb" + strings.Repeat("x", 100))}
	for name, want := range map[string]string{"nvme0n1": "S4EVNX0N", "vda": "disk-1", "sda": "WD-99", "sdb": "X", "sdc": "", "sdd": "",
		"vdb": "a[2Jb" + strings.Repeat("x", maxSerial-5)} {
		if got := serial(sys, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestDescribe tells what lies on image files and on a loop device.
func TestDescribe(t *testing.T) {
	needs.Root(t)
	path := filepath.Join(t.TempDir(), "disk")
	see := func(want Holding, words string) {
		t.Helper()
		d, err := Describe(path, nil)
		if err != nil || d.Holding != want || !strings.Contains(d.Detail, words) || d.Size != 512*mib || d.SectorSize != 512 {
			t.Errorf("%+v, %v; want %d, %q", d, err, want, words)
		}
	}
	must(t, os.WriteFile(path, nil, 0o644))
	must(t, os.Truncate(path, 512*mib))
	see(Bare, "empty")
	ones := bytes.Repeat([]byte{0xff}, mib)
	poke(t, path, 0, ones) // erased flash: the zeros behind it are what somebody wiped
	poke(t, path, 511*mib+4096, ones[4096:])
	see(Bare, "empty")
	poke(t, path, 511*mib, []byte{0xfe})
	see(Occupied, "data between")
	poke(t, path, 0, make([]byte, mib))
	poke(t, path, 511*mib, make([]byte, mib))
	if out, err := exec.Command("sgdisk", "-n", "1:2048:+1M", path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	see(Occupied, "partition table with 1 partitions")
	o := bareOptions()
	o.Wipe = true
	d, _, err := ProvisionBare(t.Context(), path, o)
	must(t, err)
	must(t, d.Close())
	see(Prepared, "prepared for Troy")
	out, err := exec.Command("losetup", "-f", "--show", path).Output()
	must(t, err)
	loop := strings.TrimSpace(string(out))
	defer exec.Command("losetup", "-d", loop).Run()
	path = loop
	see(Prepared, "prepared for Troy")
	if _, err := Disks(); err != nil {
		t.Error(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
