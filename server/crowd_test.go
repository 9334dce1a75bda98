package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"troy/internal/testing/fetchtest"
	"troy/internal/testing/netlab"
	"troy/netfetch"
)

// The room of the load tests: the server's port carries an eighth of what one PC's does.
const (
	crowdClients = 64
	crowdLine    = 16_000_000 / 8     // bytes per second
	crowdPort    = "128mbit"          // eight times as much
	crowdShare   = crowdLine * 9 / 10 // Bandwidth of the server: headers take the rest
	crowdChunk   = 32 << 10
	crowdObject  = "objects/ab/ab12.pack" // as in a store
	crowdServer  = "10.77.0.1:8080"
)

// crowd is a room of PCs, each in a network namespace of its own, with a server behind one narrow
// line.
type crowd struct {
	*netlab.Lab
	t       *testing.T
	data    []byte
	log     *fetchtest.Server
	web     *http.Server
	clients []*crowdClient
}

// crowdClient is one PC.
type crowdClient struct {
	h       *netfetch.HTTP
	streams int
	err     error
	sum     string
	done    time.Time
}

// newCrowd makes the room. TROY_SOAK=1 has each PC fetch more.
func newCrowd(t *testing.T) *crowd {
	size := 3 << 17
	if os.Getenv("TROY_SOAK") == "1" {
		size *= 8
	}
	t.Parallel() // these tests mostly wait
	c := &crowd{Lab: netlab.New(t), t: t, data: fetchtest.Random(t, size)}
	c.wire()
	dir := t.TempDir()
	file := filepath.Join(dir, crowdObject)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, c.data, 0o644)); err != nil {
		t.Fatal(err)
	}
	s, err := New(&Options{Dir: dir, Orders: &fixed{}, Bandwidth: crowdShare})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	c.log = fetchtest.New(s)
	for i := range crowdClients {
		h, err := netfetch.NewHTTP("http://"+c.relay(c.name(i))+"/repo/", nil)
		if err != nil {
			t.Fatal(err)
		}
		c.clients = append(c.clients, &crowdClient{h: h, streams: 1 + 3*(i%2)})
		t.Cleanup(h.Reconnect)
	}
	return c
}

func (c *crowd) name(i int) string { return fmt.Sprintf("%s-%d", c.PC, i) }

// wire makes the namespaces, the cables and the limits.
func (c *crowd) wire() {
	c.t.Helper()
	var top, ports, limits strings.Builder
	fmt.Fprintf(&ports, "link set br0 gso_max_segs 1\n") // real packets, not bundles of 64 KiB
	fmt.Fprintf(&limits, "qdisc add dev br0 root tbf rate %d burst 32k latency 100ms\n", crowdLine*8)
	for i := range crowdClients {
		fmt.Fprintf(&top, "netns add %s\nlink add p%d netns %s type veth peer name eth0 netns %s\n", c.name(i), i, c.Switch, c.name(i))
		fmt.Fprintf(&ports, "link set p%d master br0 up\n", i)
		fmt.Fprintf(&limits, "qdisc add dev p%d root tbf rate %s burst 64k latency 100ms\n", i, crowdPort)
		c.t.Cleanup(func() { exec.Command("ip", "netns", "del", c.name(i)).Run() })
	}
	c.batch(top.String(), "ip", "-batch", "-")
	c.batch(ports.String(), "ip", "-n", c.Switch, "-batch", "-")
	c.batch(limits.String(), "tc", "-n", c.Switch, "-batch", "-")
	for i := range crowdClients {
		c.batch(fmt.Sprintf("addr add 10.77.0.%d/24 dev eth0\nlink set eth0 up\n", 10+i), "ip", "-n", c.name(i), "-batch", "-")
	}
}

func (c *crowd) batch(lines, name string, args ...string) {
	c.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(lines)
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// relay gives a local address whose connections go on to the server from inside a namespace, each
// on one of its own.
func (c *crowd) relay(ns string) (addr string) {
	c.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			go join(near, ns)
		}
	}()
	return l.Addr().String()
}

// join connects near with the server until either end closes.
func join(near net.Conn, ns string) {
	defer near.Close()
	var far net.Conn
	err := netlab.Do(ns, func() (err error) { far, err = net.DialTimeout("tcp", crowdServer, 10*time.Second); return err })
	if err != nil {
		return // the client sees a connection that ends
	}
	defer far.Close()
	ended := make(chan struct{}, 2)
	pass := func(to, from net.Conn) { io.Copy(to, from); ended <- struct{}{} }
	go pass(far, near)
	go pass(near, far)
	<-ended
}

// serve starts the server on its port.
func (c *crowd) serve() {
	c.t.Helper()
	c.web = &http.Server{Handler: c.log}
	l := c.Listen(crowdServer)
	go c.web.Serve(l)
	c.t.Cleanup(func() { c.web.Close() })
}

// start lets all PCs fetch the object; the channel is closed when all are through.
func (c *crowd) start(ctx context.Context) <-chan struct{} {
	var wg sync.WaitGroup
	for _, p := range c.clients {
		wg.Go(func() {
			p.sum, p.err = p.fetch(ctx, int64(len(c.data)))
			p.done = time.Now()
		})
	}
	all := make(chan struct{})
	go func() { wg.Wait(); close(all) }()
	return all
}

