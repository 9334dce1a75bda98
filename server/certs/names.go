package certs

import (
	"os"

	"troy/server/netboot"
)

// OwnNames are the names and addresses by which browsers may reach this machine.
func OwnNames() (names []string) {
	if h, err := os.Hostname(); err == nil && checkNames([]string{h}) == nil {
		names = append(names, h)
	}
	return append(names, netboot.OwnAddress().String(), "127.0.0.1", "localhost")
}
