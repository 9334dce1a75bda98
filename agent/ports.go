package agent

import (
	"net"
	"os"
	"path/filepath"
	"strings"

	"troy/server/protocol"
)

// netDir is where the kernel shows the network ports.
const netDir = "/sys/class/net"

// readPorts lists the ports of the machine as the kernel knows them now. dir is netDir.
func readPorts(dir string) (ports []protocol.Port) {
	all, err := net.Interfaces()
	if err != nil {
		return nil // the UUID may do
	}
	for _, p := range all {
		if len(p.HardwareAddr) == 6 && len(ports) < protocol.MaxPorts {
			ports = append(ports, protocol.Port{MAC: p.HardwareAddr.String(), Bus: busOf(filepath.Join(dir, p.Name, "device"))})
		}
	}
	return ports
}

// busOf names the bus on which a device hangs, "" if the kernel does not show it. What hangs on USB
// or Thunderbolt anywhere above can be carried to another machine: a port of a dock is a PCI
// device, which the kernel marks as removable.
func busOf(device string) string {
	path, err := filepath.EvalSymlinks(device)
	if err != nil {
		return ""
	}
	bus := subsystem(path)
	for ; strings.Contains(path, "/devices/"); path = filepath.Dir(path) {
		if subsystem(path) == protocol.BusUSB {
			return protocol.BusUSB
		}
		if b, err := os.ReadFile(filepath.Join(path, "removable")); err == nil && strings.TrimSpace(string(b)) == "removable" {
			return protocol.BusThunderbolt
		}
	}
	return bus
}

// subsystem is the bus of one device.
func subsystem(path string) string {
	link, err := os.Readlink(filepath.Join(path, "subsystem"))
	if err != nil {
		return ""
	}
	return protocol.Clean(filepath.Base(link), protocol.MaxText)
}
