package wake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"troy/internal/errline"
)

// ErrNoWay is returned when no interface can broadcast and no address is given.
var ErrNoWay = errors.New("wake: no interface can broadcast, and no address is named")

// sender sends packets.
type sender struct {
	port   int           // UDP
	repeat int           // how often each packet is sent
	pause  time.Duration // between machines
	ports  []string      // network ports to send from; nil = all that are up and can broadcast
}

// Target is one machine.
type Target struct {
	MACs      []string     // all are called
	Broadcast []netip.Addr // further addresses
}

// packet returns the magic packet for a MAC address of six bytes.
func packet(mac string) ([]byte, error) {
	hw, err := net.ParseMAC(mac)
	if err != nil || len(hw) != 6 {
		return nil, fmt.Errorf("wake: %q is no MAC address of six bytes", mac)
	}
	return append(bytes.Repeat([]byte{0xff}, 6), bytes.Repeat(hw, 16)...), nil
}

// Send calls machines. It goes on where something fails, and joins the errors; ErrNoWay if nothing
// could go out at all.
func Send(ctx context.Context, targets []Target) error {
	return (&sender{port: 9, repeat: 3, pause: 200 * time.Millisecond}).send(ctx, targets)
}

func (s *sender) send(ctx context.Context, targets []Target) error {
	c, err := net.ListenUDP("udp4", nil) // Go allows broadcasts on every UDP socket
	if err != nil {
		return fmt.Errorf("wake: %w", err)
	}
	defer c.Close()
	ways, err := s.ways()
	if err != nil {
		return err
	}
	var failed []error
	for i, t := range targets {
		if err := s.wait(ctx, i); err != nil {
			return errline.Join(append(failed, err)...)
		}
		failed = append(failed, s.call(c, ways, &t))
	}
	return errline.Join(failed...)
}

// wait waits before all machines but the first.
func (s *sender) wait(ctx context.Context, i int) error {
	if i == 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(s.pause):
		return nil
	}
}

// way is one address to send to, through one interface; 0 = as routes say.
type way struct {
	addr netip.Addr
	port int // index of the interface
}

// ways lists where broadcasts of this host can go.
func (s *sender) ways() ([]way, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("wake: %w", err)
	}
	var list []way
	for _, i := range all {
		named := slices.Contains(s.ports, i.Name)
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagBroadcast == 0 || s.ports != nil && !named {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("wake: %s: %w", i.Name, err)
		}
		for _, a := range addrs {
			if b, ok := broadcastOf(a); ok {
				list = append(list, way{b, i.Index})
			}
		}
		if len(addrs) > 0 {
			list = append(list, way{netip.AddrFrom4([4]byte{255, 255, 255, 255}), i.Index})
		}
	}
	return list, nil
}

// broadcastOf returns the directed broadcast address of an interface's IPv4 network.
func broadcastOf(a net.Addr) (netip.Addr, bool) {
	p, err := netip.ParsePrefix(a.String())
	if err != nil || !p.Addr().Is4() || p.Bits() > 30 {
		return netip.Addr{}, false
	}
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b), true
}

// call sends the packets of one machine.
func (s *sender) call(c *net.UDPConn, ways []way, t *Target) error {
	ways = slices.Clone(ways)
	for _, a := range t.Broadcast {
		ways = append(ways, way{a, 0})
	}
	if len(ways) == 0 {
		return ErrNoWay
	}
	var failed []error
	for _, mac := range t.MACs {
		p, err := packet(mac)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		failed = append(failed, s.sendAll(c, ways, p))
	}
	return errline.Join(failed...)
}

// sendAll sends one packet every way. One way that works is enough: an interface may have no
// carrier.
func (s *sender) sendAll(c *net.UDPConn, ways []way, p []byte) error {
	var failed []error
	sent := 0
	for range s.repeat {
		for _, w := range ways {
			var oob []byte
			if w.port != 0 {
				oob = unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(w.port)})
			}
			if _, _, err := c.WriteMsgUDPAddrPort(p, oob, netip.AddrPortFrom(w.addr, uint16(s.port))); err != nil {
				failed = append(failed, fmt.Errorf("wake: %s: %w", w.addr, err))
			} else {
				sent++
			}
		}
	}
	if sent > 0 {
		return nil
	}
	return errline.Join(failed...)
}
