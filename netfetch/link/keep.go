package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"troy/internal/wait"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
)

const (
	renewWait  = 3 * time.Second  // wait for the answer to one renewal
	renewPause = 10 * time.Second // between renewals, at least
	watchEvery = 500 * time.Millisecond
)

// KeepOptions holds what may be chosen; the zero value is right.
type KeepOptions struct {
	// Changed, if set, is called when the address changed: connections from
	// the old one are dead (see HTTP.Reconnect).
	Changed func(*Link)
	// Notify, if set, is called with what went wrong and is tried again.
	Notify func(error)
}

// Keep looks after the link until ctx ends and returns the context's error: it
// renews the lease in time, asks again after the cable was out, and
// gets a new address when the old one is refused or has run out. A static
// address needs no care; Keep then only waits.
func (l *Link) Keep(ctx context.Context, o *KeepOptions) error {
	if o == nil {
		o = new(KeepOptions)
	}
	if l.lease == nil {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	port, err := netlink.LinkByName(l.Interface)
	if err != nil {
		return fmt.Errorf("keeping the lease of %s: %w", l.Interface, err)
	}
	k := &keeper{o: o, port: port, link: l}
	for ctx.Err() == nil {
		k.step(ctx)
	}
	return context.Cause(ctx)
}

// keeper is one Keep at work.
type keeper struct {
	o    *KeepOptions
	port netlink.Link
	link *Link
}

// step waits for the next reason to act, and acts.
func (k *keeper) step(ctx context.Context) {
	flapped := k.wait(ctx, k.due())
	age := time.Since(k.link.lease.at)
	act := k.renew
	switch {
	case ctx.Err() != nil:
		return
	case k.link.Lease > 0 && age >= k.link.Lease:
		act = k.restart
	case flapped, age >= k.link.rebind:
		act = k.rebind
	}
	err := act(ctx)
	if err == nil || ctx.Err() != nil {
		return
	}
	k.tell(err)
	if errors.Is(err, errNak) {
		err = k.restart(ctx)
	}
	if err != nil {
		wait.For(ctx, k.pause())
	}
}

// pause gives the wait after a failure: not past the moment when another way of
// asking begins, and short once there is no lease to live on.
func (k *keeper) pause() time.Duration {
	d := renewPause
	if k.link.Lease > 0 && time.Since(k.link.lease.at) >= k.link.Lease {
		d = againAfter
	}
	for _, at := range []time.Duration{k.link.rebind, k.link.Lease} {
		if left := at - time.Since(k.link.lease.at); left > 0 {
			d = min(d, left)
		}
	}
	return d
}

// due gives the time until the next renewal (T1); a long time for an endless lease.
func (k *keeper) due() time.Duration {
	if k.link.Lease == 0 {
		return 24 * time.Hour
	}
	return time.Until(k.link.lease.at.Add(k.link.renewT))
}

// wait returns when d is over, or earlier if the carrier was lost and is back:
// the other end may be another network now.
func (k *keeper) wait(ctx context.Context, d time.Duration) (flapped bool) {
	end := time.Now().Add(d)
	lost := false
	for left := d; left > 0; left = time.Until(end) {
		up, err := hasCarrier(k.port)
		if up && lost {
			k.restoreRoutes()
			return true
		}
		lost = err != nil || !up
		if wait.For(ctx, min(left, watchEvery)) != nil {
			return false
		}
	}
	return false
}

// restoreRoutes sets again what the kernel dropped if the port went down. An error shows in
// the renewal that follows.
func (k *keeper) restoreRoutes() {
	_ = raise(k.port)
	_ = configure(k.port, k.link)
}

// renew asks the server that gave the lease, by unicast (RENEWING state of RFC
// 2131, section 4.4.5).
func (k *keeper) renew(ctx context.Context) error {
	server := k.link.lease.server
	if !server.IsValid() {
		return k.rebind(ctx)
	}
	c, err := unicast(ctx, k.link.Interface, k.link.MAC)
	if err != nil {
		return err
	}
	return k.ask(ctx, c, &net.UDPAddr{IP: server.AsSlice(), Port: nclient4.ServerPort}, k.link.lease.ack)
}

// rebind asks by broadcast, for the unicast got no answer or the cable may lead elsewhere
// (REBINDING state). Any server may answer.
func (k *keeper) rebind(ctx context.Context) error {
	c, err := broadcast(k.port)
	if err != nil {
		return err
	}
	return k.ask(ctx, c, everybody, &message{DHCPv4: &dhcpv4.DHCPv4{YourIPAddr: k.link.Addr.Addr().AsSlice()}})
}

// ask sends one renewal and goes on with what comes back.
func (k *keeper) ask(ctx context.Context, c *client, to *net.UDPAddr, before *message) error {
	defer c.close()
	c.refused = func(from netip.Addr, err error) {
		k.tell(fmt.Errorf("an answer from %v to the renewal on %s is not taken: %w", from, k.link.Interface, err))
	}
	q, err := newQuestion(k.link.MAC, dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(k.link.Addr.Addr().AsSlice()))
	if err != nil {
		return err
	}
	ack, err := acknowledged(ctx, renewWait, c, to, q, before)
	if err != nil {
		return fmt.Errorf("renewing the lease of %v on %s: %w", k.link.Addr, k.link.Interface, err)
	}
	return k.adopt(k.link.lease.renewed(ack, time.Now()))
}

// restart gets a new lease as Up does.
func (k *keeper) restart(ctx context.Context) error {
	if err := deconfigure(k.port, k.link); err != nil {
		return err
	}
	o := &Options{only: k.link.Interface, ResolvConf: k.link.resolvConf}
	link, err := Up(ctx, o)
	if err != nil {
		return err
	}
	k.replace(link)
	return nil
}

// adopt goes on with the renewed lease.
func (k *keeper) adopt(lease *lease) error {
	link, err := linkOf(k.port.Attrs(), lease)
	if err != nil {
		return err
	}
	link.resolvConf, link.Took, link.ports = k.link.resolvConf, k.link.Took, k.link.ports
	if link.Addr != k.link.Addr {
		if err := deconfigure(k.port, k.link); err != nil {
			return err
		}
	}
	if err := configure(k.port, link); err != nil {
		return err
	}
	k.replace(link)
	return nil
}

func (k *keeper) replace(link *Link) {
	old := k.link
	k.link = link
	if link.Addr != old.Addr && k.o.Changed != nil {
		k.o.Changed(link)
	}
}

func (k *keeper) tell(err error) {
	if k.o.Notify != nil {
		k.o.Notify(err)
	}
}
