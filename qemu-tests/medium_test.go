package qemutests

import (
	"os"
	"strings"
	"testing"

	"troy/diskwriter/machine"
	"troy/internal/testing/standin"
	"troy/internal/testing/testlab"
	"troy/server/protocol"
)

// An image from an installation medium: a PC with an empty disk gets it, is handed to it, and keeps
// it as it is, for its Windows has still to be set up.
func TestInstallationMedium(t *testing.T) {
	if !soak() {
		return // TestProvision has what is the same for every image, package image/source what is not
	}
	raw, err := room.PublishMedium(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	server, err := room.Serve(t.Context(), testlab.Room{Image: testlab.MediumImage, Version: 1, Keys: provision + ", merge: now, reset: boot"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	pc, err := room.NewBarePC("medium")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(pc.Disk) })
	if err := os.Truncate(pc.Disk, 6<<30); err != nil {
		t.Fatal(err)
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
	if serial, err = pc.FromUSB(t.Context()); err != nil || !strings.Contains(serial, "still being set up") {
		t.Errorf("the second start: %v\n%s", err, serial)
	}
}
