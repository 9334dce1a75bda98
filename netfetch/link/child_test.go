package link

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"troy/netfetch"
	"troy/netfetch/params"
)

// childEnv holds a childJob for a test binary started inside a namespace.
const childEnv = "LINK_TEST_CHILD"

// childJob is what a child does: bring the link up and, with a URL, fetch the object "o".
type childJob struct {
	Wait   time.Duration
	Until  string // give up when this was said of a port; "" = never
	Static *params.Static
	Ports  []params.Port
	First  net.HardwareAddr
	Useful string // address that must take a connection; "" = none
	Resolv string
	URL    string        // servers, with commas
	Size   int64         // of the object
	Keep   bool          // renew the lease until the job is done and stdin was closed
	Lease  time.Duration // > 0: the lease is taken to be this short
}

// childResult is what it tells.
type childResult struct {
	Error   string
	Doubt   string // Link.Doubt
	Link    Link
	Took    time.Duration
	Ports   []string
	SHA256  string
	Stats   netfetch.Stats
	Changes []string // addresses that Keep told of
	Fetch   time.Duration
}

// The child fetches this much at a time, over so many streams.
const (
	childChunk   = 256 << 10
	childStreams = 4
)

// childMain is the child's side.
func childMain(text string) int {
	var job childJob
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	c := &childRun{job: job, begin: time.Now()}
	if err := c.run(); err != nil {
		c.r.Error = err.Error()
	}
	b, err := json.Marshal(c.r)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Stdout.Write(b)
	return 0
}

// childRun is a job under way.
type childRun struct {
	job   childJob
	begin time.Time
	r     childResult
}

func (c *childRun) say(format string, a ...any) {
	fmt.Fprintf(os.Stderr, "%6.2fs "+format+"\n", append([]any{time.Since(c.begin).Seconds()}, a...)...)
}

// run brings the link up, keeps it, and fetches.
func (c *childRun) run() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	l, err := c.up(ctx)
	if err != nil {
		return err
	}
	if l.Doubt != nil {
		c.r.Doubt, l.Doubt = l.Doubt.Error(), nil
	}
	c.r.Link, c.r.Took = *l, l.Took
	if c.job.Lease > 0 {
		l.Lease, l.renewT, l.rebind = c.job.Lease, c.job.Lease/3, c.job.Lease/3*2
	}
	var m *netfetch.Mirrors
	if c.job.URL != "" {
		if m, err = c.mirrors(append(strings.Split(c.job.URL, ","), l.Server)); err != nil {
			return err
		}
	}
	keep, stop := context.WithCancel(ctx)
	var keeping sync.WaitGroup
	if c.job.Keep {
		keeping.Go(func() { c.keep(keep, l, m) })
	}
	if m != nil {
		err = c.fetch(ctx, m)
	}
	io.Copy(io.Discard, os.Stdin) // until the test has seen what it waits for
	stop()
	keeping.Wait()
	return err
}

func (c *childRun) up(ctx context.Context) (*Link, error) {
	ctx, giveUp := context.WithCancel(ctx)
	defer giveUp()
	o := &Options{Wait: c.job.Wait, Static: c.job.Static, Ports: c.job.Ports, First: c.job.First, ResolvConf: c.job.Resolv}
	o.notify = func(p Port) {
		c.say("%v", p)
		if c.job.Until != "" && strings.Contains(p.String(), c.job.Until) {
			giveUp()
		}
	}
	if c.job.Useful != "" {
		o.Useful = func(ctx context.Context, _ *Link) error {
			d := net.Dialer{Timeout: 5 * time.Second}
			conn, err := d.DialContext(ctx, "tcp", c.job.Useful)
			if err == nil {
				conn.Close()
			}
			return err
		}
	}
	l, err := Up(ctx, o)
	var seen []Port
	var le *Error
	if errors.As(err, &le) {
		seen = le.Ports
	} else {
		seen = l.ports
	}
	for _, p := range seen {
		c.r.Ports = append(c.r.Ports, p.String())
	}
	return l, err
}

func (c *childRun) mirrors(urls []string) (*netfetch.Mirrors, error) {
	return netfetch.NewHTTPMirrors(urls, &netfetch.HTTPOptions{GiveUpAfter: time.Minute,
		OnRetry: func(err error, wait time.Duration) { c.say("%v; again in %v", err, wait) }},
		&netfetch.MirrorsOptions{OnFailover: func(_, to netfetch.Source, err error) { c.say("%v; continuing with %s", err, to) }})
}

func (c *childRun) keep(ctx context.Context, l *Link, m *netfetch.Mirrors) {
	l.Keep(ctx, &KeepOptions{
		Notify: func(err error) { c.say("keep: %v", err) },
		Changed: func(l *Link) {
			c.r.Changes = append(c.r.Changes, l.Addr.String())
			if m != nil {
				m.Reconnect()
			}
			c.say("keep: the address is now %v", l.Addr)
		},
	})
}

// fetch reads the object and notes its hash.
func (c *childRun) fetch(ctx context.Context, m *netfetch.Mirrors) error {
	begin := time.Now()
	data := make([]byte, c.job.Size)
	offsets := make(chan int64, c.job.Size/childChunk+1)
	for off := int64(0); off < c.job.Size; off += childChunk {
		offsets <- off
	}
	close(offsets)
	errs := make([]error, childStreams)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for off := range offsets {
				b, err := m.ReadRange(ctx, "o", off, min(childChunk, c.job.Size-off))
				if err != nil {
					errs[i] = err
					return
				}
				copy(data[off:], b)
			}
		})
	}
	wg.Wait()
	c.r.SHA256, c.r.Stats, c.r.Fetch = fmt.Sprintf("%x", sha256.Sum256(data)), m.Stats(), time.Since(begin)
	c.say("fetched in %v", c.r.Fetch)
	return errors.Join(errs...)
}
