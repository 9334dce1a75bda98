package netboot

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"troy/chainload/release"
)

// Ports of the protocols.
const (
	PortDHCP  = 67
	PortTFTP  = 69
	PortProxy = 4011 // PXE boot server
)

const (
	classPXE  = "PXEClient"
	classHTTP = "HTTPClient"
	userIPXE  = "iPXE"
)

// discoveryControl is option 43 of PXE 2.1, section 2.4.1: PXE_DISCOVERY_CONTROL (6), one byte, bit
// 3: load the boot file at once; then the end (255).
var discoveryControl = [...]byte{6, 1, 1 << 3, 255}

// kind is what a client asks with.
type kind int

const (
	notClient kind = iota // not for us
	pxe                   // UEFI PXE
	ipxe                  // iPXE, which loads by HTTP
	uefiHTTP
)

// clientKind reads options 60, 77, 93 and 97.
func clientKind(q *dhcpv4.DHCPv4) kind {
	if id := q.GetOneOption(dhcpv4.OptionClientMachineIdentifier); len(id) != 0 && (len(id) != 17 || id[0] != 0) {
		return notClient // PXE 2.1: such a client gets no answer
	}
	class, arch := q.ClassIdentifier(), q.ClientArch()
	has := func(a ...iana.Arch) bool {
		return slices.ContainsFunc(arch, func(x iana.Arch) bool { return slices.Contains(a, x) })
	}
	switch {
	case strings.HasPrefix(class, classHTTP) && has(iana.EFI_X86_64_HTTP):
		return uefiHTTP
	case !strings.HasPrefix(class, classPXE) || !has(iana.EFI_X86_64, iana.EFI_BC):
		return notClient
	// iPXE writes option 77 as plain text, RFC 3004 as a list: both are looked at as bytes.
	case bytes.Contains(q.GetOneOption(dhcpv4.OptionUserClassInformation), []byte(userIPXE)):
		return ipxe
	}
	return pxe
}

// Answer makes the answer of the server at self to a question that came to port (67 or 4011); nil =
// none.
func (s *Server) answer(q *dhcpv4.DHCPv4, self netip.Addr, port int) *dhcpv4.DHCPv4 {
	if q.OpCode != dhcpv4.OpcodeBootRequest || !self.Is4() || len(q.ClientHWAddr) == 0 {
		return nil
	}
	reply := dhcpv4.MessageTypeOffer
	switch t := q.MessageType(); {
	case port == PortDHCP && t == dhcpv4.MessageTypeDiscover:
	case port == PortProxy && (t == dhcpv4.MessageTypeRequest || t == dhcpv4.MessageTypeInform):
		reply = dhcpv4.MessageTypeAck
	default:
		return nil
	}
	k := clientKind(q)
	file := s.bootFile(k, self)
	if file == "" {
		return nil
	}
	return compose(q, reply, k, self.AsSlice(), file)
}

// compose writes the answer.
func compose(q *dhcpv4.DHCPv4, reply dhcpv4.MessageType, k kind, self net.IP, file string) *dhcpv4.DHCPv4 {
	class := classPXE
	if k == uefiHTTP {
		class = classHTTP
	}
	a, err := dhcpv4.NewReplyFromRequest(q, dhcpv4.WithMessageType(reply),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(self)),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier(class)),
		dhcpv4.WithOption(dhcpv4.OptBootFileName(terminated(file))))
	if err != nil {
		return nil
	}
	a.YourIPAddr, a.ServerIPAddr = net.IPv4zero, self
	for _, code := range []dhcpv4.OptionCode{dhcpv4.OptionClientMachineIdentifier, dhcpv4.OptionRelayAgentInformation} {
		if v := q.GetOneOption(code); v != nil {
			a.UpdateOption(dhcpv4.OptGeneric(code, v))
		}
	}
	if k != uefiHTTP {
		a.UpdateOption(dhcpv4.OptTFTPServerName(terminated(self.String())))
		a.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionVendorSpecificInformation, discoveryControl[:]))
	}
	if len(file) < 128 { // the field of the BOOTP header, which old firmware reads
		a.BootFileName = file
	}
	return a
}

// terminated ends a text as C does. Some firmware reads options 66 and 67 up to a zero byte and
// would take the next option for a part of the name; readers have to expect the zero (RFC 2132,
// section 2).
func terminated(s string) string { return s + "\x00" }

// bootFile names what a client is to load; "" = nothing.
func (s *Server) bootFile(k kind, self netip.Addr) string {
	var names []string
	base := ""
	switch k {
	case pxe:
		names = []string{release.IPXE, release.Shim}
		if s.o.Shim {
			names = []string{release.Shim}
		}
	case ipxe:
		names, base = []string{release.IPXEScript}, s.url(self)
	case uefiHTTP:
		names, base = []string{release.ISO}, s.url(self)
	}
	for _, name := range names {
		if s.has(name) {
			return base + name
		}
	}
	return ""
}
