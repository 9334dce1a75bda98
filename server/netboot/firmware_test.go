package netboot

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/initramfs"
	"troy/qemu-tests/vm"
)

// loader is a signed boot loader out of the Debian packages that the tests unpack.
func loader(t *testing.T, l initramfs.Loader) []byte {
	t.Helper()
	name := filepath.Join(os.Getenv("TROY_CACHE"), "loaders", l.Path)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("%v (TROY_CACHE/loaders holds Debian's %s; make deps unpacks it)", err, l.Package)
	}
	return b
}

// TestFirmware has OVMF start by PXE beside a dnsmasq that only gives addresses: shim, GRUB, its configuration and the kernel come from
// here by TFTP, and the kernel starts. TROY_SOAK=1 does it with Secure Boot, too.
func TestFirmware(t *testing.T) {
	dir := t.TempDir()
	kernel, err := os.ReadFile(os.Getenv("KERNEL"))
	if err != nil {
		t.Fatalf("KERNEL: %v", err)
	}
	for name, b := range map[string][]byte{FileShim: loader(t, initramfs.Shim), FileGRUB: loader(t, initramfs.GRUBNet), "troy/vmlinuz": kernel,
		"grub/grub.cfg": []byte("echo NETBOOT: configuration read\nlinux /troy/vmlinuz console=ttyS0 panic=-1\nboot\n")} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	firmware, err := vm.FindFirmware()
	if err != nil {
		t.Fatal(err)
	}
	startByPXE(t, dir, firmware)
	if os.Getenv("TROY_SOAK") == "1" {
		if firmware, err = vm.FindSecureFirmware(); err != nil {
			t.Fatal(err)
		}
		startByPXE(t, dir, firmware)
	}
}

func startByPXE(t *testing.T, dir string, firmware *vm.Firmware) {
	t.Helper()
	work := t.TempDir()
	n, err := vm.NewNetwork(t.Context(), &vm.NetworkConfig{Dir: work, NoDHCP: true})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	s := &site{t: t, dhcp: n.Namespace + "-dhcp", server: n.Namespace}
	s.run("ip", "netns", "add", s.dhcp)
	defer exec.Command("ip", "netns", "del", s.dhcp).Run()
	s.run("ip", "link", "add", "p0", "netns", s.server, "type", "veth", "peer", "name", "eth0", "netns", s.dhcp)
	s.in(s.server, "ip", "link", "set", "p0", "master", "br0", "up")
	s.in(s.dhcp, "ip", "link", "set", "eth0", "up")
	s.in(s.dhcp, "ip", "addr", "add", "10.77.0.9/24", "dev", "eth0")
	s.start(s.dhcp, "DHCP, IP range", nil, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=eth0", "--bind-dynamic", "--user=root",
		"--pid-file=", "--no-ping", "--dhcp-authoritative", "--log-facility=-", "--dhcp-leasefile="+filepath.Join(work, "leases"), "--dhcp-range=10.77.0.50,10.77.0.60")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log := s.start(s.server, "ready", []string{childEnv + "=" + dir}, exe)
	begin := time.Now()
	v, err := vm.Start(t.Context(), &vm.Config{Name: "pxe", Dir: work, Firmware: firmware, Namespace: n.Namespace, MemoryMiB: 512, NoReboot: true,
		NICs: []vm.NIC{{Tap: n.Taps[0], BootIndex: 1}}, Timeout: 4 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for _, line := range []string{"NETBOOT: configuration read", "Linux version 6"} {
		if _, err := v.Expect(t.Context(), line); err != nil {
			b, _ := os.ReadFile(log)
			t.Fatalf("%v\nthe server says:\n%s", err, b)
		}
	}
	b, err := os.ReadFile(log)
	for _, name := range []string{FileShim, FileGRUB, "grub/grub.cfg", "troy/vmlinuz"} {
		if err != nil || !strings.Contains(string(b), name+`" (`) {
			t.Errorf("%s was not loaded: %v\n%s", name, err, b)
		}
	}
	t.Logf("Secure Boot %v: from power on to Linux in %v%s", firmware.Secure, time.Since(begin).Round(time.Second), fmt.Sprintf("\n%s", b))
}
