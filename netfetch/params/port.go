package params

import (
	"encoding/hex"
	"fmt"
	"net"
	"path"
	"strings"

	"troy/internal/blank"
)

// Port says which network ports are meant: by the kernel's name, by MAC address (lower case with
// colons), or by a pattern with *, ? and [a-z] for the name, the MAC address or the driver.
type Port string

// maxPort is the longest pattern that is taken; a name has at most maxName bytes.
const (
	maxPort = 64
	maxName = 15
)

// Matches reports whether a port is meant.
func (p Port) Matches(name, driver string, mac net.HardwareAddr) bool {
	for _, is := range []string{name, driver} {
		if ok, _ := path.Match(string(p), is); ok { // parsePort has checked the pattern
			return true
		}
	}
	ok, _ := path.Match(strings.ToLower(string(p)), mac.String())
	return ok
}

func parsePorts(value string) ([]Port, error) {
	var all []Port
	for part := range strings.SplitSeq(value, ",") {
		p, err := parsePort(blank.Trim(part))
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func parsePort(s string) (Port, error) {
	if mac := parseMAC(s); mac != nil {
		return Port(mac.String()), nil
	}
	_, err := path.Match(s, "")
	pattern := strings.ContainsAny(s, "*?[")
	name := !pattern && len(s) <= maxName && !strings.Contains(s, ":")
	if err != nil || s == "" || len(s) > maxPort || !pattern && !name || strings.ContainsFunc(s, notInPort) {
		return "", fmt.Errorf("%q: want the name of a port, a MAC address or a pattern such as en*, igc or 52:54:00:*", s)
	}
	return Port(s), nil
}

// notInPort reports whether the kernel, a screen or a pattern has no place for a rune in the name
// of a port.
func notInPort(r rune) bool { return r <= ' ' || r >= 0x7f || r == '/' || r == '\\' }

// parseMAC reads a MAC address in any notation: 52:54:00:12:34:56, with dashes, 5254.0012.3456,
// 525400-123456, without anything between, and with the 01- in front that boot loaders write for
// Ethernet. nil = it is none.
func parseMAC(s string) net.HardwareAddr {
	s = blank.Trim(s)
	digits := strings.Map(func(r rune) rune {
		if strings.ContainsRune(":-.", r) {
			return -1
		}
		return r
	}, s)
	if len(digits) == 14 && len(s) > len(digits) {
		digits = strings.TrimPrefix(digits, "01")
	}
	mac, err := hex.DecodeString(digits)
	if err != nil || len(mac) != 6 {
		return nil
	}
	return mac
}
