package doctor

import (
	"fmt"
	"net"
	"syscall"
)

// address is an IPv4 address of this machine.
type address struct {
	net.IPNet
	leased bool // it ends by itself, as addresses from DHCP do
}

// addresses asks the kernel for all of them. Package net does not tell whether an address ends.
func addresses() ([]address, error) {
	table, err := syscall.NetlinkRIB(syscall.RTM_GETADDR, syscall.AF_INET)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return parseAddresses(table)
}

// parseAddresses reads the kernel's answer, a list of RTM_NEWADDR messages.
func parseAddresses(table []byte) ([]address, error) {
	messages, err := syscall.ParseNetlinkMessage(table)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var all []address
	for i := range messages {
		m := &messages[i]
		if m.Header.Type != syscall.RTM_NEWADDR || len(m.Data) < syscall.SizeofIfAddrmsg || m.Data[0] != syscall.AF_INET {
			continue
		}
		attributes, err := syscall.ParseNetlinkRouteAttr(m)
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		for _, a := range attributes {
			// IFA_ADDRESS is the other end's on a point-to-point link.
			if a.Attr.Type == syscall.IFA_LOCAL && len(a.Value) == net.IPv4len {
				all = append(all, address{
					IPNet:  net.IPNet{IP: net.IP(a.Value), Mask: net.CIDRMask(int(m.Data[1]), 32)},
					leased: m.Data[2]&syscall.IFA_F_PERMANENT == 0,
				})
			}
		}
	}
	return all, nil
}

func checkAddresses() []Finding {
	all, err := addresses()
	if err != nil {
		return []Finding{{"addresses", Doubt, err.Error(), ""}}
	}
	return judgeAddresses(all)
}

func judgeAddresses(all []address) []Finding {
	var found []Finding
	for _, a := range all {
		if !a.IP.IsGlobalUnicast() {
			continue
		}
		f := Finding{"addresses", Good, a.String(), ""}
		if a.leased {
			f.Level, f.Text, f.Do = Doubt, f.Text+" is a DHCP lease", "give this server a fixed address, or reserve this one: media and machines use it to find the server"
		}
		found = append(found, f)
	}
	if len(found) == 0 {
		return []Finding{{"addresses", Fault, "this machine has no address that others can reach", "connect it, and give it an address"}}
	}
	return found
}
