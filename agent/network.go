package agent

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"troy/internal/errline"
	"troy/internal/format"
	"troy/internal/version"
	"troy/netfetch"
	"troy/netfetch/link"
	"troy/server/protocol"
)

// How long the agent goes on before it starts what is there: students wait behind this. Package
// decide says how long the network itself is waited for.
const (
	fullPatience    = 45 * time.Second // for an order
	hurriedPatience = 10 * time.Second // for an order while somebody may be waiting for Windows
	doubtPatience   = 3 * time.Second  // the same, after no server has answered for a while
	reportPatience  = 10 * time.Second
	hintPatience    = 3 * time.Second
	waitingAfter    = 4 * time.Second // a network that takes longer is said to be waited for
)

// errHurry is why a server is not asked any longer.
var errHurry = errors.New("no answer in the time that people wait for")

// errNoServer: nothing names a server.
var errNoServer = errors.New("no server is named (the store's signed list, kernel argument troy.server=, or DHCP option 224)")

// network is the way to the servers, and the clock that they correct.
type network struct {
	o     *Options
	con   *console
	media media
	clock clock

	id      protocol.Machine
	link    *link.Link
	site    *site
	servers atomic.Pointer[netfetch.Mirrors] // nil: none is known
	hurry   bool                             // somebody may be waiting for Windows
	spoken  atomic.Int64                     // the protocol of the messages after a check-in; 0: no server has answered

	retryMu   sync.Mutex
	retrySaid time.Time // when a retry was last shown
}

// setMedia takes what the media carry. The machine's clock is believed where
// it shows what is possible.
func (n *network) setMedia(m media) {
	now := n.o.now
	if now == nil {
		now = time.Now
	}
	n.media, n.clock = m, newClock(m.built, now)
}

// connect brings up the network, for which it waits so long, and finds the servers. hurry: somebody
// may be waiting for Windows.
func (n *network) connect(ctx context.Context, patience time.Duration, hurry bool) error {
	n.hurry = hurry
	if !n.o.Running {
		if err := n.linkUp(ctx, patience); err != nil {
			return err
		}
	}
	if err := n.find(); err != nil {
		return err
	}
	n.setClock(ctx, n.urls(n.link)[0])
	if n.link != nil {
		go n.link.Keep(ctx, &link.KeepOptions{
			Changed: func(*link.Link) { n.servers.Load().Reconnect() },
			Notify:  func(err error) { n.con.say("network: %v", err) },
		})
	}
	return nil
}

// find makes the servers of the site those that are asked.
func (n *network) find() error {
	for _, u := range n.site.urls(n.link) {
		if strings.HasPrefix(u, "http://") {
			n.con.say("%s is not asked: check-ins go by TLS only, want https://", u)
		}
	}
	urls := n.urls(n.link)
	if len(urls) == 0 {
		return errNoServer
	}
	m, err := n.mirrors(urls, n.site.known())
	if err == nil {
		n.servers.Store(m)
	}
	return err
}

// orderPatience is how long an order is waited for. Where somebody may be waiting for Windows, that
// is not long; it is short where no server answered while the network was waited for.
func orderPatience(n *network) time.Duration {
	switch {
	case !n.hurry:
		return n.patience()
	case n.link != nil && n.link.Doubt != nil:
		return min(n.patience(), doubtPatience)
	}
	return min(n.patience(), hurriedPatience)
}

// hurried bounds how long an order is waited for, where that is not full patience.
func (n *network) hurried(ctx context.Context) (context.Context, context.CancelFunc) {
	if !n.hurry {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, orderPatience(n), errHurry)
}

// patience is how long a server that does not answer is asked again.
func (n *network) patience() time.Duration { return cmp.Or(n.o.patience, fullPatience) }

