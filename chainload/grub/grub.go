// Package grub tells what one of Debian's GRUB programs is and does, by looking into it.
//
// There are three builds in a package, and two generations of them in use:
//
//	build       2.06 (Debian 12) reads           2.12 (Debian 13) reads
//	gcdx64      \boot\grub of the medium with    the same, but nothing beside itself: $cmdpath is empty
//	            /.disk/info, else beside itself
//	grubx64     \EFI\debian, else as gcdx64      beside itself ($fw_path), else \EFI\debian
//	grubnetx64  /grub of the server that the     the same, or of the server that proxyDHCP names
//	            DHCP answer names
//
// All of them can read what switched a machine on (smbios), and read and write an environment block
// (loadenv). None can tell the time: the modules datehook and date are not in them, and with Secure
// Boot on no other module is loaded.
//
// Known gaps: builds are told apart by words in them, which another release may change. What is not
// known is refused.
package grub

import (
	"bytes"
	"debug/pe"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrUnknown is returned for a program that does not say which GRUB it is.
var ErrUnknown = errors.New("not a known GRUB")

// sbatMost bounds the section that is read, in bytes; Debian's has 500.
const sbatMost = 64 << 10

// Version reads which GRUB a program is, such as 2.06, from its section .sbat (SBAT.md of shim:
// component, generation, vendor, package, version, URL).
func Version(r io.ReaderAt) (string, error) {
	f, err := pe.NewFile(r)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	s := f.Section(".sbat")
	if s == nil {
		return "", fmt.Errorf("%w: it has no section .sbat", ErrUnknown)
	}
	text, err := io.ReadAll(io.LimitReader(s.Open(), sbatMost))
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	all := csv.NewReader(strings.NewReader(strings.TrimRight(string(text), "\x00")))
	all.FieldsPerRecord = -1
	for {
		fields, err := all.Read()
		if err != nil {
			return "", fmt.Errorf("%w: its section .sbat does not name GRUB", ErrUnknown)
		}
		if len(fields) > 4 && fields[0] == "grub" {
			return fields[4], nil
		}
	}
}

// ProxyVersion is the first GRUB that takes what proxyDHCP says ("efinet: Add DHCP proxy support").
// An older one asks the server that the DHCP answer names as next-server.
const ProxyVersion = "2.12"

// HearsProxy tells whether a GRUB of that version does: from [ProxyVersion] on. One whose version
// is no number is taken to.
func HearsProxy(version string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return true
	}
	return major > 2 || major == 2 && minor >= 12
}

// ReadsBeside tells whether a program reads the configuration, grub.cfg, that lies beside it,
// whatever else is on the disk but a medium that gcdx64 is made for.
func ReadsBeside(program []byte) bool {
	has := func(s string) bool { return bytes.Contains(program, []byte(s)) }
	if has("fw_path") {
		return !has("(memdisk)/grub.cfg") // a configuration that is built in comes first
	}
	return has("source $cmdpath/grub.cfg") && !has("/EFI/debian")
}
