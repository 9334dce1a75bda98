package agent

import (
	"cmp"
	"errors"
	"fmt"
	"os"

	"troy/agent/hardware"
	"troy/netfetch/link"
	"troy/server/protocol"
)

// hardware is what the machine is made of, as the kernel knows it now.
func (o *Options) hardware() *hardware.Machine { return hardware.Look(os.DirFS(cmp.Or(o.sys, "/sys"))) }

// nameCards adds to the error of a machine on which no port is of use the cards that have no driver.
func (o *Options) nameCards(err error) error {
	if !errors.Is(err, link.ErrNoLink) {
		return err
	}
	if cards := o.hardware().Driverless(); cards != "" {
		return fmt.Errorf("%w; %s", err, cards)
	}
	return err
}

// identity is what the firmware says about the machine, and its ports.
func identity(m *hardware.Machine) protocol.Machine {
	return protocol.Machine{UUID: m.UUID, Serial: m.Serial, Vendor: m.Vendor, Product: m.Product, Ports: readPorts(netDir)}
}
