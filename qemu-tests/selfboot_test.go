package qemutests

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/diskwriter/blockdev"
	"troy/initramfs"
	"troy/initramfs/kmod"
	"troy/qemu-tests/lab"
	"troy/qemu-tests/standin"
	"troy/qemu-tests/vm"
)

// espMachine is a PC whose disk has an ESP with a Windows Boot Manager that starts
// with Secure Boot on, and a stick that starts the probe of package selfboot.
type espMachine struct {
	dir    string // of everything
	probe  string // initramfs with the probe
	config *vm.Config
}

const espMiB = 200

// newESPMachine makes one. The stick says how the probe begins.
func newESPMachine(t *testing.T, mode string, secure bool) *espMachine {
	t.Helper()
	m := &espMachine{dir: t.TempDir()}
	firmware, err := vm.FindFirmware()
	if secure {
		firmware, err = vm.FindSecureFirmware()
	}
	if err != nil {
		t.Fatal(err)
	}
	disk, stick := filepath.Join(m.dir, "disk.img"), filepath.Join(m.dir, "stick.img")
	m.config = &vm.Config{Name: "esp", Dir: m.dir, Firmware: firmware, Vars: filepath.Join(m.dir, "vars.fd"), Timeout: 8 * time.Minute,
		Disks: []vm.Disk{{Path: disk}, {Path: stick}},
		OnLine: func(line string) {
			if strings.Contains(line, "PROBE: ") || strings.Contains(line, "STANDIN: ") {
				t.Log(strings.TrimSpace(line))
			}
		}}
	m.probe = program(t, "troy/chainload/selfboot/internal/probe", m.dir, "virtio_blk", "vfat", "nls_cp437", "nls_ascii", "efivarfs")
	windows := program(t, "troy/qemu-tests/standin/init", m.dir, "efivarfs")
	kernel := os.Getenv("KERNEL")
	fill(t, disk, espMiB, signedFiles(t, "EFI/Microsoft/Boot", "bootmgfw.efi", kernel, windows, "console=ttyS0 quiet panic=-1"))
	fill(t, stick, 100, signedFiles(t, "EFI/BOOT", "BOOTX64.EFI", kernel, m.probe, "console=ttyS0 quiet panic=-1 probe="+mode))
	return m
}

// program makes an initramfs whose init is a Go program, with modules.
func program(t *testing.T, pkg, dir string, modules ...string) string {
	t.Helper()
	name := filepath.Join(dir, filepath.Base(filepath.Dir(pkg))+filepath.Base(pkg))
	if err := initramfs.Compile(t.Context(), "", pkg, name); err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	files := []initramfs.File{{Name: "init", Data: code, Mode: 0o755}}
	index, err := kmod.Open(os.Getenv("MODULES"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := index.Closure(modules...)
	if err != nil {
		t.Fatal(err)
	}
	for i, mod := range all {
		files = append(files, initramfs.File{Name: fmt.Sprintf("modules/%02d-%s.ko", i, mod.Name), Data: mod.Data})
		if mod.Name == "efivarfs" {
			files = append(files, initramfs.File{Name: "efivarfs.ko", Data: mod.Data}) // where the stand-in looks
		}
	}
	out := name + ".zst"
	if err := initramfs.Pack(out, files); err != nil {
		t.Fatal(err)
	}
	return out
}

// signedFiles are shim and GRUB in a folder of a volume, with kernel and initramfs
// at its root, or beside them for Windows.
func signedFiles(t *testing.T, folder, start, kernel, initrd, cmdline string) map[string]string {
	t.Helper()
	loaders := filepath.Join(os.Getenv("TROY_CACHE"), "loaders")
	at := ""
	if strings.Contains(folder, "Microsoft") {
		at = folder + "/"
	}
	config := filepath.Join(t.TempDir(), "grub.cfg")
	text := fmt.Sprintf("linux ($root)/%svmlinuz %s\ninitrd ($root)/%sinitramfs.zst\nboot\n", at, cmdline, at)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		folder + "/" + start:       filepath.Join(loaders, initramfs.Shim.Path),
		folder + "/grubx64.efi":    filepath.Join(loaders, initramfs.GRUBCD.Path),
		folder + "/grub.cfg":       config,
		at + "vmlinuz":             kernel,
		at + "initramfs.zst":       initrd,
		"EFI/others/untouched.txt": config,
	}
}

// fill makes a disk image with one ESP that holds files, by sgdisk and mtools.
func fill(t *testing.T, image string, mib int, files map[string]string) {
	t.Helper()
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(int64(mib+2) << 20); err != nil {
		t.Fatal(err)
	}
	f.Close()
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Env = append(os.Environ(), "MTOOLSRC=/dev/null")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
	}
	guid := func(n int) string { return fmt.Sprintf("7d4b8b1e-24c5-4b0c-9a3f-5b5f0e0a1c%02d", n) }
	if mib != espMiB {
		guid = func(int) string { return "R" }
	}
	sectors := fmt.Sprint(mib << 11)
	run("sgdisk", "-n", "1:2048:+"+fmt.Sprint(mib)+"M", "-t", "1:ef00", "-u", "1:"+guid(1), "-U", guid(2), image)
	run("mformat", "-i", image+"@@1M", "-F", "-c", "1", "-h", "255", "-s", "63", "-H", "2048", "-T", sectors, "::")
	made := map[string]bool{}
	for name, from := range files {
		parts := strings.Split(name, "/")
		for i := 1; i < len(parts); i++ {
			if dir := strings.Join(parts[:i], "/"); !made[dir] {
				made[dir] = true
				run("mmd", "-i", image+"@@1M", "::/"+dir)
			}
		}
		run("mcopy", "-i", image+"@@1M", from, "::/"+name)
	}
}

