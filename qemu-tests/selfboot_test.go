package qemutests

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/chainload"
	"troy/chainload/release"
	"troy/chainload/selfboot"
	"troy/initramfs"
	"troy/internal/guid"
	"troy/internal/testing/guest"
	"troy/internal/testing/testlab"
	"troy/trial/vm"
)

// espMachine is a PC whose disk has an ESP with a Windows Boot Manager that starts
// with Secure Boot on, and a stick that starts the probe of package selfboot.
type espMachine struct {
	dir    string // of everything
	probe  string // initramfs with the probe
	config *vm.Config
}

const espMiB = 200

// windowsStarted is what the stand-in for Windows Boot Manager says: a GRUB, since with
// Secure Boot it has to be signed.
const windowsStarted = "STANDIN: Windows Boot Manager stand-in started"

// defaultFile is what firmware starts by default until the agent has its own there.
const defaultFile = "as bootfiles left it"

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
	m.probe = filepath.Join(m.dir, "probe.zst")
	if err := guest.Build(t.Context(), &guest.Options{Program: "troy/qemu-tests/probe", Modules: os.Getenv("MODULES"),
		Drivers: []string{"virtio_blk", "vfat", "nls_cp437", "nls_ascii", "efivarfs"}, Out: m.probe}); err != nil {
		t.Fatal(err)
	}
	site := filepath.Join(m.dir, release.Site)
	archive, err := initramfs.Site([]initramfs.File{{Name: "etc/site", Data: []byte("of the tests\n")}})
	if err := errors.Join(err, os.WriteFile(site, archive, 0o644)); err != nil {
		t.Fatal(err)
	}
	others := filepath.Join(m.dir, "default.efi") // no program: the firmware passes it over
	if err := os.WriteFile(others, []byte(defaultFile), 0o644); err != nil {
		t.Fatal(err)
	}
	fill(t, disk, espMiB, signedFiles(t, "EFI/Microsoft/Boot", "bootmgfw.efi", fmt.Sprintf("echo %q\nhalt\n", windowsStarted),
		map[string]string{"EFI/BOOT/BOOTX64.EFI": others}))
	fill(t, stick, 100, signedFiles(t, "EFI/BOOT", "BOOTX64.EFI",
		"linux ($root)/vmlinuz console=ttyS0 quiet panic=-1 probe="+mode+"\ninitrd ($root)/"+release.Initrd+"\nboot\n",
		map[string]string{"vmlinuz": os.Getenv("KERNEL"), release.Initrd: m.probe, release.Site: site}))
	return m
}

// signedFiles are shim and GRUB in a folder of a volume, GRUB's configuration, and further files.
func signedFiles(t *testing.T, folder, start, grub string, files map[string]string) map[string]string {
	t.Helper()
	beside, err := testlab.GRUBBeside()
	if err != nil {
		t.Fatal(err)
	}
	program, config := filepath.Join(t.TempDir(), "grubx64.efi"), filepath.Join(t.TempDir(), "grub.cfg")
	if err := errors.Join(os.WriteFile(program, beside, 0o644), os.WriteFile(config, []byte(grub), 0o644)); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{
		folder + "/" + start:       testlab.Loader(release.Shim),
		folder + "/grubx64.efi":    program,
		folder + "/grub.cfg":       config,
		"EFI/others/untouched.txt": config,
	}
	maps.Copy(all, files)
	return all
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
	if err := testlab.CutESP(t.Context(), image, volume); err != nil {
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

// With Secure Boot enforced and no key enrolled: the agent installs itself from a
// stick, starts from the ESP though the stick is still there, replaces itself in
// the other copy, is confirmed there, and hands over by BootNext.
func TestSelfbootSecure(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; TestAgentOnDisk does the same with Secure Boot off")
		return
	}
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
		windowsStarted,
	)
	m.sound(t)
}

// The same agent without Secure Boot, and what it does when something is in the way.
func TestSelfbootTrouble(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1")
		return
	}
	t.Run("new agent hangs", func(t *testing.T) {
		m := newESPMachine(t, "install-hang", false)
		m.killAt(t, `PROBE: hang: .*, runs "b", first "a"`)
		m.run(t, `PROBE: update-hang: .*, runs "a", first "a", a "1", b "2"`, `PROBE: update-hang: trial: failed`, `again: .*did not come up: 2`)
		m.sound(t)
	})
	t.Run("cuts", testSelfbootCuts)
	t.Run("variables full, Secure Boot", func(t *testing.T) {
		m := newESPMachine(t, "install-nvfull", true)
		m.run(t, `PROBE: update-nvfull: .*, runs "a", first "a"`, `variables are full`, `PROBE: note: .*refused`, `PROBE: note: .*is full: delete entries`, `PROBE: hand-off by GRUB`, windowsStarted)
		m.sound(t)
	})
	t.Run("ESP full", func(t *testing.T) {
		m := newESPMachine(t, "install-full", false)
		m.run(t, `PROBE: update: full true: .*nothing was changed`, `PROBE: copy a: <nil>`, `PROBE: hand-off by BootNext`, windowsStarted)
		m.sound(t)
	})
}

