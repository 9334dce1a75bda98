package qemutests

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"troy/internal/testing/testlab"
	"troy/internal/testing/vmlab"
	"troy/server/protocol"
)

// The PC's only network card hangs on USB, behind two hubs, and comes when all drivers were loaded:
// it gets its driver, and the start goes on with it as if it had been there.
func TestLateCard(t *testing.T) {
	server, err := room.Serve(t.Context(), testlab.Room{Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	pc, err := room.NewPC(t.Context(), "late")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(pc.Disk)
	config, err := pc.KernelConfig("troy.server=" + testlab.ServerURL)
	if err != nil {
		t.Fatal(err)
	}
	tap := config.NICs[0].Tap
	config.NICs = nil
	config.Args = append(config.Args, "-device", "qemu-xhci,id=xhci", "-device", "usb-hub,bus=xhci.0,port=1", "-device", "usb-hub,bus=xhci.0,port=1.1",
		"-netdev", "tap,id=late,ifname="+tap+",script=no,downscript=no")
	m, err := vmlab.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	// The disk was found and judged: the drivers of all that was there are loaded.
	if _, err := m.Expect(t.Context(), `deploy: disk: /dev/vda holds .*\n`); err != nil {
		t.Fatal(err)
	}
	if err := m.Plug(t.Context(), "usb-net,bus=xhci.0,port=1.1.1,netdev=late,mac="+pc.MAC); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Expect(t.Context(), `deploy: restarting into Windows`); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`deploy: drivers: .*(cdc_ether|rndis_host), for a device that came late`).MatchString(m.Log()) {
		t.Errorf("the card's driver was not loaded late:\n%s", m.Log())
	}
	if r := reported(t, server, 1); r.Outcome != protocol.OutcomeKept || r.Version != 1 || r.ExitCode != 0 {
		t.Errorf("report: %+v", r)
	}
	if strings.Contains(m.Log(), "deploy: machine:") {
		t.Errorf("the screen is that of a failure:\n%s", m.Log())
	}
}
