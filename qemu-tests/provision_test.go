package qemutests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/internal/testing/testlab"
	"troy/server/protocol"
)

// provisioned makes a PC with an empty disk into one that holds version 1 of an image, equal to the
// raw form, and was handed over to it.
func provisioned(t *testing.T, image, raw string) *testlab.PC {
	t.Helper()
	server, err := room.Serve(t.Context(), testlab.Room{Image: image, Version: 1, Keys: provision + ", merge: now, reset: boot"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	pc, err := room.NewBarePC("bare-" + image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(pc.Disk) })
	serial, err := pc.FromUSB(t.Context()) // fails if the stand-in does not start
	if err != nil {
		t.Fatalf("%v\n%s", err, serial)
	}
	if r := reported(t, server, 1); r.Outcome != protocol.OutcomeDone || r.Version != 1 || r.ExitCode != 0 {
		t.Fatalf("report: %+v", r)
	}
	holds(t, pc, raw, machine.BootName, machine.BaseName)
	healthy(t, pc)
	return pc
}

// healthy asks other programs about the partition table and the file systems.
func healthy(t *testing.T, pc *testlab.PC) {
	t.Helper()
	check := func(name string, args ...string) {
		if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	out, err := exec.CommandContext(t.Context(), "sgdisk", "-v", pc.Disk).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No problems found") {
		t.Errorf("sgdisk -v: %v\n%s", err, out)
	}
	volume := filepath.Join(t.TempDir(), "volume")
	if err := testlab.CutVolume(t.Context(), pc.Disk, volume); err != nil {
		t.Fatal(err)
	}
	check("ntfsfix", "-n", volume)
	check("ntfsinfo", "-m", volume)
	dev, err := blockdev.Open(pc.Disk, &blockdev.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	table, err := dev.ReadTable()
	if err != nil {
		t.Fatal(err)
	}
	esp := filepath.Join(t.TempDir(), "esp")
	if err := testlab.Cut(t.Context(), pc.Disk, esp, table.ByType(blockdev.TypeESP)[0]); err != nil {
		t.Fatal(err)
	}
	check("fsck.fat", "-n", esp)
	check("mdir", "-i", esp, "::/EFI/Microsoft/Boot/bootmgfw.efi", "::/EFI/Microsoft/Boot/BCD")
}
