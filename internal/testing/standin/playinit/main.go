// Command playinit stands in for Windows Boot Manager and for the Windows behind it, in virtual PCs
// of trials: see package player. Firmware starts it as \EFI\Microsoft\Boot\bootmgfw.efi, packed by
// package standin with a kernel.
//
// Everything it says begins with "STANDIN: ".
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/pcdisk"
	"troy/gates"
	"troy/internal/testing/guest/inside"
	"troy/internal/testing/standin/bootentry"
	"troy/internal/testing/standin/player"
)

func main() {
	say("Windows Boot Manager stand-in started")
	if err := prepare(); err != nil {
		say("fault: %v", err)
		select {}
	}
	if err := bootentry.Report(say); err != nil {
		say("boot entry unknown: %v", err)
	}
	end := player.Run(context.Background(), &player.Options{Disks: disks(), Discs: drives(), Say: say, PC: look()})
	if end == player.Restart {
		say("restarting")
		inside.Restart()
	}
	say("powering off")
	inside.PowerOff()
}

func say(format string, args ...any) { fmt.Printf("STANDIN: "+format+"\n", args...) }

func prepare() error {
	for _, fs := range []struct{ kind, where string }{{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}} {
		if err := os.MkdirAll(fs.where, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(fs.kind, fs.where, fs.kind, 0, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", fs.where, err)
		}
	}
	return inside.LoadModules()
}

// disks returns the PC's disks once the one that is prepared for Troy is among them: a disk on NVMe
// comes after its driver was loaded.
func disks() (paths []string) {
	const limit, pause = 30 * time.Second, 100 * time.Millisecond
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(pause) {
		list, err := blockdev.Disks()
		if err != nil {
			say("disks: %v", err)
			return nil
		}
		paths = nil
		for _, d := range list {
			if d.Unfit() == "" {
				paths = append(paths, d.Path)
			}
		}
		if t, err := pcdisk.Find(paths); err == nil {
			t.Close()
			return paths
		}
	}
	return paths
}

// drives returns the CD drives.
func drives() []string {
	paths, err := filepath.Glob("/dev/sr*")
	if err != nil {
		say("drives: %v", err)
	}
	return paths
}

// look tells what the firmware says of the PC.
func look() gates.PC {
	text := func(name string) string {
		b, err := os.ReadFile("/sys/class/dmi/id/" + name)
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	pc := gates.PC{Maker: text("sys_vendor"), Model: text("product_name"), Firmware: strings.TrimSpace(text("bios_vendor") + " " + text("bios_version"))}
	if pc.Maker == "QEMU" {
		pc.Virtual = "QEMU"
	}
	if secure, err := bootentry.Variable("SecureBoot"); err == nil && len(secure) == 1 {
		pc.SecureBoot = map[byte]string{0: "off", 1: "on"}[secure[0]]
	}
	return pc
}
