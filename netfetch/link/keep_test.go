package link

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"troy/internal/testing/fetchtest"
	"troy/internal/testing/netlab"
	"troy/internal/wait"
	"troy/netfetch"
)

// childFetch is the second half of a child: keep the link, fetch the object in
// parallel chunks, tell its hash.
func childFetch(ctx context.Context, job *childJob, r *childResult, link *Link, say func(string, ...any)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var h *netfetch.Mirrors
	var mu sync.Mutex
	var keeping sync.WaitGroup
	if job.URL != "" {
		var err error
		h, err = netfetch.NewHTTPMirrors(append(strings.Split(job.URL, ","), link.Server), &netfetch.HTTPOptions{Stall: 2 * time.Second,
			GiveUpAfter: time.Minute, MaxBackoff: time.Second,
			OnRetry: func(err error, wait time.Duration) { say("%v; again in %v", err, wait) }},
			&netfetch.MirrorsOptions{OnFailover: func(_, to netfetch.Source, err error) { say("%v; going on with %s", err, to) }})
		if err != nil {
			return err
		}
	}
	if job.Lease > 0 {
		link.Lease, link.renewT, link.rebind = job.Lease, job.Lease/3, job.Lease/3*2
	}
	if job.Keep {
		keeping.Go(func() {
			link.Keep(ctx, &KeepOptions{
				Notify: func(err error) { say("keep: %v", err) },
				Changed: func(l *Link) {
					say("keep: the address is now %v", l.Addr)
					mu.Lock()
					r.Changes = append(r.Changes, l.Addr.String())
					mu.Unlock()
					if h != nil {
						h.Reconnect()
					}
				},
			})
		})
	}
	if h != nil {
		if err := childChunks(ctx, job, r, h); err != nil {
			return err
		}
	}
	wait.For(ctx, job.Linger)
	stop()
	keeping.Wait()
	return nil
}

func childChunks(ctx context.Context, job *childJob, r *childResult, h *netfetch.Mirrors) error {
	begin := time.Now()
	data := make([]byte, job.Size)
	chunks := make(chan int64)
	errs := make(chan error, job.Workers)
	var wg sync.WaitGroup
	for range job.Workers {
		wg.Go(func() {
			for off := range chunks {
				b, err := h.ReadRange(ctx, job.Name, off, min(job.Chunk, job.Size-off))
				if err != nil {
					errs <- err
					return
				}
				copy(data[off:], b)
			}
		})
	}
	var err error
	for off := int64(0); off < job.Size && err == nil; off += job.Chunk {
		select {
		case chunks <- off:
		case err = <-errs:
		}
	}
	close(chunks)
	wg.Wait()
	close(errs)
	for e := range errs {
		err = e
	}
	r.SHA256, r.Stats, r.Fetch = fmt.Sprintf("%x", sha256.Sum256(data)), h.Stats(), time.Since(begin)
	return err
}

// fetchLab is a lab with one port, DHCP, and an object to fetch.
type fetchLab struct {
	*lab
	data []byte
	s    *fetchtest.Server
	web  *http.Server
	job  childJob
}

func newFetchLab(t *testing.T, size int, dhcp ...string) *fetchLab {
	l := &fetchLab{lab: newLab(t), data: fetchtest.Random(t, size)}
	l.Cable(0, true)
	l.DHCP(append([]string{netlab.Range, "--dhcp-option=3", "--dhcp-option=6"}, dhcp...)...)
	l.s = fetchtest.New(fetchtest.Files{"o": l.data})
	l.serve()
	l.job = childJob{Wait: 20 * time.Second, URL: "http://10.77.0.1:8080", Name: "o", Size: int64(size),
		Chunk: 256 << 10, Workers: 4, Keep: true}
	return l
}

// serve starts the HTTP server in the switch's namespace.
func (l *fetchLab) serve() {
	l.t.Helper()
	l.web = &http.Server{Handler: l.s}
	listener := l.Listen("10.77.0.1:8080")
	go l.web.Serve(listener)
	l.t.Cleanup(func() { l.web.Close() })
}

