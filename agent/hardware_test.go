package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/netfetch/link"
	"troy/server/protocol"
)

// fakeHardware is a sysfs with the tables of a firmware, a disk's controller, and a USB network card
// without driver.
func (b *bench) fakeHardware() {
	for name, text := range map[string]string{
		"class/dmi/id/sys_vendor": "Dell Inc.", "class/dmi/id/product_name": "OptiPlex 7090", "class/dmi/id/bios_version": "1.2.3",
		"bus/pci/devices/0000:01:00.0/uevent": "DRIVER=nvme\nPCI_CLASS=10802\nPCI_ID=144D:A809",
		"bus/usb/devices/1-5:1.0/uevent":      "PRODUCT=b95/1790/200\nINTERFACE=2/13/0",
	} {
		path := filepath.Join(b.dir, "sys", name)
		b.must(os.MkdirAll(filepath.Dir(path), 0o755))
		b.must(os.WriteFile(path, []byte(text+"\n"), 0o644))
	}
}

// The screen of a start that failed shows what a photo should show, and the reason as the last
// line. One that did not fail shows nothing of it.
func TestScreenOfAFailure(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.fakeHardware()
	good := b.url
	b.url = "https://127.0.0.1:1" // reserved: nothing listens there
	b.stopped(b.run(), ExitUntouched, "connection refused")
	want := "deploy: machine: Dell Inc. OptiPlex 7090, firmware 1.2.3\ndeploy: storage: pci 144d:a809 class 010802 nvme\n" +
		"deploy: network: usb 0b95:1790 class 020d00 without driver\ndeploy: stopped: "
	if !strings.Contains(b.out.String(), want) {
		t.Errorf("the screen shows\n%s, want\n%s", b.out.String(), want)
	}
	b.url = good
	if code := b.run(); code != ExitDone || strings.Contains(b.out.String(), "deploy: machine:") {
		t.Errorf("exit code %d, or the lines of a failure:\n%s", code, b.out.String())
	}
}

// A network card without driver is named where no port is of use.
func TestCardWithoutDriver(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.fakeHardware()
	o := &Options{sys: filepath.Join(b.dir, "sys")}
	if err := o.nameCards(errNoServer); err != errNoServer {
		t.Errorf("%v; want the error as it was", err)
	}
	err := o.nameCards(&link.Error{Err: context.DeadlineExceeded})
	if !errors.Is(err, link.ErrNoLink) || !strings.Contains(err.Error(), "no driver on the boot media for the network card usb 0b95:1790") {
		t.Errorf("%v; want the card to be named", err)
	}
}

// The server is told of the devices and the firmware at check-in.
func TestCheckInTellsOfDevices(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.fakeHardware()
	in := b.agent().describe()
	if len(in.Devices) != 2 || in.Devices[1].ID != "0b95:1790" || in.FirmwareVersion != "1.2.3" {
		t.Errorf("%+v, firmware %q", in.Devices, in.FirmwareVersion)
	}
}
