package initramfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"troy/internal/testing/vmlab"
	"troy/trial/vm"
)

// soak tells whether everything is to be tried, however long it takes.
func soak() bool { return os.Getenv("TROY_SOAK") != "" }

// loaders is the folder in which the boot loaders are unpacked.
func loaders(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(environment(t, "TROY_CACHE"), "loaders")
	if _, err := readLoaders(dir); err != nil {
		t.Fatalf("%v; make deps fetches them", err)
	}
	return dir
}

// testBoot is what the tests' media start: the probe, in place of the agent.
func testBoot(t testing.TB) *Boot {
	t.Helper()
	return &Boot{Bundle: sharedBuild(t).bundle, Site: testSite(t), Cmdline: testCmdline}
}

// testStick is a stick made of testBoot.
func testStick(t *testing.T) string {
	t.Helper()
	stick := filepath.Join(t.TempDir(), "usb.img")
	if err := USB(t.Context(), &USBOptions{Boot: testBoot(t), Out: stick}); err != nil {
		t.Fatal(err)
	}
	return stick
}

// firmware finds OVMF, with Secure Boot enforced or without.
func firmware(t testing.TB, secure bool) *vm.Firmware {
	t.Helper()
	find := vm.FindFirmware
	if secure {
		find = vm.FindSecureFirmware
	}
	f, err := find()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func startVM(t testing.TB, c *vm.Config) *vmlab.VM {
	t.Helper()
	c.Dir, c.NoReboot, c.Timeout = t.TempDir(), true, 5*time.Minute
	m, err := vmlab.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// The stick boots in firmware that enforces Secure Boot with Microsoft's keys: the drivers of all
// kinds of disks and interfaces load under lockdown; what the admin wrote into a file of the stick
// reaches the machine; when the agent ends, a shell answers on the serial line, and the programs
// for a new NTFS volume work.
func TestStickWithSecureBoot(t *testing.T) {
	stick := testStick(t)
	edit(t, stick, "troy/arguments.cfg", "set arguments=\"troy.server=http://192.0.2.8:8080 troy.port=eth0\"\n")
	ntfs := disk(t)
	m := startVM(t, &vm.Config{
		Name: "secure", Firmware: firmware(t, true),
		Disks: []vm.Disk{
			{Path: stick, Bus: vm.USB, ReadOnly: true}, {Path: ntfs, Bus: vm.VirtioBlk},
			{Path: disk(t), Bus: vm.NVMe, SectorSize: 4096}, {Path: disk(t), Bus: vm.AHCI}, {Path: disk(t), Bus: vm.Card},
		},
		NICs: []vm.NIC{{}, {Model: "e1000e"}},
	})
	expect(t, m,
		`PROBE: started with \[--first two words\]`, `PROBE: \d+ drivers in .*`, `PROBE: variables: <nil>`,
		`PROBE: disk mmcblk0 mmcblk`, `PROBE: disk nvme0n1`, `PROBE: disk sda`, `PROBE: disk vda virtio_blk`,
		`PROBE: interface eth0`, `PROBE: interface eth1`, `PROBE: variable BootCurrent`,
		`PROBE: SecureBoot \[6 0 0 0 1\] <nil>`, `PROBE: lockdown none \[integrity\] confidentiality <nil>`,
		`PROBE: site config "troy.port=eth0\\n" <nil>`, `PROBE: done`)
	talk(t, m)
	if out, err := exec.Command("ntfscat", ntfs, "hello").CombinedOutput(); err != nil || string(out) != "sum 42\n" {
		t.Errorf("what the machine wrote by ntfs-3g reads as %q (%v)", out, err)
	}
}

// edit changes a file of the stick as an admin's editor does.
func edit(t *testing.T, stick, name, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "edited")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mcopy", "-D", "o", "-i", stick+"@@1M", file, "::/"+name).CombinedOutput(); err != nil {
		t.Fatalf("mcopy: %v: %s", err, out)
	}
}

// talk uses the rescue shell and powers off.
func talk(t *testing.T, m *vmlab.VM) {
	t.Helper()
	const prompt = `(?m)^\$ ` // not at the end: the kernel may say something behind it
	expect(t, m, prompt)
	for _, c := range []struct{ say, answer string }{
		{"echo sum $((40+2))", `sum 42`},
		{"cat /proc/cmdline", `troy.server=http://10.0.2.2:8080/ troy.server=http://192.0.2.8:8080 troy.port=eth0`},
		{"cat /proc/partitions", ` sd[ab]1\b`}, // the stick's own
		{"ip link", `eth1`},
		{"exit", prompt}, // a new one comes
		{"modprobe loop", prompt},
		{"lsmod", `loop +\d+`},
		{"mkntfs -Q -F -L Windows /dev/vda", `mkntfs completed successfully`},
		{"mknod /dev/fuse c 10 229", prompt},
		{"ntfs-3g /dev/vda /mnt", prompt},
		{"echo sum 42 > /mnt/hello", prompt},
		{"umount /mnt", prompt},
	} {
		if err := m.Send(c.say + "\n"); err != nil {
			t.Fatal(err)
		}
		expect(t, m, c.answer)
		if c.answer != prompt {
			expect(t, m, prompt)
		}
	}
	if err := m.Send("poweroff\n"); err != nil {
		t.Fatal(err)
	}
	if err := m.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// A BIOS that boots a medium says that UEFI is needed.
func TestBIOS(t *testing.T) {
	stick := testStick(t)
	iso := filepath.Join(t.TempDir(), "troy.iso")
	if err := ISO(t.Context(), &ISOOptions{Boot: testBoot(t), Out: iso}); err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]vm.Disk{
		"stick": {Path: stick, Bus: vm.USB}, "CD": {Path: iso, Bus: vm.CDROM}, "ISO image on a stick": {Path: iso, Bus: vm.USB},
	} {
		d.ReadOnly = true
		// graphics=off: SeaBIOS shows on the serial line what it would show on a screen.
		m := startVM(t, &vm.Config{Name: "bios", Disks: []vm.Disk{d}, Args: []string{"-machine", "graphics=off"}})
		if _, err := m.Expect(t.Context(), `(?s)Troy needs UEFI.*No disk was touched`); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		m.Close()
	}
}

// Every other way to start from media.
func TestOtherMedia(t *testing.T) {
	if !soak() {
		t.Log("TROY_SOAK=1 tries the stick and the ISO image in all firmware")
		return
	}
	iso := filepath.Join(t.TempDir(), "troy.iso")
	if err := ISO(t.Context(), &ISOOptions{Boot: testBoot(t), Out: iso}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		disk   vm.Disk
		secure bool
	}{
		{"stick without Secure Boot", vm.Disk{Path: testStick(t), Bus: vm.USB}, false},
		{"CD without Secure Boot", vm.Disk{Path: iso, Bus: vm.CDROM}, false},
		{"CD with Secure Boot", vm.Disk{Path: iso, Bus: vm.CDROM}, true},
		{"ISO image on a stick, with Secure Boot", vm.Disk{Path: iso, Bus: vm.USB}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.disk.ReadOnly = true
			m := startVM(t, &vm.Config{Name: "media", Firmware: firmware(t, c.secure), Disks: []vm.Disk{c.disk}})
			expect(t, m, `PROBE: started`, `PROBE: done`)
		})
	}
}

// expect waits for the lines in this order.
func expect(t *testing.T, m *vmlab.VM, lines ...string) {
	t.Helper()
	for _, l := range lines {
		line, err := m.Expect(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(line)
	}
}

// disk makes an empty disk of 64 MiB.
func disk(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	return path
}