// fetch gets the object in chunks.
func (p *crowdClient) fetch(ctx context.Context, size int64) (string, error) {
	const chunk = crowdChunk
	data := make([]byte, size)
	offsets := make(chan int64, size/chunk+1)
	for off := int64(0); off < size; off += chunk {
		offsets <- off
	}
	close(offsets)
	errs := make([]error, p.streams)
	var wg sync.WaitGroup
	for s := range p.streams {
		wg.Go(func() {
			for off := range offsets {
				b, err := p.h.ReadRange(ctx, crowdObject, off, min(chunk, size-off))
				if err != nil {
					errs[s] = err
					return
				}
				copy(data[off:], b)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%x", sha256.Sum256(data)), nil
}

// whole fails unless each PC has the object.
func (c *crowd) whole() {
	c.t.Helper()
	want := fmt.Sprintf("%x", sha256.Sum256(c.data))
	for i, p := range c.clients {
		if p.err != nil || p.sum != want {
			c.t.Errorf("PC %d: right bytes %t, %v", i, p.sum == want, p.err)
		}
	}
}

// shares gives the bytes that each PC has received since before (nil = ever), sorted, and the
// counts now.
func (c *crowd) shares(before []int64) (sorted, now []int64) {
	for i, p := range c.clients {
		n := p.h.Stats().Received
		now = append(now, n)
		if before != nil {
			n -= before[i]
		}
		sorted = append(sorted, n)
	}
	slices.Sort(sorted)
	return sorted, now
}

// spread is by how much the largest share is above the smallest.
func spread(sorted []int64) float64 {
	return float64(sorted[len(sorted)-1])/float64(max(1, sorted[0])) - 1
}

// TestCrowdSharesEvenly has 64 PCs fetch at once, every second one with four streams, through a
// line that carries an eighth of what one PC could take. All complete, nothing is fetched twice,
// and whenever one looks, the shares since all were under way are within 20 % of each other.
func TestCrowdSharesEvenly(t *testing.T) {
	c := newCrowd(t)
	c.serve()
	begin := time.Now()
	all := c.start(t.Context())
	sum, base := c.shares(nil)
	for ; sum[0] < crowdChunk; sum, base = c.shares(nil) {
		time.Sleep(20 * time.Millisecond)
		if time.Since(begin) > 30*time.Second {
			t.Fatalf("after 30 s the shares are %v", sum)
		}
	}
	looks := 0
	look := func(last []int64) []int64 {
		sum, now := c.shares(base)
		part, _ := c.shares(last)
		t.Logf("%4.1f s: shares %d … %d … %d bytes, spread %4.1f %%; since the last look %4.1f %%", time.Since(begin).Seconds(),
			sum[0], sum[len(sum)/2], sum[len(sum)-1], 100*spread(sum), 100*spread(part))
		if sum[len(sum)/2] < 3*crowdChunk {
			return now // a turn more or less counts too much
		}
		if spread(sum) > 0.2 {
			t.Errorf("after %v the shares are %v", time.Since(begin), sum)
		}
		looks++
		return now
	}
	through := false // the first PC has all; from then on the others get its share
	for last, at := base, time.Now(); !through; time.Sleep(20 * time.Millisecond) {
		ever, _ := c.shares(nil)
		through = ever[len(ever)-1] == int64(len(c.data))
		if through || time.Since(at) > 2*time.Second {
			last, at = look(last), time.Now()
		}
	}
	<-all
	took := time.Since(begin)
	c.whole()
	first, final := took, time.Duration(0)
	var retries int64
	for _, p := range c.clients {
		first, final = min(first, p.done.Sub(begin)), max(final, p.done.Sub(begin))
		retries += p.h.Stats().Retries
	}
	used := float64(len(c.data)*crowdClients) / took.Seconds() / crowdShare
	t.Logf("%d PCs, %.1f s, the first done after %.1f s, the last after %.1f s, %.0f %% of the bandwidth used", crowdClients,
		took.Seconds(), first.Seconds(), final.Seconds(), 100*used)
	if looks < 2 || used < 0.6 || retries != 0 || c.log.Sent() != int64(len(c.data)*crowdClients) {
		t.Errorf("looked %d times; %d retries, %d bytes sent, %.2f of the bandwidth used", looks, retries, c.log.Sent(), used)
	}
}

// TestCrowdIsNoHerd restarts the server in the middle of that: the PCs come back spread over time,
// and all complete.
func TestCrowdIsNoHerd(t *testing.T) {
	c := newCrowd(t)
	c.serve()
	all := c.start(t.Context())
	for c.log.Sent() < int64(len(c.data)*crowdClients)/4 {
		time.Sleep(20 * time.Millisecond)
	}
	c.web.Close()
	time.Sleep(3 * time.Second)
	before := len(c.log.Requests())
	back := time.Now()
	c.serve()
	<-all
	c.whole()

	const slots = 4                 // in a second
	returned := map[string]bool{}   // connections that were heard of
	comers := make([]int, 30*slots) // of them, in each slot
	requests := make([]int, 30)     // in each second
	streams := crowdClients / 2 * (1 + 4)
	for _, q := range c.log.Requests()[before:] {
		at := min(q.At.Sub(back), 30*time.Second-1)
		requests[at/time.Second]++
		if !returned[q.From] {
			returned[q.From] = true
			comers[at*slots/time.Second]++
		}
	}
	var retries int64
	for _, p := range c.clients {
		retries += p.h.Stats().Retries
	}
	t.Logf("requests in each second after the restart %v; of %d streams came back in each quarter %v; %d retries", trim(requests), streams,
		trim(comers), retries)
	if most := slices.Max(comers); most > streams/2 {
		t.Errorf("%d of %d streams came back within a quarter of a second", most, streams)
	}
	if retries > int64(streams*12) {
		t.Errorf("%d retries of %d streams", retries, streams)
	}
}

// trim leaves out the zeros at the end.
func trim(n []int) []int {
	for len(n) > 0 && n[len(n)-1] == 0 {
		n = n[:len(n)-1]
	}
	return n
}
