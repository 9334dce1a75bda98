package netboot

import (
	"debug/pe"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
)

// grubHearsProxy is the first GRUB that takes what proxyDHCP says ("efinet: Add DHCP proxy support"). An older one asks the server that
// the site's DHCP answer names as next-server.
const grubHearsProxy = "2.12"

// sbatMost bounds the section that is read, in bytes; Debian's has 500.
const sbatMost = 64 << 10

// errNoSBAT: a program that does not say which GRUB it is.
var errNoSBAT = errors.New("no SBAT entry of GRUB")

// grubVersion reads which GRUB a program is, such as 2.06, from its section .sbat (SBAT.md of shim: component, generation, vendor,
// package, version, URL).
func grubVersion(r io.ReaderAt) (string, error) {
	f, err := pe.NewFile(r)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNoSBAT, err)
	}
	s := f.Section(".sbat")
	if s == nil {
		return "", errNoSBAT
	}
	text, err := io.ReadAll(io.LimitReader(s.Open(), sbatMost))
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNoSBAT, err)
	}
	all := csv.NewReader(strings.NewReader(strings.TrimRight(string(text), "\x00")))
	all.FieldsPerRecord = -1
	for {
		fields, err := all.Read()
		if err != nil {
			return "", errNoSBAT
		}
		if len(fields) > 4 && fields[0] == "grub" {
			return fields[4], nil
		}
	}
}

// deafToProxy says which GRUB the folder has, if it is one that does not hear of proxyDHCP; "" = it does, or nobody knows.
func (s *Server) deafToProxy() string {
	f, _, err := s.open(FileGRUB)
	if err != nil {
		return ""
	}
	defer f.Close()
	have, err := grubVersion(f)
	if err != nil || !older(have, grubHearsProxy) {
		return ""
	}
	return have
}

// older compares two versions such as 2.06 and 2.12. What is no version is older than nothing.
func older(a, b string) bool {
	var major, minor [2]int
	for i, v := range []string{a, b} {
		if _, err := fmt.Sscanf(v, "%d.%d", &major[i], &minor[i]); err != nil {
			return false
		}
	}
	return major[0] < major[1] || major[0] == major[1] && minor[0] < minor[1]
}

// Advice is what the admin should know about the folder before machines start from it; nil = nothing.
func (s *Server) Advice() (lines []string) {
	if !s.o.Shim {
		return nil
	}
	if v := s.deafToProxy(); v != "" && !s.o.NoDHCP {
		lines = append(lines, fmt.Sprintf("GRUB %s does not hear of proxyDHCP: machines that start by PXE with --shim need the site's DHCP server to name this one as next-server, "+
			"or boot files made with GRUB %s or newer (Debian 13: troy media --loaders)", v, grubHearsProxy))
	}
	if !s.has(FileISO) {
		lines = append(lines, FileISO+" is not there: UEFI HTTP boot works with Secure Boot off only; make the boot files anew with troy media")
	}
	return lines
}