// run starts the machine and waits until it is powered off; the serial line has to
// show these lines in this order.
func (m *espMachine) run(t *testing.T, want ...string) {
	t.Helper()
	machine, err := vm.Start(t.Context(), m.config)
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Close()
	for _, line := range want {
		if _, err := machine.Expect(t.Context(), line); err != nil {
			t.Fatal(err)
		}
	}
	if err := machine.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// sound asks fsck.fat about the ESP, and looks whether what belongs to others is as it was.
func (m *espMachine) sound(t *testing.T) {
	t.Helper()
	image := m.config.Disks[0].Path
	volume := filepath.Join(m.dir, "volume")
	if err := cutESP(t.Context(), image, volume); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "fsck.fat", "-n", volume).CombinedOutput(); err != nil {
		t.Errorf("fsck.fat: %v\n%s", err, out)
	}
	for _, name := range []string{"EFI/Microsoft/Boot/bootmgfw.efi", "EFI/others/untouched.txt"} {
		out := filepath.Join(t.TempDir(), "copy")
		if text, err := exec.CommandContext(t.Context(), "mcopy", "-n", "-i", volume, "::/"+name, out).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
}

func cutESP(ctx context.Context, image, volume string) error {
	dev, err := blockdev.Open(image, &blockdev.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer dev.Close()
	table, err := dev.ReadTable()
	if err != nil {
		return err
	}
	return lab.Cut(ctx, image, volume, table.ByType(blockdev.TypeESP)[0])
}

// With Secure Boot enforced and no key enrolled: the agent installs itself from a
// stick, starts from the ESP though the stick is still there, replaces itself in
// the other copy, is confirmed there, and hands over by BootNext.
func TestSelfbootSecure(t *testing.T) {
	m := newESPMachine(t, "install", true)
	m.run(t,
		`PROBE: install: firmware \{Kind:uefi SecureBoot:true SetupMode:false\} <nil>, runs "", first "", a "", b ""`,
		`PROBE: installed: copy a, written true, entry created true, order changed true`,
		`PROBE: update: .*, runs "a", first "a", a "1", b ""`,
		`PROBE: trial of 2 in copy b by BootNext`,
		`PROBE: confirm: .*, runs "b", first "a", a "1", b "2"`,
		`PROBE: confirm: trial: on trial`,
		`PROBE: confirmed: first "b"`,
		`PROBE: hand-off by BootNext`,
		standin.Started, `STANDIN: Boot.... "Windows Boot Manager"`, `STANDIN: BootNext not set`,
	)
	m.sound(t)
}
