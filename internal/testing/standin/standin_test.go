package standin

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"troy/trial/vm"
)

// bcfg is run by the UEFI shell, which OVMF starts when nothing else boots: it
// makes the boot entry that Windows' own set-up makes, and starts again.
const bcfg = "bcfg boot add 0 fs0:\\EFI\\Microsoft\\Boot\\bootmgfw.efi \"Windows Boot Manager\"\r\nreset\r\n"

// The firmware starts the stand-in by a Boot#### entry that names bootmgfw.efi.
func TestFirmwareStartsStandIn(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "bootmgfw.efi")
	kernel, modules := os.Getenv("KERNEL"), os.Getenv("MODULES")
	if kernel == "" || modules == "" {
		t.Fatal("KERNEL and MODULES must be set (make deps fetches both)")
	}
	if err := Build(t.Context(), &Options{Kernel: kernel, Modules: modules, Out: program}); err != nil {
		t.Fatal(err)
	}
	firmware, errFirmware := vm.FindFirmware()
	script := filepath.Join(dir, "startup.nsh")
	if err := errors.Join(errFirmware, os.WriteFile(script, []byte(bcfg), 0o600)); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(dir, "disk.img")
	for _, args := range [][]string{{"truncate", "-s", "96M", disk}, {"sgdisk", "-n", "1:2048:+90M", "-t", "1:ef00", disk}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", args, err, out)
		}
	}
	// Nothing at the removable media path: only the entry leads to the stand-in.
	for _, args := range [][]string{
		{"mformat", "-F", "-T", "184320"},
		{"mmd", "::/EFI", "::/EFI/Microsoft", "::/EFI/Microsoft/Boot"},
		{"mcopy", program, "::/EFI/Microsoft/Boot/bootmgfw.efi"},
		{"mcopy", script, "::/startup.nsh"},
	} {
		cmd := exec.Command(args[0], append([]string{"-i", disk + "@@1M"}, args[1:]...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", args, err, out)
		}
	}
	m, err := vm.Start(t.Context(), &vm.Config{
		Name: "standin", Dir: dir, Firmware: firmware, Timeout: 4 * time.Minute, MemoryMiB: 512,
		Disks: []vm.Disk{{Path: disk}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, want := range []string{Started, `STANDIN: Boot[0-9A-F]{4} "Windows Boot Manager"`, `STANDIN: BootNext not set`, `STANDIN: powering off`} {
		if _, err := m.Expect(t.Context(), want); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}