// check compares what the child got, and what it cost.
func (l *fetchLab) check(r childResult, again int64) {
	l.t.Helper()
	l.t.Logf("link %.2fs, fetch %.2fs, %+v, %d bytes sent", r.Took.Seconds(), r.Fetch.Seconds(), r.Stats, l.s.Sent())
	if r.Error != "" {
		l.t.Fatal(r.Error)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256(l.data)); r.SHA256 != want {
		l.t.Errorf("the object arrived wrong")
	}
	if r.Stats.Received > int64(len(l.data))+again {
		l.t.Errorf("%d bytes received for %d", r.Stats.Received, len(l.data))
	}
}

// lose drops one packet in a hundred that a port sends, by a classic BPF program (load a random
// word; below 1/100 of its range: TC_ACT_SHOT): it needs no netem in the kernel.
func (l *fetchLab) lose(ns, port string) {
	l.t.Helper()
	l.In(ns, "tc", "qdisc", "add", "dev", port, "clsact")
	l.In(ns, "tc", "filter", "add", "dev", port, "egress", "bpf", "da", "bytecode",
		fmt.Sprintf("4,32 0 0 %d,53 1 0 %d,6 0 0 2,6 0 0 0", uint32(0xfffff000+56), uint32(1<<32/100)))
}

// TestFetchOverBadLine has 1 % loss in both directions and little bandwidth.
func TestFetchOverBadLine(t *testing.T) {
	l := newFetchLab(t, 16<<20)
	for _, port := range []string{"br0", "p0"} { // real packets, not bundles of 64 KiB
		l.In(l.Switch, "ip", "link", "set", port, "gso_max_segs", "1")
	}
	l.slow()
	l.lose(l.Switch, "p0")
	l.lose(l.PC, "eth0")
	r := l.child(l.job)
	l.check(r, 0)
	stat := l.In(l.Switch, "tc", "-s", "qdisc", "show", "dev", "p0")
	var sent, packets, dropped int64
	_, after, _ := strings.Cut(stat, "clsact")
	_, after, _ = strings.Cut(after, "Sent ")
	if _, err := fmt.Sscanf(after, "%d bytes %d pkt (dropped %d", &sent, &packets, &dropped); err != nil || dropped < 50 {
		t.Errorf("%d packets were lost; this test tested nothing (%v)\n%s", dropped, err, stat)
	}
	t.Logf("%d packets lost", dropped)
}

// TestFetchWithDeadPorts has a port without a cable, one whose network has no DHCP server, and one that works, with neither gateway nor
// name server.
func TestFetchWithDeadPorts(t *testing.T) {
	l := newFetchLab(t, 4<<20)
	l.Cable(1, false)
	l.Cable(2, true)
	l.In(l.Switch, "ip", "link", "set", "p2", "nomaster") // carrier, but nobody there
	r := l.child(l.job)
	l.check(r, 0)
	if r.Link.Interface != "eth0" || r.Link.Gateway.IsValid() || len(r.Link.DNS) != 0 || len(r.Ports) != 3 {
		t.Errorf("link %+v", r.Link)
	}
}

// TestFetchPastDeadServers has two servers on the kernel command line that are gone, one whose address nobody has and one that refuses,
// and the living one in DHCP option 224: the dead cost their patience once.
func TestFetchPastDeadServers(t *testing.T) {
	l := newFetchLab(t, 12<<20, "--dhcp-option=224,10.77.0.1:8080")
	l.slow()
	l.job.URL = "http://10.77.0.99:8080,http://10.77.0.1:8081"
	r := l.child(l.job)
	l.check(r, 0)
	if r.Link.Server != "http://10.77.0.1:8080" {
		t.Errorf("option 224 gave %q", r.Link.Server)
	}
	// 12 MiB take 3 s; the two dead ones cost 4 s each, and are tried again by one stream of four.
	if n := r.Stats.Requests - 48; r.Fetch < 4*time.Second || r.Fetch > 17*time.Second || n > 100 {
		t.Errorf("it took %v and %d requests to the dead servers", r.Fetch, n)
	}
}

// waitSent waits until the server has sent that much.
func (l *fetchLab) waitSent(n int64) {
	l.t.Helper()
	for begin := time.Now(); l.s.Sent() < n; time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > 30*time.Second {
			l.t.Fatalf("the server sent only %d bytes", l.s.Sent())
		}
	}
}

// slow limits what the switch sends to the PC, so that the middle of a download
// lasts long enough to disturb it.
func (l *fetchLab) slow() {
	l.t.Helper()
	l.In(l.Switch, "tc", "qdisc", "add", "dev", "p0", "root", "tbf", "rate", "32mbit", "burst", "64k", "latency", "50ms")
}

