package protocol

import (
	"cmp"
	"fmt"
	"slices"

	"troy/internal/identity"
)

// Carried tells whether the port may be in another machine tomorrow.
func (p *Port) Carried() bool { return p.Bus == BusUSB || p.Bus == BusThunderbolt }

// Buses of adapters that people carry from one machine to another.
const (
	BusUSB         = "usb"
	BusThunderbolt = "thunderbolt"
)

// MACs lists the addresses of all ports, those of adapters last.
func (m *Machine) MACs() []string {
	var own, carried []string
	for _, p := range m.Ports {
		if p.Carried() {
			carried = append(carried, p.MAC)
		} else {
			own = append(own, p.MAC)
		}
	}
	return append(own, carried...)
}

// String names the machine for people, by what it claims.
func (m *Machine) String() string { return cmp.Or(slices.Concat(m.MACs(), []string{m.UUID})...) }

// Bounds of what Brief leaves.
const (
	briefPorts = 4
	briefText  = 40 // bytes: a UUID with brackets fits
	briefBus   = 16
)

// Brief is what is needed to show the machine and to know it again: the first ports, those that stay
// in it before adapters, and the beginnings of texts.
func (m *Machine) Brief() Machine {
	ports := slices.Clone(m.Ports)
	slices.SortStableFunc(ports, func(a, b Port) int {
		switch {
		case a.Carried() == b.Carried():
			return 0
		case b.Carried():
			return -1
		}
		return 1
	})
	ports = ports[:min(len(ports), briefPorts)]
	for i := range ports {
		ports[i].Bus = Clean(ports[i].Bus, briefBus)
	}
	return Machine{Ports: ports, UUID: Clean(m.UUID, briefText), Serial: Clean(m.Serial, briefText), Vendor: Clean(m.Vendor, briefText), Product: Clean(m.Product, briefText)}
}

// Brief is the check-in without what only matters for machines that get a version.
func (c *CheckIn) Brief() CheckIn {
	return CheckIn{Protocol: c.Protocol, Machine: c.Machine.Brief(), Agent: Clean(c.Agent, briefText), Image: Clean(c.Image, briefText), Version: c.Version,
		Health: c.Health, Firmware: Clean(c.Firmware, briefText), SecureBoot: c.SecureBoot, Memory: c.Memory}
}

// Claims is what counts of it when it is judged which machine it is. key is that of its connection;
// lasts says that it lies on a finished disk.
func (m *Machine) Claims(key string, lasts bool) identity.Claims {
	c := identity.Claims{Key: key, Lasts: lasts && key != "", All: fmt.Sprint(m.Brief())}
	for _, p := range m.Ports {
		mac, err := identity.ParseMAC(p.MAC)
		switch {
		case err != nil:
		case p.Carried():
			c.Carried = append(c.Carried, mac)
		default:
			c.MACs = append(c.MACs, mac)
		}
	}
	if id, err := identity.ParseUUID(m.UUID); err == nil && !identity.Placeholder(id) {
		c.UUID = identity.FoldUUID(id)
	}
	return c
}
