// Command probe stands in for the agent in the tests of package initramfs: it
// loads the drivers, says which disks and network interfaces have come, and ends,
// so that init starts the rescue shell. Each line begins with "PROBE: ".
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"troy/agent/coldplug"
	"troy/internal/kernelargs"
)

// efiVars is where coldplug mounts the variables of the firmware.
const efiVars = "/sys/firmware/efi/efivars"

func main() {
	uptime, err := os.ReadFile("/proc/uptime")
	fmt.Printf("PROBE: uptime %s %v\n", strings.TrimSpace(string(uptime)), err)
	cmdline, _ := os.ReadFile("/proc/cmdline")
	loader, _ := kernelargs.Value(string(cmdline), kernelargs.Port)
	fmt.Println("PROBE: loaded by", loader)
	fmt.Println("PROBE: started with", os.Args[1:])
	start := time.Now()
	p, err := coldplug.New()
	if err != nil {
		fmt.Println("PROBE: failed:", err)
		return
	}
	loaded, err := p.Settle(context.Background(), 3*time.Second) // USB disks take their time
	if err != nil {
		fmt.Println("PROBE: failed:", err)
	}
	fmt.Printf("PROBE: %d drivers in %.1f s: %v\n", len(loaded), time.Since(start).Seconds(), loaded)
	fmt.Println("PROBE: variables:", coldplug.MountEFIVars())
	list("disk", "/sys/class/block/*")
	list("interface", "/sys/class/net/*")
	list("variable", efiVars+"/BootCurrent-*")
	secureBoot()
	site()
	fmt.Println("PROBE: done")
}

// secureBoot tells what firmware and kernel make of Secure Boot.
func secureBoot() {
	v, err := os.ReadFile(efiVars + "/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")
	fmt.Println("PROBE: SecureBoot", v, err)
	const dir = "/sys/kernel/security"
	_ = unix.Mount("securityfs", dir, "securityfs", 0, "") // the next line tells
	lockdown, err := os.ReadFile(dir + "/lockdown")
	fmt.Println("PROBE: lockdown", strings.TrimSpace(string(lockdown)), err)
}

// site prints what the media gave to this machine.
func site() {
	names, _ := filepath.Glob("/etc/troy/*") // the pattern is good
	for _, n := range names {
		b, err := os.ReadFile(n)
		fmt.Printf("PROBE: site %s %q %v\n", filepath.Base(n), b, err)
	}
}

func list(what, pattern string) {
	names, err := filepath.Glob(pattern)
	if err != nil {
		fmt.Println("PROBE: failed:", err)
	}
	for _, n := range names {
		driver, _ := os.Readlink(filepath.Join(n, "device/driver")) // a partition has none
		fmt.Println("PROBE:", what, filepath.Base(n), filepath.Base(driver))
	}
}