// TestFetchOverServerRestart kills the server in mid-way and starts it again.
func TestFetchOverServerRestart(t *testing.T) {
	l := newFetchLab(t, 12<<20)
	l.slow()
	c := l.start(l.job)
	l.waitSent(4 << 20)
	l.web.Close()
	time.Sleep(1500 * time.Millisecond)
	l.serve()
	l.check(c.wait(t), 0)
	// What the server sent in vain was on its way when it was killed: it
	// lies in socket buffers, at most a chunk for each stream.
	if sent := l.s.Sent(); sent > 12<<20+4*256<<10 {
		t.Errorf("the server sent %d bytes for %d", sent, 12<<20)
	}
}

// TestFetchOverLinkFlap pulls the cable for longer than a stall.
func TestFetchOverLinkFlap(t *testing.T) {
	l := newFetchLab(t, 12<<20)
	l.slow()
	c := l.start(l.job)
	l.waitSent(4 << 20)
	l.In(l.Switch, "ip", "link", "set", "p0", "down")
	time.Sleep(5 * time.Second) // two windows of the child's watchdog: one of them saw nothing
	l.In(l.Switch, "ip", "link", "set", "p0", "up")
	r := c.wait(t)
	l.check(r, 0)
	if r.Stats.Stalls == 0 {
		t.Error("no stall was seen: the cable was not out long enough for this test")
	}
}

// TestFetchOverLeaseChange takes the address away in mid-way: the server
// refuses the renewal and gives another one.
func TestFetchOverLeaseChange(t *testing.T) {
	l := &fetchLab{lab: newLab(t), data: fetchtest.Random(t, 20<<20)}
	l.Cable(0, true)
	timers := []string{"--dhcp-option=3", "--dhcp-option=6", "--dhcp-option=58,3", "--dhcp-option=59,5"}
	first := l.DHCP(append(timers, netlab.Range)...)
	l.s = fetchtest.New(fetchtest.Files{"o": l.data})
	l.serve()
	l.slow()
	c := l.start(childJob{Wait: 20 * time.Second, URL: "http://10.77.0.1:8080", Name: "o", Size: 20 << 20,
		Chunk: 256 << 10, Workers: 4, Keep: true, Linger: time.Second})
	l.waitSent(1 << 20)
	first.Stop()
	second := l.DHCP(append(timers, "--dhcp-range=10.77.0.200,10.77.0.210,255.255.255.0,2m")...)
	r := c.wait(t)
	l.check(r, 0)
	if len(r.Changes) != 1 || !strings.HasPrefix(r.Changes[0], "10.77.0.20") && r.Changes[0] != "10.77.0.210/24" {
		t.Errorf("addresses after %v: %v", r.Link.Addr, r.Changes)
	}
	if !strings.Contains(second.Log(), "DHCPNAK") {
		t.Error("the new server refused nothing: this test tested nothing")
	}
	if out := l.In(l.Switch, "ip", "neigh"); !strings.Contains(out, "10.77.0.2") {
		t.Errorf("neighbours of the switch:\n%s", out)
	}
}

// TestKeepRenews lets T1 pass several times; the server must see renewals by unicast and
// give the same address.
func TestKeepRenews(t *testing.T) {
	l := newLab(t)
	l.Cable(0, true)
	dhcp := l.DHCP(netlab.Range, "--dhcp-option=58,3", "--dhcp-option=59,60")
	r := l.child(childJob{Wait: 20 * time.Second, Keep: true, Linger: 7 * time.Second})
	if r.Error != "" || len(r.Changes) != 0 {
		t.Fatalf("error %q, changes %v", r.Error, r.Changes)
	}
	if n := strings.Count(dhcp.Log(), "DHCPACK(br0) "+r.Link.Addr.Addr().String()); n != 3 {
		t.Errorf("the server acknowledged %d times in 7 s with T1 = 3 s, want 3", n)
	}
}

