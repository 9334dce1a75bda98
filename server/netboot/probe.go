package netboot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/iana"
)

// ProbeTime is how long Probe waits for answers.
const ProbeTime = 2500 * time.Millisecond

// Other is a server that answers PCs which start by the network.
type Other struct {
	Card      string // the network card on which it was heard
	Server    netip.Addr
	Addresses bool   // it gives addresses: a DHCP server
	File      string // it names this boot file; "" = none
}

// String is a line for people.
func (o Other) String() string {
	what := "answers PCs that start by the network"
	if o.Addresses {
		what = "gives addresses (DHCP)"
	}
	if o.File != "" {
		what += fmt.Sprintf(" and names the boot file %q", o.File)
	}
	return fmt.Sprintf("%s: %s %s", o.Card, o.Server, what)
}

// Probe asks on all network cards that are up as a PC does that starts by UEFI PXE, takes nothing
// of what is offered, and returns who answered. It takes ProbeTime and needs root, else the error
// is fs.ErrPermission.
func Probe(ctx context.Context) ([]Other, error) {
	cards, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var all []Other
	var errs []error
	for _, c := range cards {
		if c.Flags&net.FlagRunning == 0 || c.Flags&net.FlagBroadcast == 0 || len(c.HardwareAddr) != 6 {
			continue
		}
		wg.Go(func() {
			found, err := probe(ctx, &c)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, found...)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", c.Name, err))
			}
		})
	}
	wg.Wait()
	slices.SortFunc(all, func(a, b Other) int { return a.Server.Compare(b.Server) })
	return slices.Compact(all), errors.Join(errs...)
}

// probe asks on one card.
func probe(ctx context.Context, c *net.Interface) (found []Other, err error) {
	q, err := dhcpv4.NewDiscovery(c.HardwareAddr, dhcpv4.WithBroadcast(true),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier(classPXE+":Arch:00007:UNDI:003001")),
		dhcpv4.WithOption(dhcpv4.OptClientArch(iana.EFI_X86_64)),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionTFTPServerName, dhcpv4.OptionBootfileName))
	if err != nil {
		return nil, err
	}
	conn, err := nclient4.NewRawUDPConn(c.Name, dhcpv4.ClientPort)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := conn.SetReadDeadline(time.Now().Add(ProbeTime)); err != nil {
		return nil, err
	}
	if _, err := conn.WriteTo(q.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: PortDHCP}); err != nil {
		return nil, err
	}
	b := make([]byte, 1500)
	for {
		n, _, err := conn.ReadFrom(b)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, os.ErrDeadlineExceeded):
			return found, nil
		case err != nil:
			return found, err
		}
		if a, err := dhcpv4.FromBytes(b[:n]); err == nil && a.OpCode == dhcpv4.OpcodeBootReply && a.TransactionID == q.TransactionID {
			found = append(found, other(c.Name, a))
		}
	}
}

// other reads an answer.
func other(card string, a *dhcpv4.DHCPv4) Other {
	o := Other{Card: card, Addresses: !a.YourIPAddr.IsUnspecified(), File: a.BootFileNameOption()}
	if o.File == "" {
		o.File = a.BootFileName
	}
	for _, ip := range []net.IP{a.ServerIdentifier(), a.ServerIPAddr} {
		if s, ok := netip.AddrFromSlice(ip); ok && !o.Server.IsValid() && !s.IsUnspecified() {
			o.Server = s.Unmap()
		}
	}
	return o
}