// mirrors are servers that are known as the configuration says.
func (n *network) mirrors(urls []string, known *tls.Config) (*netfetch.Mirrors, error) {
	return netfetch.NewHTTPMirrors(urls, &netfetch.HTTPOptions{
		GiveUpAfter: n.patience(), UserAgent: "troy-deploy/" + version.Get().Short(), OnRetry: n.retrying, TLS: known, Now: n.clock.bounded.Now,
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

// urls are the servers that may be asked in a network.
func (n *network) urls(l *link.Link) []string {
	return slices.DeleteFunc(n.site.urls(l), func(u string) bool { return strings.HasPrefix(u, "http://") })
}

// linkUp waits for a network in which a server answers. Where none does in that time it takes one
// all the same: the servers are asked for a while then, and what is wrong is said.
func (n *network) linkUp(ctx context.Context, patience time.Duration) error {
	o := n.o.Net
	waiting, stop := n.con.wait(ctx, patience, false)
	defer stop()
	say := time.AfterFunc(waitingAfter, func() {
		n.con.say("waiting for the network, up to %.0f s; press W to start Windows now", patience.Seconds())
	})
	defer say.Stop()
	l, err := link.Up(waiting, &link.Options{
		Static: o.Static, Ports: o.Ports, First: o.First, Wait: patience, ResolvConf: "/etc/resolv.conf", Useful: n.reaches,
	})
	if err != nil {
		if errors.Is(context.Cause(waiting), errSkipped) {
			return fmt.Errorf("%w: %w", errSkipped, err)
		}
		return err
	}
	n.link = l
	n.id.Ports = readPorts(netDir) // drivers may have come late
	n.con.say("network: %s has %s after %.1f s", l.Interface, l.Addr, l.Took.Seconds())
	if len(l.Odd) > 0 {
		n.con.say("network: the DHCP server breaks the rules, and is believed all the same: %s", protocol.Clean(strings.Join(l.Odd, "; "), protocol.MaxText))
	}
	if l.Doubt != nil {
		n.con.say("network: %v; going on, for there is no better one", l.Doubt)
	}
	return nil
}

// reaches returns nil if one of the servers answers over the link. Any other web server is none of
// ours: networks for guests have one that answers everything.
func (n *network) reaches(ctx context.Context, l *link.Link) error {
	urls := n.site.urls(l)
	if len(urls) == 0 {
		return errNoServer
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan error, len(urls))
	for _, url := range urls {
		go func() { answers <- alive(ctx, url, l) }()
	}
	var errs []error
	for range urls {
		err := <-answers
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errline.Join(errs...)
}

// alive returns nil if a server of Troy answers.
func alive(ctx context.Context, url string, l *link.Link) error {
	b, err := netfetch.Probe(ctx, url, protocol.PathHealth, l.DNS)
	if err != nil {
		return err
	}
	var is struct {
		Protocol int `json:"protocol"`
	}
	if format.Unmarshal(b, &is) != nil || is.Protocol == 0 {
		return fmt.Errorf("%s is no server of Troy", url)
	}
	return nil
}

// ask asks the servers; the one that answers hears of everything else.
func (n *network) ask(ctx context.Context, in *protocol.CheckIn) (*protocol.Order, error) {
	var answer format.Unknown
	if err := n.servers.Load().PostJSON(ctx, protocol.PathCheckIn, in, &answer); err != nil {
		return nil, err
	}
	out, err := protocol.ReadOrder(answer)
	if err != nil {
		return nil, err
	}
	n.spoken.Store(int64(max(out.Protocol, protocol.Oldest)))
	n.clock.hear(out.Time)
	return out, nil
}

// report gives up soon: the room waits.
func (n *network) report(ctx context.Context, r *protocol.Report) error {
	ctx, cancel := context.WithTimeout(ctx, reportPatience)
	defer cancel()
	return n.servers.Load().PostJSON(ctx, protocol.PathReport, r, nil)
}

// progress tells how far the work is, once a server has answered.
func (n *network) progress(ctx context.Context, phase string, done, total, rate int64) {
	spoken := int(n.spoken.Load())
	if spoken == 0 {
		return
	}
	_ = n.servers.Load().PostJSON(ctx, protocol.PathProgress, &protocol.Progress{
		Protocol: spoken, Machine: n.id, Phase: phase, Done: done, Total: total, Rate: rate,
	}, nil)
}
