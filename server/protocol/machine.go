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

// Claims is what counts of it when it is judged which machine it is. key is that of its connection;
// lasts says that it lies on a finished disk.
func (m *Machine) Claims(key string, lasts bool) identity.Claims {
	c := identity.Claims{Key: key, Lasts: lasts && key != "", All: fmt.Sprint(*m)}
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
