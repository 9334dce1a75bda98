package agent

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"troy/netfetch"
	"troy/netfetch/link"
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
	if !a.o.Running {
		err := a.phase("link", nil, func() error { return a.linkUp(ctx) })
		if err != nil {
			return untouched("network", err)
		}
	}
	urls := slices.Clone(a.o.Net.Servers)
	if a.link != nil {
		if url := netfetch.ServerURL(a.link.Server); url != "" && len(urls) == 0 {
			urls = append(urls, url)
		}
	}
	if len(urls) == 0 {
		return untouched("network", errNoServer)
	}
	m, err := netfetch.NewHTTPMirrors(urls, a.httpOptions(), &netfetch.MirrorsOptions{OnFailover: a.failover})
	if err != nil {
		return untouched("network", err)
	}
	a.servers = m
	a.setClock(ctx, urls[0])
	if a.link != nil {
		go a.link.Keep(ctx, &link.KeepOptions{
			Changed: func(*link.Link) { m.Reconnect() },
			Notify:  func(err error) { a.say("network: %v", err) },
		})
	}
	return nil
}

// patience is how long a server that does not answer is asked again.
func (a *agent) patience() time.Duration { return cmp.Or(a.o.patience, serverPatience) }

// httpOptions are as the media want it.
func (a *agent) httpOptions() *netfetch.HTTPOptions {
	return &netfetch.HTTPOptions{GiveUpAfter: a.patience(), UserAgent: version, OnRetry: a.retrying, RootCAs: a.media.ca, Now: a.clock.Now}
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
	l, err := link.Up(ctx, &link.Options{
		Static: a.o.Net.Static, Interfaces: a.o.Net.Interfaces, Wait: linkPatience, ResolvConf: "/etc/resolv.conf",
	})
	if err != nil {
		return err
	}
	a.link = l
	a.id.MACs = hardwareAddresses() // drivers may have come late
	a.say("network: %s has %s after %.1f s", l.Interface, l.Addr, l.Took.Seconds())
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

// ask asks the servers; the one that answers hears of everything else.
func (a *agent) ask(ctx context.Context, in *protocol.CheckIn) (*protocol.Order, error) {
	var out protocol.Order
	if err := a.servers.PostJSON(ctx, protocol.PathCheckIn, in, &out); err != nil {
		return nil, err
	}
	a.answered.Store(true)
	return &out, out.Validate()
}
