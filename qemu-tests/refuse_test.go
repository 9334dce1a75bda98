package qemutests

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"troy/initramfs"
	"troy/internal/testing/testlab"
	"troy/server/protocol"
	"troy/trial/vm"
)

// bareCase is a machine that cannot be provisioned as it is.
type bareCase struct {
	image string   // that the server wants it to have
	disks []int64  // their sizes
	holds string   // what is on the first one; empty = nothing
	card  bool     // the last one is an SD card in a built-in slot
	args  []string // of QEMU
	want  []string
}

// bareCases are told in one line each; nothing is written.
func bareCases() map[string]bareCase {
	const enough = 2 << 30
	return map[string]bareCase{
		"too small":                  {testlab.BareImage, []int64{200 << 20}, "", false, nil, []string{"/dev/vda has 209715200 bytes", "are needed"}},
		"two alike":                  {testlab.BareImage, []int64{enough, enough}, "", false, nil, []string{"more than one disk is possible", "name one by its serial number"}},
		"no disk":                    {testlab.BareImage, nil, "", false, nil, []string{"the machine shows no disk at all"}},
		"hidden by a RAID card":      {testlab.BareImage, nil, "", false, []string{"-device", "megasas"}, []string{"the storage controller 1000:0060 (class 0104) has no driver on the boot media", "no disk at all"}},
		"not empty":                  {testlab.BareImage, []int64{enough}, "a diary", false, nil, []string{"is not empty"}},
		"not empty, a blank card":    {testlab.BareImage, []int64{enough, 4 << 30}, "a diary", true, nil, []string{"is not empty", "/dev/mmcblk0", "mmc", ": removable"}},
		"a blank card alone":         {testlab.BareImage, []int64{4 << 30}, "", true, nil, []string{"no disk prepared for Troy (/dev/mmcblk0: removable)"}},
		"no boot files in the image": {"no-boot-files", []int64{enough}, "", false, nil, []string{"boot files: "}},
	}
}

// What cannot be provisioned is left as it is, and the line says why.
func TestBareRefused(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; packages diskwriter/pcdisk and chainload/bootfiles try the same without a machine")
		return
	}
	if err := room.PublishBare(t.Context(), t.TempDir(), 1); err != nil {
		t.Fatal(err)
	}
	raw := filepath.Join(t.TempDir(), "raw")
	if err := os.WriteFile(raw, slices.Repeat([]byte("no partition table "), 1<<20)[:16<<20], 0o644); err != nil {
		t.Fatal(err)
	}
	if err := room.PublishRaw(t.Context(), "no-boot-files", raw, "--force-unbootable"); err != nil {
		t.Fatal(err)
	}
	for name, c := range bareCases() {
		t.Run(name, func(t *testing.T) { c.try(t) })
	}
}

func (c *bareCase) try(t *testing.T) {
	server, err := room.Serve(t.Context(), testlab.Room{Image: c.image, Version: 1, Keys: provision})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	pc, err := room.NewBarePC("refused")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(pc.Disk)
	config, err := pc.KernelConfig("troy.server=" + testlab.ServerURL)
	if err != nil {
		t.Fatal(err)
	}
	config.Disks, config.Args = nil, append(config.Args, c.args...)
	for i, size := range c.disks {
		config.Disks = append(config.Disks, vm.Disk{Path: c.disk(t, i, size)})
	}
	if c.card {
		config.Disks[len(config.Disks)-1].Bus = vm.Card
	}
	var before []string
	for _, d := range config.Disks {
		before = append(before, look(t, &testlab.PC{Disk: d.Path}))
	}
	serial := untilItStops(t, config, server, append(c.want, "no disk was changed")...)
	for i, d := range config.Disks {
		if after := look(t, &testlab.PC{Disk: d.Path}); after != before[i] {
			t.Errorf("disk %d was %s, and is %s:\n%s", i, before[i], after, serial)
		}
	}
}

// disk makes one; what the first one holds comes behind the place of a partition table.
func (c *bareCase) disk(t *testing.T, i int, size int64) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if i == 0 {
		if _, err := f.WriteAt([]byte(c.holds), 4096); err != nil {
			t.Fatal(err)
		}
	}
	return f.Name()
}

// A stick that lost its kernel: the machine says so and starts the Windows that it has.
func TestStickDamaged(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1")
		return
	}
	pc, server := start(t, "damaged", "")
	pc.Stick = filepath.Join(t.TempDir(), "stick")
	if out, err := exec.CommandContext(t.Context(), "cp", "--sparse=always", room.USB, pc.Stick).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	mtools(t, "mdel", "-i", pc.Stick+"@@1M", "::/troy/vmlinuz")
	before := look(t, pc)
	serial, err := pc.FromUSB(t.Context()) // fails unless Windows is started
	if err != nil {
		t.Fatalf("%v\n%s", err, serial)
	}
	if !strings.Contains(serial, "the medium is damaged or incomplete") {
		t.Errorf("the serial line does not say why:\n%s", serial)
	}
	if after := look(t, pc); after != before {
		t.Errorf("the disk was %s, and is %s", before, after)
	}
	if reports, err := server.Reports(); err != nil || len(reports) > 0 {
		t.Errorf("%d reports, %v", len(reports), err)
	}
}

// What the media carry and cannot be read is reported; the machine then does what it can do
// without.
func TestMediaUnreadable(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1")
		return
	}
	pc, server := start(t, "unreadable", "merge: now")
	c, err := pc.KernelConfig("troy.server=" + testlab.ServerURL)
	if err != nil {
		t.Fatal(err)
	}
	with := filepath.Join(t.TempDir(), "initramfs")
	err = testlab.Overlay(c.Initrd, with,
		initramfs.File{Name: "etc/troy/servers.json", Data: []byte("no list")},
		initramfs.File{Name: "etc/troy/built", Data: []byte("yesterday")},
		initramfs.File{Name: "etc/troy/config", Data: []byte("troy.ip=300.1.2.3 troy.server=\xff\x00")})
	if err != nil {
		t.Fatal(err)
	}
	c.Initrd = with
	m, err := vm.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Wait(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, m.Log())
	}
	for _, want := range []string{"servers.json: trust: this is not a list of servers", "built: ", "troy.ip=300.1.2.3", "continuing without", "version 2 is committed", "restarting into Windows"} {
		if !strings.Contains(m.Log(), want) {
			t.Errorf("the serial line does not say %q:\n%s", want, m.Log())
		}
	}
	if r := reported(t, server, 1); r.Outcome != protocol.OutcomeDone || r.ExitCode != 0 {
		t.Errorf("report: %+v", r)
	}
}
