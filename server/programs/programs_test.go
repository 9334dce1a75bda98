package programs

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"troy/chainload/regf"
	"troy/chainload/release"
	"troy/chainload/secureboot"
	"troy/diskwriter/pcdisk"
	"troy/image/publish"
	"troy/image/trust/sign"
	"troy/internal/testing/efiprogram"
	"troy/internal/testing/needs"
	"troy/server/protocol"
)

const uefiCA = "Microsoft Corporation UEFI CA 2011"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newShelf is a store with a Windows in version 1 whose boot manager has security version 2.0, a
// release of the agent, and a folder for network boot.
func newShelf(t *testing.T) *Shelf {
	t.Helper()
	needs.Root(t)
	dir := t.TempDir()
	storeDir, boot := filepath.Join(dir, "store"), filepath.Join(dir, "net")
	store, err := publish.Init(storeDir)
	must(t, err)
	_, err = publish.Import(t.Context(), store, "lab", &publish.Disk{Reader: bytes.NewReader(windows(t, dir)), Size: diskSize, SectorSize: 512,
		DataWriteGUID: "11111111-1111-4111-8111-111111111111"}, nil)
	must(t, err)
	for folder, generation := range map[string]string{filepath.Join(dir, "agent"): "4", boot: "3"} {
		must(t, os.Mkdir(folder, 0o755))
		for name, o := range map[string]efiprogram.Options{
			release.Shim:   {CA: uefiCA, SBAT: "sbat,1,x\nshim," + generation + ",y\n"},
			release.GRUB:   {CA: "Debian Secure Boot CA", SBAT: "sbat,1,x\ngrub,5,y\n"},
			release.Kernel: {}, release.Initrd: {}, release.Site: {},
		} {
			must(t, os.WriteFile(filepath.Join(folder, name), efiprogram.Make(o), 0o644))
		}
	}
	_, err = sign.PublishAgent(t.Context(), store, "7", filepath.Join(dir, "agent"), release.Files()...)
	must(t, err)
	s, err := Open(storeDir, boot)
	must(t, err)
	return s
}

const diskSize = 6 << 20

// windows is a disk with the boot manager of a Windows.
func windows(t *testing.T, dir string) []byte {
	t.Helper()
	volume, disk := filepath.Join(dir, "volume"), filepath.Join(dir, "disk")
	tool := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", args, err, out)
		}
	}
	for name, size := range map[string]int64{volume: 4 << 20, disk: diskSize} {
		must(t, os.WriteFile(name, nil, 0o644))
		must(t, os.Truncate(name, size))
	}
	tool("mkntfs", "-q", "-Q", "-F", "-s", "512", "-p", "2048", "-H", "1", "-S", "1", volume)
	must(t, pcdisk.Mounted(t.Context(), volume, func(root string) error {
		at := filepath.Join(root, "Windows", "Boot", "EFI")
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		hives := filepath.Join(root, "Windows", "System32", "config")
		return errors.Join(os.WriteFile(filepath.Join(at, "bootmgfw.efi"), efiprogram.Make(efiprogram.Options{SVN: 2 << 16, CA: secureboot.PCA2011}), 0o644),
			os.MkdirAll(hives, 0o755), os.WriteFile(filepath.Join(hives, "SYSTEM"), hive(t, `PCI\CC_010802`, `PCI\VEN_8086&DEV_15FB&SUBSYS_0A2B1028`), 0o644))
	}))
	tool("sgdisk", "-n", "1:2048:+4M", "-t", "1:0700", disk)
	tool("dd", "if="+volume, "of="+disk, "bs=1M", "seek=1", "conv=notrunc", "status=none")
	b, err := os.ReadFile(disk)
	must(t, err)
	return b
}

