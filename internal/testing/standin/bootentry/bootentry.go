// Package bootentry says which boot entry led a firmware to the running program: a part of the
// stand-ins for Windows Boot Manager.
package bootentry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unicode/utf16"

	"golang.org/x/sys/unix"
)

const (
	efivars    = "/sys/firmware/efi/efivars"
	globalGUID = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"
)

// Report says which boot entry the firmware used and whether BootNext is still set. Sysfs has to be
// mounted, and the driver efivarfs loaded.
func Report(say func(format string, args ...any)) error {
	if err := unix.Mount("efivarfs", efivars, "efivarfs", unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("efivarfs: %w", err)
	}
	current, err := Variable("BootCurrent")
	if err != nil || len(current) != 2 {
		return errors.Join(err, errors.New("no BootCurrent"))
	}
	name := fmt.Sprintf("Boot%04X", binary.LittleEndian.Uint16(current))
	option, err := Variable(name)
	if err != nil {
		return err
	}
	say("%s %q", name, description(option))
	if next, err := Variable("BootNext"); err == nil && len(next) == 2 {
		say("BootNext still set to %04X", binary.LittleEndian.Uint16(next))
	} else {
		say("BootNext not set")
	}
	return nil
}

// Variable returns a global variable's value without its four bytes of attributes.
func Variable(name string) ([]byte, error) {
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
