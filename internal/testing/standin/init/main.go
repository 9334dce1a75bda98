// Command init stands in for Windows Boot Manager in tests. Firmware starts it as
// \EFI\Microsoft\Boot\bootmgfw.efi (packed by package standin with a kernel); it
// says so on the console, says which boot entry led to it, and powers off.
//
// Everything it says begins with "STANDIN: ".
package main

import (
	"fmt"

	"golang.org/x/sys/unix"

	"troy/internal/testing/guest/inside"
	"troy/internal/testing/standin/bootentry"
)

func main() {
	say("Windows Boot Manager stand-in started")
	if err := report(); err != nil {
		say("boot entry unknown: %v", err)
	}
	say("powering off")
	inside.PowerOff()
}

func say(format string, args ...any) { fmt.Printf("STANDIN: "+format+"\n", args...) }

func report() error {
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("sysfs: %w", err)
	}
	if err := inside.LoadModules(); err != nil { // efivarfs, unless it is built in
		return err
	}
	return bootentry.Report(say)
}
