package standin

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"troy/initramfs"
	"troy/internal/testing/vm"
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
	code, errCode := os.ReadFile(program)
	if err := errors.Join(errFirmware, errCode); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(dir, "disk.img")
	err := initramfs.USB(t.Context(), &initramfs.USBOptions{UKI: program, Out: disk, Files: []initramfs.File{
		{Name: Path, Data: code}, {Name: "startup.nsh", Data: []byte(bcfg)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	// Nothing at the removable media path: only the entry leads to the stand-in.
	if out, err := exec.Command("mdel", "-i", disk+"@@1M", "::/"+initramfs.RemovablePath).CombinedOutput(); err != nil {
		t.Fatalf("mdel: %v: %s", err, out)
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
