package initramfs

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"troy/qemu-tests/vm"
)

// The stick boots in UEFI firmware; the drivers of all kinds of disks and
// interfaces load; when the agent ends a shell answers on the serial line.
func TestUSBBootsInFirmware(t *testing.T) {
	dir := t.TempDir()
	stick := filepath.Join(dir, "usb.img")
	if err := USB(t.Context(), &USBOptions{UKI: testUKI(t, sharedBuild(t).path), Out: stick}); err != nil {
		t.Fatal(err)
	}
	firmware, err := vm.FindFirmware()
	if err != nil {
		t.Fatal(err)
	}
	m, err := vm.Start(t.Context(), &vm.Config{
		Name: "usb", Dir: dir, Firmware: firmware, NoReboot: true, Timeout: 4 * time.Minute,
		Disks: []vm.Disk{
			{Path: stick, Bus: vm.USB}, {Path: disk(t), Bus: vm.VirtioBlk},
			{Path: disk(t), Bus: vm.NVMe, SectorSize: 4096}, {Path: disk(t), Bus: vm.AHCI},
		},
		NICs: []vm.NIC{{}, {Model: "e1000e"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	expect(t, m,
		`PROBE: started with \[--first two words\]`, `PROBE: \d+ drivers in .*`, `PROBE: variables: <nil>`,
		`PROBE: disk nvme0n1`, `PROBE: disk sda`, `PROBE: disk vda virtio_blk`,
		`PROBE: interface eth0`, `PROBE: interface eth1`, `PROBE: variable BootCurrent`, `PROBE: done`)
	talk(t, m)
}

// talk uses the rescue shell and powers off.
func talk(t *testing.T, m *vm.VM) {
	t.Helper()
	const prompt = `(?m)^\$ ` // not at the end: the kernel may say something behind it
	expect(t, m, prompt)
	for _, c := range []struct{ say, answer string }{
		{"echo sum $((40+2))", `sum 42`},
		{"cat /proc/cmdline", `troy.server=http://10.0.2.2:8080/`},
		{"cat /proc/partitions", ` sd[ab]1\b`}, // the stick's own
		{"ip link", `eth1`},
		{"exit", prompt}, // a new one comes
		{"modprobe loop", prompt},
		{"lsmod", `loop +\d+`},
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

// expect waits for the lines in this order.
func expect(t *testing.T, m *vm.VM, lines ...string) {
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
