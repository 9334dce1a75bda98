package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"troy/netfetch"
	"troy/server/protocol"
)

// How long the agent goes on before it starts what is there: students wait behind this.
const (
	linkPatience   = 60 * time.Second
	serverPatience = 45 * time.Second
	reportPatience = 10 * time.Second
	hintPatience   = 3 * time.Second
)

// errNoServer: neither the kernel arguments nor DHCP name a server.
var errNoServer = errors.New("no server is named (kernel argument troy.server=, or DHCP option 224)")

// connect brings up the network and finds the servers.
func (a *agent) connect(ctx context.Context) error {
	if a.o.linkUp {
		err := a.phase("link", nil, func() error { return a.linkUp(ctx) })
		if err != nil {
			return untouched("network", err)
		}
	}
	urls := slices.Clone(a.o.net.Servers)
	if a.link != nil {
		if url := netfetch.ServerURL(a.link.Server); url != "" && len(urls) == 0 {
			urls = append(urls, url)
		}
	}
	if len(urls) == 0 {
		return untouched("network", errNoServer)
	}
	for _, url := range urls {
		h, err := a.newHTTP(url)
		if err != nil {
			return untouched("network", err)
		}
		a.servers = append(a.servers, h)
	}
	a.setClock(ctx, urls[0])
	if a.link != nil {
		go a.link.Keep(ctx, &netfetch.KeepOptions{
			Changed: func(*netfetch.Link) { a.reconnect() },
			Notify:  func(err error) { a.say("network: %v", err) },
		})
	}
	return nil
}

func (a *agent) reconnect() {
	a.httpMu.Lock()
	defer a.httpMu.Unlock()
	for _, h := range a.https {
		h.Reconnect()
	}
}

// patience is how long a server that does not answer is asked again.
func (a *agent) patience() time.Duration { return cmp.Or(a.o.patience, serverPatience) }

// newHTTP makes a client as the media want it.
func (a *agent) newHTTP(url string) (*netfetch.HTTP, error) {
	h, err := netfetch.NewHTTP(url, &netfetch.HTTPOptions{
		GiveUpAfter: a.patience(), UserAgent: version, OnRetry: a.retrying, RootCAs: a.media.ca, Now: a.clock.Now,
	})
	if err == nil {
		a.httpMu.Lock()
		a.https = append(a.https, h)
		a.httpMu.Unlock()
	}
	return h, err
}

// setClock lets the server correct the clock, within the bounds of netfetch.Clock. Without an answer the time stays.
func (a *agent) setClock(ctx context.Context, url string) {
	ctx, cancel := context.WithTimeout(ctx, hintPatience)
	defer cancel()
	if t, err := netfetch.ServerTime(ctx, url); err == nil {
		a.clock.Hint(t)
	}
}

// retrying shows that something is tried again, the first time and then every ten seconds.
func (a *agent) retrying(err error, wait time.Duration) {
	a.retryMu.Lock()
	defer a.retryMu.Unlock()
	if now := time.Now(); now.Sub(a.retrySaid) > 10*time.Second {
		a.retrySaid = now
		a.say("%v; again in %.1f s", err, wait.Seconds())
	}
}

func (a *agent) linkUp(ctx context.Context) error {
	link, err := netfetch.LinkUp(ctx, &netfetch.LinkOptions{
		Static: a.o.net.Static, Interfaces: a.o.net.Interfaces, Wait: linkPatience, ResolvConf: "/etc/resolv.conf",
	})
	if err != nil {
		return err
	}
	a.link = link
	a.id.MACs = hardwareAddresses() // drivers may have come late
	a.say("network: %s has %s after %.1f s", link.Interface, link.Addr, link.Took.Seconds())
	return nil
}

// hardwareAddresses lists the ports of the machine as the kernel knows them now.
func hardwareAddresses() []string {
	ports, err := net.Interfaces()
	if err != nil {
		return nil // the UUID may do
	}
	var macs []string
	for _, p := range ports {
		if len(p.HardwareAddr) == 6 && len(macs) < protocol.MaxMACs {
			macs = append(macs, p.HardwareAddr.String())
		}
	}
	return macs
}

// checkIn tells the server what this machine is and has, and returns the order. A server that wants the machine to wait is
// asked again.
func (a *agent) checkIn(ctx context.Context, diskErr error) (*protocol.Order, error) {
	in := a.describe(diskErr)
	for {
		var order *protocol.Order
		err := a.phase("check-in", nil, func() (err error) { order, err = a.ask(ctx, in); return err })
		if err != nil {
			return nil, untouched("check-in", err)
		}
		if order.Code != "" {
			a.say("this machine is not assigned yet; its code is %s", order.Code)
		}
		if order.Wait == 0 {
			return order, nil
		}
		a.phases = a.phases[:len(a.phases)-1] // waiting may be long: one entry is enough
		a.say("the server asks to wait %d s%s", order.Wait, reason(order))
		select {
		case <-ctx.Done():
			return nil, untouched("check-in", ctx.Err())
		case <-time.After(time.Duration(order.Wait) * time.Second):
		}
	}
}

// ask asks the servers in their order; the first one that answers is the one that hears of everything else.
func (a *agent) ask(ctx context.Context, in *protocol.CheckIn) (*protocol.Order, error) {
	var errs []error
	for i, h := range a.servers {
		var out protocol.Order
		err := func() error {
			ctx := ctx
			if i < len(a.servers)-1 { // there are others to ask
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, a.patience()/time.Duration(len(a.servers)))
				defer cancel()
			}
			return h.PostJSON(ctx, protocol.PathCheckIn, in, &out)
		}()
		if err == nil {
			err = out.Validate()
		}
		if err == nil {
			a.server = h
			return &out, nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 1 {
		return nil, errs[0]
	}
	return nil, fmt.Errorf("no server gave an order: %w", errors.Join(errs...))
}
