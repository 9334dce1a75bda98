package qemutests

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/internal/testing/standin"
	"troy/internal/testing/testlab"
	"troy/server/protocol"
)

// A PC with an empty disk, started from the stick and cut off in the middle, twice: it ends in
// Windows, with a disk that other programs find nothing wrong with.
func TestProvision(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	raw, err := room.PublishBare(t.Context(), t.TempDir(), seed)
	if err != nil {
		t.Fatal(err)
	}
	server, err := room.Serve(t.Context(), testlab.Room{Image: testlab.BareImage, Version: 1, Keys: provision + ", merge: now"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	pc, err := room.NewBarePC("bare")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(pc.Disk) })
	for _, at := range []string{"becomes this machine's disk", "until it is finished"} {
		if err := pc.KillAt(t.Context(), at, time.Duration(rand.IntN(400))*time.Millisecond); err != nil {
			t.Fatalf("killed at %q: %v", at, err)
		}
	}
	serial, err := pc.FromUSB(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, serial)
	}
	if !strings.Contains(serial, standin.Started) {
		t.Errorf("Windows was not started")
	}
	if r := reported(t, server, 1); r.Outcome != protocol.OutcomeDone || r.Version != 1 || r.ExitCode != 0 {
		t.Fatalf("report: %+v", r)
	}
	holds(t, pc, raw, machine.BootName, machine.BaseName)
	healthy(t, pc)
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
