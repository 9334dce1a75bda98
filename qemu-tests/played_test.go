package qemutests

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/ntfs"
	"troy/diskwriter/pcdisk"
	"troy/internal/testing/medium"
	"troy/internal/testing/standin"
	"troy/internal/testing/testlab"
	"troy/trial/inside"
	"troy/trial/vm"
)

// A Windows of an installation medium, on a PC with an empty disk: the firmware, the agent and the
// Windows (played) take turns. Setup restarts the PC into the agent, the first logon is reached, a
// session is closed in order, another ends by a power cut.
func TestPlayedWindows(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; package standin tries the same without firmware and agent")
		return
	}
	dir := t.TempDir()
	manager, iso, answers := filepath.Join(dir, "bootmgfw.efi"), filepath.Join(dir, "win.iso"), filepath.Join(dir, "unattend.xml")
	for _, err := range []error{
		standin.Build(t.Context(), &standin.Options{Kernel: os.Getenv("KERNEL"), Modules: os.Getenv("MODULES"), Out: manager, Plays: true}),
		medium.Make(t.Context(), &medium.Options{BootManager: manager, Out: iso}),
		os.WriteFile(answers, []byte(`<unattend xmlns="urn:schemas-microsoft-com:unattend"/>`), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	const image = "played"
	if _, err := room.PublishFile(t.Context(), image, iso, "--size", "0.125", "--unattend", answers); err != nil {
		t.Fatal(err)
	}
	server, err := room.Serve(t.Context(), testlab.Room{Image: image, Version: 1, Keys: provision + ", merge: lazy"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	pc, err := room.NewBarePC(image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(pc.Disk) })

	serial := withOrder(t, pc, &inside.Order{Number: 1, Stamp: 1, BallastMiB: 4}, "")
	if n := strings.Count(serial, standin.Started); n != 3 {
		t.Errorf("Windows was started %d times, want 3", n)
	}
	if r, clean := record(t, pc, 1); r.Phase != inside.Desktop || !r.Ballast.One(1) || !clean {
		t.Errorf("the first logon left %+v, clean %t", r, clean)
	}
	withOrder(t, pc, &inside.Order{Number: 2, Do: []inside.Action{inside.Fill}, Stamp: 2, BallastMiB: 4}, "")
	if r, clean := record(t, pc, 2); r.Phase != inside.Up || !r.Ballast.One(1) || !clean {
		t.Errorf("the order to fill left %+v, clean %t", r, clean)
	}
	withOrder(t, pc, &inside.Order{Number: 3, Do: []inside.Action{inside.Stay}, BallastMiB: 4}, "STANDIN: staying")
	if r, clean := record(t, pc, 3); !r.Ballast.One(2) || clean {
		t.Errorf("the order to stay left %+v, clean %t", r, clean)
	}
	serial = withOrder(t, pc, &inside.Order{Number: 4, BallastMiB: 4}, "")
	if !strings.Contains(serial, "the PC's own volume was not closed in order") {
		t.Errorf("the power cut left no trace:\n%s", serial)
	}
	if r := reported(t, server, 3+3); r.ExitCode != 0 { // the agent ran before each start of Windows
		t.Errorf("the last report: %+v", r)
	}
}

// withOrder starts the PC from the stick, with a disc that has an order, and returns what was said
// until it is off. Its power is cut at a line that matches the expression, if there is one.
func withOrder(t *testing.T, pc *testlab.PC, o *inside.Order, cut string) string {
	t.Helper()
	disc := filepath.Join(t.TempDir(), "disc.iso")
	c, err := pc.USBConfig()
	if err = errors.Join(err, medium.Order(t.Context(), o, disc)); err != nil {
		t.Fatal(err)
	}
	c.Disks = append(c.Disks, vm.Disk{Path: disc, Bus: vm.CDROM})
	m, err := vm.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if cut != "" {
		if _, err := m.Expect(t.Context(), cut); err != nil {
			t.Fatalf("%v\n%s", err, m.Log())
		}
		m.Kill()
		return m.Log()
	}
	if err := m.Wait(context.WithoutCancel(t.Context())); err != nil {
		t.Fatalf("%v\n%s", err, m.Log())
	}
	return m.Log()
}

// record returns the record of an order, and whether both volumes were closed in order.
func record(t *testing.T, pc *testlab.PC, order int) (r *inside.Record, clean bool) {
	t.Helper()
	target, err := pcdisk.Look(pc.Disk, &blockdev.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if _, _, err := target.Open(); err != nil {
		t.Fatal(err)
	}
	chain, err := pcdisk.Chain(target.Files())
	if err != nil {
		t.Fatal(err)
	}
	v, err := pcdisk.WindowsVolume(chain, chain.Size(), 512)
	if err != nil {
		t.Fatal(err)
	}
	f, err := v.OpenFile(inside.RecordFile)
	if err != nil {
		t.Fatal(err)
	}
	if r, err = inside.Of(f, order); r == nil {
		t.Fatalf("order %d has no record: %v", order, err)
	}
	return r, v.Judge().Except(ntfs.ErrSecondWindows).Condition == ntfs.Clean && target.Judge().Condition == ntfs.Clean
}
