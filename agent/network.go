package agent

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"troy/internal/version"
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

// network is the way to the servers, and the clock that they correct.
type network struct {
	o     *Options
	con   *console
	media media
	clock clock

	id       protocol.Machine
	link     *link.Link
	servers  *netfetch.Mirrors // nil: none is known
	answered atomic.Bool       // a server did

	retryMu   sync.Mutex
	retrySaid time.Time // when a retry was last shown
}

// setMedia takes what the media say of time and certificates. The machine's clock is believed where
// it shows what is possible.
func (n *network) setMedia(m media) {
	now := n.o.now
	if now == nil {
		now = time.Now
	}
	n.media, n.clock = m, newClock(m.built, now)
}

// connect brings up the network and finds the servers.
func (n *network) connect(ctx context.Context) error {
	if !n.o.Running {
		if err := n.linkUp(ctx); err != nil {
			return err
		}
	}
	urls := slices.Clone(n.o.Net.Servers)
	if n.link != nil {
		if url := netfetch.ServerURL(n.link.Server); url != "" && len(urls) == 0 {
			urls = append(urls, url)
		}
	}
	if len(urls) == 0 {
		return errNoServer
	}
	m, err := n.mirrors(urls)
	if err != nil {
		return err
	}
	n.servers = m
	n.setClock(ctx, urls[0])
	if n.link != nil {
		go n.link.Keep(ctx, &link.KeepOptions{
			Changed: func(*link.Link) { m.Reconnect() },
			Notify:  func(err error) { n.con.say("network: %v", err) },
		})
	}
	return nil
}

// patience is how long a server that does not answer is asked again.
func (n *network) patience() time.Duration { return cmp.Or(n.o.patience, serverPatience) }

// mirrors are servers as the media want them.
func (n *network) mirrors(urls []string) (*netfetch.Mirrors, error) {
	return netfetch.NewHTTPMirrors(urls, &netfetch.HTTPOptions{
		GiveUpAfter: n.patience(), UserAgent: "troy-deploy/" + version.Get().Short(), OnRetry: n.retrying, RootCAs: n.media.ca, Now: n.clock.bounded.Now,
	}, &netfetch.MirrorsOptions{OnFailover: n.failover})
}

func (n *network) failover(from, to netfetch.Source, err error) {
	if errors.Is(err, netfetch.ErrNotFound) {
		return // a client of TUF asks for a newer root until there is none
	}
	n.con.say("%v; continuing with %s", err, to)
}

// setClock lets the server correct the clock, within the bounds of netfetch.Clock. Without an
// answer the time stays.
func (n *network) setClock(ctx context.Context, url string) {
	ctx, cancel := context.WithTimeout(ctx, hintPatience)
	defer cancel()
	if t, err := netfetch.ServerTime(ctx, url); err == nil && n.clock.bounded.Hint(t) {
		n.clock.sure = true
	}
}

// retrying shows that something is tried again, the first time and then every ten seconds.
func (n *network) retrying(err error, wait time.Duration) {
	n.retryMu.Lock()
	defer n.retryMu.Unlock()
	if now := time.Now(); now.Sub(n.retrySaid) > 10*time.Second {
		n.retrySaid = now
		n.con.say("%v; again in %.1f s", err, wait.Seconds())
	}
}

func (n *network) linkUp(ctx context.Context) error {
	l, err := link.Up(ctx, &link.Options{
		Static: n.o.Net.Static, Interfaces: n.o.Net.Interfaces, Wait: linkPatience, ResolvConf: "/etc/resolv.conf",
	})
	if err != nil {
		return err
	}
	n.link = l
	n.id.MACs = hardwareAddresses() // drivers may have come late
	n.con.say("network: %s has %s after %.1f s", l.Interface, l.Addr, l.Took.Seconds())
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

// ask asks the servers; the one that answers hears of everything else.
func (n *network) ask(ctx context.Context, in *protocol.CheckIn) (*protocol.Order, error) {
	var out protocol.Order
	if err := n.servers.PostJSON(ctx, protocol.PathCheckIn, in, &out); err != nil {
		return nil, err
	}
	if err := out.Validate(); err != nil {
		return nil, err
	}
	n.answered.Store(true)
	n.clock.hear(out.Time)
	return &out, nil
}

// report gives up soon: the room waits.
func (n *network) report(ctx context.Context, r *protocol.Report) error {
	ctx, cancel := context.WithTimeout(ctx, reportPatience)
	defer cancel()
	return n.servers.PostJSON(ctx, protocol.PathReport, r, nil)
}

// progress tells how far the work is, once a server has answered.
func (n *network) progress(ctx context.Context, phase string, done, total, rate int64) {
	if !n.answered.Load() {
		return
	}
	_ = n.servers.PostJSON(ctx, protocol.PathProgress, &protocol.Progress{
		Protocol: protocol.Version, Machine: n.id, Phase: phase, Done: done, Total: total, Rate: rate,
	}, nil)
}