// Every write to the ESP is logged while the agent is installed and replaced. In every
// prefix of the log, read by mtools: what is Windows' is whole, a copy with a manifest is
// whole, a copy that was whole once stays so, and what firmware starts by default is the old
// file, or the new one with all that it needs.
func testSelfbootCuts(t *testing.T) {
	m := newESPMachine(t, "install", false)
	disk := &m.config.Disks[0]
	disk.WriteLog = filepath.Join(m.dir, "log")
	log, err := os.Create(disk.WriteLog)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	volume := filepath.Join(m.dir, "replay")
	if err := testlab.CutESP(t.Context(), disk.Path, volume); err != nil {
		t.Fatal(err)
	}
	before := extract(t, volume, "EFI/Microsoft", "EFI/others")
	m.run(t, `PROBE: confirmed: first "b"`, `PROBE: default file: written true, <nil>`, `PROBE: hand-off by BootNext`, windowsStarted)
	entries, err := readLog(log)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(volume, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seed := rand.Uint64()
	t.Logf("%d requests; seed %d", len(entries), seed)
	rnd := rand.New(rand.NewPCG(seed, 7))
	look := map[int]bool{len(entries) - 1: true}
	for range 60 {
		look[rnd.IntN(len(entries))] = true
	}
	whole, states, dirty := map[selfboot.Copy]bool{}, 0, true
	for i, e := range entries {
		if (e.flags&logFlush != 0 || look[i]) && dirty {
			states, dirty = states+1, false
			lookAtESP(t, i, volume, before, whole)
		}
		if off := e.offset - 1<<20; e.length > 0 && e.flags&logDiscard == 0 && off >= 0 && off < espMiB<<20 {
			dirty = true
			if _, err := io.Copy(io.NewOffsetWriter(f, off), io.NewSectionReader(log, e.at, e.length)); err != nil {
				t.Fatal(err)
			}
		}
	}
	lookAtESP(t, len(entries), volume, before, whole)
	t.Logf("%d states looked at", states)
	if !whole[selfboot.A] || !whole[selfboot.B] {
		t.Errorf("whole in the end: %v", whole)
	}
}

// lookAtESP judges one state.
func lookAtESP(t *testing.T, at int, volume string, before string, whole map[selfboot.Copy]bool) {
	t.Helper()
	now := extract(t, volume, "EFI/Microsoft", "EFI/others")
	if out, err := exec.CommandContext(t.Context(), "diff", "-r", "--exclude=BCD*", before, now).CombinedOutput(); err != nil {
		t.Fatalf("request %d: files of others: %v\n%s", at, err, out)
	}
	os.RemoveAll(now)
	lookAtDefault(t, at, volume)
	dir := t.TempDir()
	defer os.RemoveAll(dir)
	troy := filepath.Join(dir, "EFI", "Troy")
	if err := os.MkdirAll(troy, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"a", "b"} {
		// It fails as long as the copy is not there or is being written.
		exec.CommandContext(t.Context(), "mcopy", "-s", "-n", "-i", volume, "::/EFI/Troy/"+c, troy+"/").Run()
	}
	s, err := selfboot.Inspect(t.Context(), &selfboot.Options{ESPDir: dir, ESP: chainload.Partition{GUID: guid.GUID{1}}, Variables: noVariables{}})
	if err != nil {
		t.Fatal(err)
	}
	for c, state := range s.Copies {
		switch {
		case state.Problem == nil:
			whole[c] = true
		case whole[c]:
			t.Fatalf("request %d: copy %s was whole and is not: %v", at, c, state.Problem)
		case state.Version != "":
			t.Fatalf("request %d: copy %s has a manifest and is not whole: %v", at, c, state.Problem)
		}
	}
}

// lookAtDefault judges what firmware starts by default. In the middle of a rename it may be
// missing: the boot entries are there as long as it is written.
func lookAtDefault(t *testing.T, at int, volume string) {
	t.Helper()
	dir := t.TempDir()
	defer os.RemoveAll(dir)
	read := func(name string) string {
		to := filepath.Join(dir, name)
		out, err := exec.CommandContext(t.Context(), "mcopy", "-n", "-i", volume, "::/EFI/BOOT/"+name, to).CombinedOutput()
		if err != nil && strings.Contains(string(out), "not found") {
			return ""
		}
		b, readErr := os.ReadFile(to)
		if err := errors.Join(err, readErr); err != nil {
			t.Fatalf("request %d: %s: %v\n%s", at, name, err, out)
		}
		return string(b)
	}
	shim, err := os.ReadFile(testlab.Loader(release.Shim))
	if err != nil {
		t.Fatal(err)
	}
	beside, err := testlab.GRUBBeside()
	if err != nil {
		t.Fatal(err)
	}
	switch start := read("BOOTX64.EFI"); {
	case start == "" || start == defaultFile:
	case start != string(shim):
		t.Fatalf("request %d: BOOTX64.EFI is neither the old file nor shim: %d bytes", at, len(start))
	case read("grubx64.efi") != string(beside) || !strings.Contains(read("grub.cfg"), "for copy in b a; do"):
		t.Fatalf("request %d: shim is there without GRUB or its configuration", at)
	}
}

// extract takes folders out of a FAT volume.
func extract(t *testing.T, volume string, folders ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range folders {
		if out, err := exec.CommandContext(t.Context(), "mcopy", "-s", "-n", "-i", volume, "::/"+name, dir+"/").CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	return dir
}

// noVariables are those of firmware that has none.
type noVariables struct{}

func (noVariables) Get(string) (uint32, []byte, error) { return 0, nil, fs.ErrNotExist }
func (noVariables) Set(string, uint32, []byte) error   { return fs.ErrPermission }
func (noVariables) List() ([]string, error)            { return nil, nil }

// killAt cuts the power when the serial line shows a line.
func (m *espMachine) killAt(t *testing.T, line string) {
	t.Helper()
	machine, err := vm.Start(t.Context(), m.config)
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Close()
	if _, err := machine.Expect(t.Context(), line); err != nil {
		t.Fatal(err)
	}
	machine.Kill()
}