// TestKeepStartsAnew lets the lease run out while no server answers; then
// another one comes.
func TestKeepStartsAnew(t *testing.T) {
	l := newLab(t)
	l.Cable(0, true)
	first := l.DHCP(netlab.Range)
	c := l.start(childJob{Wait: 20 * time.Second, Keep: true, Lease: 3 * time.Second, Linger: 10 * time.Second})
	address := func() bool {
		return strings.Contains(l.In(l.PC, "ip", "-4", "addr", "show", "eth0"), "inet ")
	}
	for begin := time.Now(); !address() && time.Since(begin) < 20*time.Second; {
		time.Sleep(20 * time.Millisecond)
	}
	first.Stop()
	for begin := time.Now(); address(); time.Sleep(100 * time.Millisecond) {
		if time.Since(begin) > 15*time.Second {
			t.Fatal("the address is still there, long after its lease ran out")
		}
	}
	l.DHCP("--dhcp-range=10.77.0.200,10.77.0.250,255.255.255.0,2m")
	r := c.wait(t)
	if r.Error != "" || len(r.Changes) != 1 || !strings.HasPrefix(r.Changes[0], "10.77.0.2") {
		t.Errorf("error %q, addresses after %v: %v", r.Error, r.Link.Addr, r.Changes)
	}
}

// TestUpWaitsForSpanningTree has a switch port with a carrier that passes nothing for 30 s: 15 s of listening, 15 s of learning.
func TestUpWaitsForSpanningTree(t *testing.T) {
	l := newLab(t)
	l.In(l.Switch, "ip", "link", "set", "br0", "type", "bridge", "stp_state", "1", "forward_delay", "1500")
	l.DHCP(netlab.Range)
	l.Cable(0, true)
	r := l.child(childJob{Wait: 60 * time.Second})
	if r.Error != "" || r.Took < 25*time.Second || r.Took > 45*time.Second {
		t.Errorf("error %q, took %v; want 30 s", r.Error, r.Took)
	}
}

// TestUpWaitsForCarrier plugs the cable in after two seconds.
func TestUpWaitsForCarrier(t *testing.T) {
	l := newLab(t)
	l.DHCP(netlab.Range)
	l.Cable(0, false)
	c := l.start(childJob{Wait: 30 * time.Second})
	time.Sleep(2 * time.Second)
	l.In(l.Switch, "ip", "link", "set", "p0", "up")
	if r := c.wait(t); r.Error != "" || r.Took < time.Second || r.Took > 15*time.Second {
		t.Errorf("error %q, took %v; want about 2 s", r.Error, r.Took)
	}
}

// TestUpFindsALatePort adds the port itself while Up runs.
func TestUpFindsALatePort(t *testing.T) {
	l := newLab(t)
	l.DHCP(netlab.Range)
	c := l.start(childJob{Wait: 30 * time.Second})
	time.Sleep(time.Second)
	l.Cable(0, true)
	if r := c.wait(t); r.Error != "" || r.Link.Interface != "eth0" {
		t.Errorf("error %q, port %s", r.Error, r.Link.Interface)
	}
}

// TestUpAsksWhetherUseful has two networks with DHCP; the server is in the
// second, whose DHCP server is the slower one.
func TestUpAsksWhetherUseful(t *testing.T) {
	l := newLab(t)
	l.Cable(0, true)
	l.DHCP(netlab.Range, "--dhcp-option=3") // no gateway: it would know the way to br1
	l.In(l.Switch, "ip", "link", "add", "br1", "type", "bridge")
	l.In(l.Switch, "ip", "addr", "add", "10.88.0.1/24", "dev", "br1")
	l.In(l.Switch, "ip", "link", "set", "br1", "up")
	l.Cable(1, false)
	l.In(l.Switch, "ip", "link", "set", "p1", "master", "br1")
	l.DHCP("--interface=br1", "--except-interface=br0", "--dhcp-range=10.88.0.100,10.88.0.150,255.255.255.0,2m", "--dhcp-option=3")
	defer l.Listen("10.88.0.1:80").Close()
	c := l.start(childJob{Wait: 30 * time.Second, Useful: "10.88.0.1:80"})
	time.Sleep(2 * time.Second)
	l.In(l.Switch, "ip", "link", "set", "p1", "up")
	r := c.wait(t)
	if r.Error != "" || r.Link.Interface != "eth1" {
		t.Fatalf("error %q, port %s, ports %q", r.Error, r.Link.Interface, r.Ports)
	}
	if out := l.In(l.PC, "ip", "-4", "addr", "show", "eth0"); strings.Contains(out, "10.77.") {
		t.Errorf("the port of no use kept its address:\n%s", out)
	}
}
