package qemutests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/diskwriter/blockdev"
	"troy/internal/testing/dirtyflag"
	"troy/internal/testing/testlab"
	"troy/internal/testing/vmlab"
	"troy/vhdx"
)

// endSession lets Windows run on a PC: it writes, and is closed in order, or switched off at the
// mains.
func endSession(t *testing.T, pc *testlab.PC, mains bool) {
	t.Helper()
	session(t, pc, func(c *vhdx.Chain) {
		volumes, err := blockdev.Volumes(c, c.Size(), 512)
		if err != nil || len(volumes) == 0 {
			t.Fatalf("volumes of the image: %v, %v", volumes, err)
		}
		if err := dirtyflag.Set(c, volumes[0].Start, mains); err != nil {
			t.Fatal(err)
		}
	})
}

// lineServer names the server of a lab to a kernel that was started without media.
const lineServer = "troy.server=" + testlab.ServerURL

// toWindows starts a PC: the agent, and then what the firmware starts next, which has to be the
// stand-in. It returns what the agent said.
func toWindows(t *testing.T, pc *testlab.PC, cmdline string) string {
	t.Helper()
	serial, err := pc.FromKernel(t.Context(), cmdline)
	if err != nil {
		t.Fatalf("%v\n%s", err, serial)
	}
	if after, err := pc.FromDisk(t.Context()); err != nil {
		t.Fatalf("%v\n%s\n%s", err, serial, after)
	}
	return serial
}

// A version that was good once is switched off at the mains five times in a row, as by a room's
// master switch. It stays, and Windows starts each time.
func TestMainsSwitch(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; package agent tries the same without a machine")
		return
	}
	l := smallLab(t, "")
	server, err := l.Serve(t.Context(), testlab.Room{Version: 2, Keys: "merge: lazy"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	pc, err := l.NewPC(t.Context(), "mains")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(pc.Disk) })
	for i, mains := range []bool{false, true, true, true, true, true, true} {
		serial := toWindows(t, pc, lineServer)
		if r := reported(t, server, i+1); r.ExitCode != 0 || r.Version != 2 || strings.Contains(serial, "deploy: pause") {
			t.Fatalf("start %d: %+v\n%s", i+1, r, serial)
		}
		endSession(t, pc, mains)
	}
}

// reset: boot is a rule of the machine. With its cable in no switch, too, what Windows wrote is thrown away
// before the next user comes. He does not wait for a network that is not there: he presses W.
func TestResetWithoutCable(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; package agent tries the same without a machine")
		return
	}
	l := smallLab(t, "")
	server, err := l.Serve(t.Context(), testlab.Room{Version: 2, Keys: "merge: now, reset: boot"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	pc, err := l.NewPC(t.Context(), "cable")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(pc.Disk) })
	toWindows(t, pc, lineServer)
	want := filepath.Join(t.TempDir(), "want.raw")
	copyFile(t, l.Windows.V2, want)
	endSession(t, pc, true)
	pc.Unplugged = true
	serial := impatiently(t, pc, lineServer)
	if !strings.Contains(serial, "the machine is reset to version 2") {
		t.Errorf("the session is kept:\n%s", serial)
	}
	holds(t, pc, want, "boot.vhdx", "base.vhdx")
}

// impatiently is toWindows with somebody at the keyboard who presses W as soon as it is said that it
// helps.
func impatiently(t *testing.T, pc *testlab.PC, cmdline string) string {
	t.Helper()
	c, err := pc.KernelConfig(cmdline)
	if err != nil {
		t.Fatal(err)
	}
	m, err := vmlab.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	_, err = m.Expect(t.Context(), `press W to start Windows now`)
	if err == nil {
		err = m.Send("\x03xW") // Ctrl-C is a key like others
	}
	if err == nil {
		_, err = m.Expect(t.Context(), `the key W was pressed`)
	}
	if err == nil {
		err = m.Wait(t.Context())
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, m.Log())
	}
	if after, err := pc.FromDisk(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, after)
	}
	return m.Log()
}
