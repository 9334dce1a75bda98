package link

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"troy/internal/testing/fetchtest"
	"troy/internal/testing/netlab"
)

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
	l.job = childJob{Wait: 20 * time.Second, URL: "http://10.77.0.1:8080", Size: int64(size), Keep: true}
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
	r := l.run(l.job)
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

// TestFetchWithDeadPorts has a port without a cable, one whose network has no DHCP server, and one
// that works, with neither gateway nor name server.
func TestFetchWithDeadPorts(t *testing.T) {
	l := newFetchLab(t, 4<<20)
	l.Cable(1, false)
	l.Cable(2, true)
	l.In(l.Switch, "ip", "link", "set", "p2", "nomaster") // carrier, but no server there
	r := l.run(l.job)
	l.check(r, 0)
	if r.Link.Interface != "eth0" || r.Link.Gateway.IsValid() || len(r.Link.DNS) != 0 || len(r.Ports) != 3 {
		t.Errorf("link %+v", r.Link)
	}
}

// TestFetchPastDeadServers has two servers on the kernel command line that are gone, one whose
// address no machine has and one that refuses, and the living one in DHCP option 224: the dead ones
// cost their patience once.
func TestFetchPastDeadServers(t *testing.T) {
	l := newFetchLab(t, 12<<20, "--dhcp-option=224,http://10.77.0.1:8080")
	l.slow()
	l.job.URL = "http://10.77.0.99:8080,http://10.77.0.1:8081"
	r := l.run(l.job)
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
	if !eventually(func() bool { return l.s.Sent() >= n }) {
		l.t.Fatalf("the server sent only %d bytes", l.s.Sent())
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
	c.says("connection refused")
	l.serve()
	l.check(c.wait(), 0)
	// What the server sent in vain was on its way when it was killed: it
	// lies in socket buffers, at most a chunk for each stream.
	if sent := l.s.Sent(); sent > 12<<20+childStreams*childChunk {
		t.Errorf("the server sent %d bytes for %d", sent, 12<<20)
	}
}

// TestFetchOverLinkFlap pulls the cable for longer than a stall.
func TestFetchOverLinkFlap(t *testing.T) {
	l := newFetchLab(t, 12<<20)
	l.slow()
	c := l.start(l.job)
	l.waitSent(4 << 20)
	l.plug(0, false)
	c.says("the server went silent")
	l.plug(0, true)
	r := c.wait()
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
	c := l.start(childJob{Wait: 20 * time.Second, URL: "http://10.77.0.1:8080", Size: 20 << 20, Keep: true})
	l.waitSent(1 << 20)
	first.Stop()
	second := l.DHCP(append(timers, "--dhcp-range=10.77.0.200,10.77.0.210,255.255.255.0,2m")...)
	c.says("the address is now")
	r := c.wait()
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
