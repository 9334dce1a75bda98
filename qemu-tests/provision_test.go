package qemutests

import (
	"os"
	"testing"

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
	if err := testlab.Healthy(t.Context(), pc.Disk); err != nil {
		t.Error(err)
	}
	return pc
}
