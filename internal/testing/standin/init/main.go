// Command init stands in for Windows Boot Manager in tests. Firmware starts it as
// \EFI\Microsoft\Boot\bootmgfw.efi (packed by package standin with a kernel); it
// says so on the console, says which boot entry led to it, and powers off.
//
// Everything it says begins with "STANDIN: ".
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unicode/utf16"

	"golang.org/x/sys/unix"

	"troy/internal/testing/guest/inside"
)

const (
	efivars    = "/sys/firmware/efi/efivars"
	globalGUID = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"
)

func main() {
	say("Windows Boot Manager stand-in started")
	if err := reportBoot(); err != nil {
		say("boot entry unknown: %v", err)
	}
	say("powering off")
	inside.PowerOff()
}

func say(format string, args ...any) { fmt.Printf("STANDIN: "+format+"\n", args...) }

// reportBoot says which boot entry the firmware used and whether BootNext is still set.
func reportBoot() error {
	if err := mountVariables(); err != nil {
		return err
	}
	current, err := variable("BootCurrent")
	if err != nil || len(current) != 2 {
		return errors.Join(err, errors.New("no BootCurrent"))
	}
	name := fmt.Sprintf("Boot%04X", binary.LittleEndian.Uint16(current))
	option, err := variable(name)
	if err != nil {
		return err
	}
	say("%s %q", name, description(option))
	if next, err := variable("BootNext"); err == nil && len(next) == 2 {
		say("BootNext still set to %04X", binary.LittleEndian.Uint16(next))
	} else {
		say("BootNext not set")
	}
	return nil
}

func mountVariables() error {
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("sysfs: %w", err)
	}
	if err := inside.LoadModules(); err != nil { // efivarfs, unless it is built in
		return err
	}
	if err := unix.Mount("efivarfs", efivars, "efivarfs", unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("efivarfs: %w", err)
	}
	return nil
}

// variable returns a global variable's value without its four bytes of attributes.
func variable(name string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(efivars, name+globalGUID))
	if err != nil {
		return nil, err
	}
	return b[min(4, len(b)):], nil
}

// description is the text of an EFI_LOAD_OPTION (UEFI specification, 3.1.3).
func description(option []byte) string {
	const fixed = 6 // attributes and length of the path list
	var text []uint16
	for i := fixed; i+2 <= len(option); i += 2 {
		c := binary.LittleEndian.Uint16(option[i:])
		if c == 0 {
			break
		}
		text = append(text, c)
	}
	return string(utf16.Decode(text))
}