// hive is one with drivers for these ids.
func hive(t *testing.T, ids ...string) []byte {
	t.Helper()
	root := &regf.Key{Name: "ROOT", Flags: 4}
	for _, id := range ids {
		bus, name, _ := strings.Cut(id, `\`)
		root.Make("DriverDatabase").Make("DeviceIds").Make(bus).Make(name)
	}
	b, err := (&regf.Hive{Root: root}).Marshal()
	must(t, err)
	return b
}

// TestUndriven names controllers and wired cards, each once.
func TestUndriven(t *testing.T) {
	s := newShelf(t)
	in := &protocol.CheckIn{Devices: []protocol.Device{
		{Kind: "storage", Bus: "pci", ID: "144d:a809", Class: "010802"},
		{Kind: "storage", Bus: "pci", ID: "8086:9a0b", Class: "010400"},
		{Kind: "storage", Bus: "pci", ID: "8086:9a0b", Class: "010400"},
		{Kind: "storage", Bus: "usb", ID: "0781:5567", Class: "080650"},
		{Kind: "network", Bus: "pci", ID: "8086:15fb", Class: "020000"},
		{Kind: "network", Bus: "pci", ID: "10ec:8168", Class: "020000"},
		{Kind: "network", Bus: "pci", ID: "8086:2723", Class: "028000"},
		{Kind: "network", Bus: "usb", ID: "0bda:8153", Class: "ffff00"},
		{Kind: "unknown", Bus: "usb", ID: "06cb:00bd", Class: "ff0000"},
	}}
	want := []string{"the storage controller pci 8086:9a0b", "the network card pci 10ec:8168", "the network card usb 0bda:8153"}
	for range 2 { // the second time from memory
		if got := s.Undriven(t.Context(), in, "lab", 1); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for _, number := range []int{0, 2} {
		if got := s.Undriven(t.Context(), in, "lab", number); got != nil {
			t.Errorf("version %d: %q", number, got)
		}
	}
}

func TestRefused(t *testing.T) {
	s := newShelf(t)
	ca := func(names ...string) (all []protocol.CA) {
		for _, n := range names {
			all = append(all, protocol.CA{Name: n, SHA256: strings.Repeat("0", 64)})
		}
		return all
	}
	both := ca(uefiCA, secureboot.PCA2011)
	for name, c := range map[string]struct {
		in   protocol.CheckIn
		want []string // a part of each line
	}{
		"all starts":       {protocol.CheckIn{SecureBoot: true, Keys: protocol.Keys{CAs: both}}, nil},
		"Secure Boot off":  {protocol.CheckIn{Keys: protocol.Keys{CAs: ca("another"), SVN: 7 << 16}}, nil},
		"it tells no keys": {protocol.CheckIn{SecureBoot: true}, nil},
		"SBAT level": {protocol.CheckIn{SecureBoot: true, Keys: protocol.Keys{CAs: both, SBAT: "sbat,1,2024010900\nshim,4\n"}},
			[]string{"shim of network boot: the firmware refuses it: its SBAT generation of shim is 3"}},
		"SBAT level of GRUB": {protocol.CheckIn{SecureBoot: true, Keys: protocol.Keys{CAs: both, SBAT: "sbat,1,2026010100\ngrub,6\n"}},
			[]string{"GRUB of agent release 7", "GRUB of network boot"}},
		"security version": {protocol.CheckIn{SecureBoot: true, Keys: protocol.Keys{CAs: both, SVN: 7 << 16}},
			[]string{"Windows Boot Manager of lab version 1: the firmware refuses it: its security version is 2.0, the least that dbx allows is 7.0"}},
		"no CA of shim": {protocol.CheckIn{SecureBoot: true, Keys: protocol.Keys{CAs: ca(secureboot.PCA2011)}},
			[]string{"shim of agent release 7", "shim of network boot"}},
		"PCA 2011 is revoked": {protocol.CheckIn{SecureBoot: true, Keys: protocol.Keys{CAs: both, Revoked: ca(secureboot.PCA2011)}},
			[]string{"dbx revokes Microsoft Windows Production PCA 2011"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.Refused(t.Context(), &c.in, "lab", 1)
			if len(got) != len(c.want) {
				t.Fatalf("%q, want %q", got, c.want)
			}
			for i := range got {
				if !strings.Contains(got[i], c.want[i]) {
					t.Errorf("%q, want %q", got[i], c.want[i])
				}
			}
		})
	}
	in := &protocol.CheckIn{SecureBoot: true, Keys: protocol.Keys{CAs: both, SVN: 7 << 16}}
	if got := s.Refused(t.Context(), in, "lab", 2); got != nil {
		t.Errorf("a version that is not there: %q", got)
	}
	if got := s.Refused(t.Context(), in, "", 0); got != nil {
		t.Errorf("no version: %q", got)
	}
}

// A folder that is made again counts from ten seconds later on.
func TestRefusedAnew(t *testing.T) {
	dir := t.TempDir()
	_, err := publish.Init(filepath.Join(dir, "store"))
	must(t, err)
	s, err := Open(filepath.Join(dir, "store"), dir)
	must(t, err)
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	s.now = func() time.Time { return now }
	path := filepath.Join(dir, release.Shim)
	in := &protocol.CheckIn{SecureBoot: true, Keys: protocol.Keys{CAs: []protocol.CA{{Name: uefiCA}}, SBAT: "sbat,1\nshim,4\n"}}
	put := func(generation string) {
		must(t, os.WriteFile(path, efiprogram.Make(efiprogram.Options{CA: uefiCA, SBAT: "shim," + generation + "\n"}), 0o644))
	}
	put("3")
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {fresh / 2, 1}, {fresh / 2, 0}} {
		now = now.Add(c.after)
		if got := s.Refused(t.Context(), in, "", 0); len(got) != c.want {
			t.Errorf("after %v: %q", c.after, got)
		}
		put("4")
	}
	put("3")
	now = now.Add(fresh)
	for _, c := range []struct {
		change func() error
		want   int
	}{
		{func() error { return nil }, 1},
		{func() error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o755)) }, 1}, // it cannot be read: what was known holds
		{func() error { return os.Remove(path) }, 0},
	} {
		must(t, c.change())
		now = now.Add(fresh)
		if got := s.Refused(t.Context(), in, "", 0); len(got) != c.want {
			t.Errorf("%q are refused, want %d", got, c.want)
		}
	}
}
