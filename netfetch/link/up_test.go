package link

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/internal/testing/netlab"
	"troy/netfetch/params"
)

func TestUpTakesTheLivePort(t *testing.T) {
	l := newLab(t)
	l.Cable(0, false)
	l.Cable(1, true)
	l.DHCP(netlab.Range, "--dhcp-option=3", "--dhcp-option=6", "--dhcp-option=224,troy.example:8080")
	r := l.run(childJob{Wait: 20 * time.Second})
	if r.Error != "" {
		t.Fatal(r.Error)
	}
	if r.Link.Interface != "eth1" || !netip.MustParsePrefix("10.77.0.0/24").Contains(r.Link.Addr.Addr()) {
		t.Errorf("link = %s %v, want eth1 in 10.77.0.0/24", r.Link.Interface, r.Link.Addr)
	}
	if r.Link.Gateway.IsValid() || len(r.Link.DNS) != 0 {
		t.Errorf("gateway %v, DNS %v; the server gave none", r.Link.Gateway, r.Link.DNS)
	}
	if want := "https://troy.example:8080"; r.Link.Server != want {
		t.Errorf("server = %q, want %q", r.Link.Server, want)
	}
	if r.Link.Lease != 2*time.Minute {
		t.Errorf("lease = %v, want 2m", r.Link.Lease)
	}
	if len(r.Ports) != 2 || !strings.Contains(strings.Join(r.Ports, "\n"), "eth0 (") ||
		!strings.Contains(strings.Join(r.Ports, "\n"), "no carrier") {
		t.Errorf("ports = %q", r.Ports)
	}
	if r.Took > 15*time.Second {
		t.Errorf("took %v", r.Took)
	}
}

func TestUpSetsGatewayAndNameServers(t *testing.T) {
	l := newLab(t)
	l.Cable(0, true)
	l.DHCP(netlab.Range, "--dhcp-option=3,10.77.0.1", "--dhcp-option=6,10.77.0.1,10.77.0.2", "--dhcp-option=15,lab.example",
		"--dhcp-option=26,1400")
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	r := l.run(childJob{Wait: 20 * time.Second, Resolv: resolv})
	if r.Error != "" {
		t.Fatal(r.Error)
	}
	if out := l.In(l.PC, "ip", "route"); !strings.Contains(out, "default via 10.77.0.1 dev eth0") {
		t.Errorf("routes:\n%s", out)
	}
	if out := l.In(l.PC, "ip", "addr", "show", "eth0"); !strings.Contains(out, "mtu 1400") || !strings.Contains(out, r.Link.Addr.String()) {
		t.Errorf("address %v, MTU 1400; the port has:\n%s", r.Link.Addr, out)
	}
	got, err := os.ReadFile(resolv)
	if want := "search lab.example\nnameserver 10.77.0.1\nnameserver 10.77.0.2\n"; err != nil || string(got) != want {
		t.Errorf("resolv.conf = %q, %v, want %q", got, err, want)
	}
}

func TestUpSaysWhatItSaw(t *testing.T) {
	l := newLab(t)
	l.Cable(0, false)
	l.Cable(1, true) // a carrier, but no answer
	r := l.run(childJob{Wait: time.Minute, Until: "no DHCP answer to 3 requests"})
	for _, want := range []string{"no wired port gave a useful address", "eth0", "no carrier (cable?)", "eth1", "no DHCP answer to 3 requests"} {
		if !strings.Contains(r.Error, want) {
			t.Errorf("error = %q, want it to say %q", r.Error, want)
		}
	}
}

// TestUpSaysWhichPortsThereAre has a port in the kernel arguments that the machine has not.
func TestUpSaysWhichPortsThereAre(t *testing.T) {
	l := newLab(t)
	l.Cable(0, true)
	r := l.run(childJob{Wait: time.Second, Ports: []params.Port{"eno1"}})
	if want := "none of the wired ports is the one to use (troy.port): eth0 ("; !strings.Contains(r.Error, want) {
		t.Errorf("error %q, want %q", r.Error, want)
	}
}

func TestUpStatic(t *testing.T) {
	l := newLab(t)
	l.Cable(0, false)
	l.Cable(1, true)
	defer l.Listen("10.77.0.1:80").Close()
	r := l.run(childJob{Wait: 10 * time.Second, Useful: "10.77.0.1:80", Static: &params.Static{
		Addr: netip.MustParsePrefix("10.77.0.9/24"), Gateway: netip.MustParseAddr("10.77.0.1")}})
	if r.Error != "" || r.Link.Interface != "eth1" {
		t.Fatalf("error %q, port %s; want eth1", r.Error, r.Link.Interface)
	}
	if out := l.In(l.PC, "ip", "route"); !strings.Contains(out, "default via 10.77.0.1") {
		t.Errorf("routes:\n%s", out)
	}
}

// TestUpWaitsForSpanningTree has a switch port with a carrier that passes nothing for 30 s: 15 s of
// listening, 15 s of learning.
func TestUpWaitsForSpanningTree(t *testing.T) {
	l := newLab(t)
	l.In(l.Switch, "ip", "link", "set", "br0", "type", "bridge", "stp_state", "1", "forward_delay", "1500")
	l.DHCP(netlab.Range)
	l.Cable(0, false)
	c := l.start(childJob{Wait: 60 * time.Second})
	c.says("eth0")
	l.plug(0, true)
	r := c.wait()
	if r.Error != "" || r.Took < 25*time.Second || r.Took > 45*time.Second {
		t.Errorf("error %q, took %v; want 30 s", r.Error, r.Took)
	}
}

// TestUpWaitsForCarrier plugs the cable in when the port was seen without.
func TestUpWaitsForCarrier(t *testing.T) {
	l := newLab(t)
	l.DHCP(netlab.Range)
	l.Cable(0, false)
	c := l.start(childJob{Wait: 30 * time.Second})
	c.says("no carrier (cable?)")
	l.plug(0, true)
	if r := c.wait(); r.Error != "" || r.Took > 15*time.Second {
		t.Errorf("error %q, took %v", r.Error, r.Took)
	}
}

// TestUpFindsALatePort adds the port itself when Up has looked for ports.
func TestUpFindsALatePort(t *testing.T) {
	l := newLab(t)
	l.DHCP(netlab.Range)
	l.Cable(1, false)
	c := l.start(childJob{Wait: 30 * time.Second})
	c.says("eth1")
	l.Cable(0, true)
	if r := c.wait(); r.Error != "" || r.Link.Interface != "eth0" {
		t.Errorf("error %q, port %s", r.Error, r.Link.Interface)
	}
}

// secondNet adds a bridge br1 with 10.88.0.1/24 and a DHCP server of its own to the switch.
func (l *lab) secondNet(dhcp ...string) {
	l.t.Helper()
	l.In(l.Switch, "ip", "link", "add", "br1", "type", "bridge", "stp_state", "0", "forward_delay", "0")
	l.In(l.Switch, "ip", "addr", "add", "10.88.0.1/24", "dev", "br1")
	l.In(l.Switch, "ip", "link", "set", "br1", "up")
	l.DHCP(append([]string{"--interface=br1", "--except-interface=br0", "--dhcp-range=10.88.0.100,10.88.0.150,255.255.255.0,2m", "--dhcp-option=3"}, dhcp...)...)
}

// TestUpAsksWhetherUseful has two networks with DHCP; the server is in the second, whose DHCP server
// is the slower one. The first may have a gateway, which leads nowhere.
func TestUpAsksWhetherUseful(t *testing.T) {
	for _, test := range []struct{ name, gateway, says string }{
		{"no gateway", "--dhcp-option=3", "network is unreachable"},
		{"a gateway that is not there", "--dhcp-option=3,10.77.0.99", "is of no use"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t)
			l.Cable(0, true)
			l.DHCP(netlab.Range, test.gateway, "--dhcp-option=6,10.77.0.1", "--dhcp-option=26,1400")
			l.Cable(1, false)
			l.secondNet("--dhcp-option=6")
			l.In(l.Switch, "ip", "link", "set", "p1", "master", "br1")
			defer l.Listen("10.88.0.1:80").Close()
			resolv := filepath.Join(t.TempDir(), "resolv.conf")
			c := l.start(childJob{Wait: 30 * time.Second, Useful: "10.88.0.1:80", Resolv: resolv})
			c.says(test.says)
			l.plug(1, true)
			r := c.wait()
			if r.Error != "" || r.Link.Interface != "eth1" || r.Doubt != "" {
				t.Fatalf("error %q, doubt %q, port %s, ports %q", r.Error, r.Doubt, r.Link.Interface, r.Ports)
			}
			if out := l.In(l.PC, "ip", "addr", "show", "eth0"); strings.Contains(out, "10.77.") || !strings.Contains(out, "mtu 1500") {
				t.Errorf("the port of no use kept its address, or MTU:\n%s", out)
			}
			if out := l.In(l.PC, "ip", "route"); strings.Contains(out, "default") {
				t.Errorf("the port of no use kept its gateway:\n%s", out)
			}
			if _, err := os.Stat(resolv); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the name servers of the network of no use are still there: %v", err)
			}
		})
	}
}

// TestUpPrefers has two networks with DHCP at once.
func TestUpPrefers(t *testing.T) {
	l := newLab(t)
	l.DHCP(netlab.Range)
	l.secondNet("--dhcp-option=224,10.88.0.1")
	for n := range 3 {
		l.Cable(n, true)
	}
	l.In(l.Switch, "ip", "link", "set", "p1", "master", "br1")
	mac := func(port string) net.HardwareAddr {
		out := strings.Fields(l.In(l.PC, "ip", "-br", "link", "show", port))
		a, err := net.ParseMAC(out[2])
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, test := range []struct {
		name string
		job  childJob
		want string
	}{
		{"the network that names the server", childJob{}, "eth1"},
		{"though the firmware loaded by another", childJob{First: mac("eth2")}, "eth1"},
		{"the port that the firmware loaded by", childJob{First: mac("eth2"), Ports: []params.Port{"eth[02]"}}, "eth2"},
		{"the port with this MAC address", childJob{Ports: []params.Port{params.Port(mac("eth2").String())}}, "eth2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.job.Wait = 20 * time.Second
			if r := l.run(test.job); r.Error != "" || r.Link.Interface != test.want {
				t.Errorf("error %q, port %s, want %s", r.Error, r.Link.Interface, test.want)
			}
			for n := range 3 {
				l.In(l.PC, "ip", "addr", "flush", "dev", fmt.Sprint("eth", n))
			}
		})
	}
}

// TestUpSettles has networks in which the server does not answer. One where it refuses is the right
// one; else every port might still be put into another network.
func TestUpSettles(t *testing.T) {
	const wait, soon = 8 * time.Second, settleTime + uselessAfter + 1*time.Second
	for _, test := range []struct {
		name   string
		useful string
		second bool // port with a carrier that passes nothing
		doubt  string
		least  time.Duration
	}{
		{"it refuses", "10.77.0.1:80", false, "connection refused", 0},
		{"it refuses, and another port may open", "10.77.0.1:80", true, "connection refused", wait},
		{"it cannot be reached", "10.99.0.1:80", false, "network is unreachable", wait},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t)
			l.DHCP(netlab.Range, "--dhcp-option=3")
			l.Cable(0, true)
			l.Cable(1, test.second)
			l.closed(1, true)
			r := l.run(childJob{Wait: wait, Useful: test.useful})
			if r.Error != "" || r.Link.Interface != "eth0" || !strings.Contains(r.Doubt, test.doubt) {
				t.Errorf("error %q, doubt %q, port %s", r.Error, r.Doubt, r.Link.Interface)
			}
			if r.Took < test.least || r.Took > test.least+lastTime || test.least == 0 && r.Took > soon {
				t.Errorf("it took %v", r.Took)
			}
			if out := l.In(l.PC, "ip", "addr", "show", "eth0"); !strings.Contains(out, r.Link.Addr.String()) {
				t.Errorf("the port has not got the address:\n%s", out)
			}
		})
	}
}

// closed has a port of the switch pass nothing, though its carrier is there, as 802.1X and LACP do
// until they are through; or lets it pass everything.
func (l *lab) closed(n int, closed bool) {
	l.t.Helper()
	p := fmt.Sprintf("p%d", n)
	if !closed {
		l.In(l.Switch, "tc", "qdisc", "del", "dev", p, "clsact")
		return
	}
	l.In(l.Switch, "tc", "qdisc", "add", "dev", p, "clsact")
	l.In(l.Switch, "tc", "filter", "add", "dev", p, "ingress", "bpf", "da", "bytecode", "1,6 0 0 2") // TC_ACT_SHOT
}

// TestUpWaitsForAPortThatOpensLate has 802.1X or LACP give up and open the port: its carrier does
// not tell.
func TestUpWaitsForAPortThatOpensLate(t *testing.T) {
	l := newLab(t)
	l.DHCP(netlab.Range)
	l.Cable(0, true)
	l.closed(0, true)
	defer l.Listen("10.77.0.1:80").Close()
	c := l.start(childJob{Wait: time.Minute, Useful: "10.77.0.1:80"})
	c.says("no DHCP answer to 2 requests")
	l.closed(0, false)
	if r := c.wait(); r.Error != "" || r.Doubt != "" || r.Took > 30*time.Second {
		t.Errorf("error %q, doubt %q, took %v", r.Error, r.Doubt, r.Took)
	}
}

// TestUpLeavesTheGuestNetwork has 802.1X put the port into a network for guests first, with a DHCP
// server, and then into the right one. The carrier does not tell. Another port with a carrier is
// dead.
func TestUpLeavesTheGuestNetwork(t *testing.T) {
	l := newLab(t)
	l.DHCP(netlab.Range)
	l.secondNet()
	l.Cable(0, true)
	l.In(l.Switch, "ip", "link", "set", "p0", "master", "br1")
	l.Cable(1, true)
	l.closed(1, true)
	defer l.Listen("10.77.0.1:80").Close()
	c := l.start(childJob{Wait: time.Minute, Useful: "10.77.0.1:80"})
	c.says("is of no use")
	l.In(l.Switch, "ip", "link", "set", "p0", "master", "br0")
	if r := c.wait(); r.Error != "" || r.Doubt != "" || !strings.HasPrefix(r.Link.Addr.String(), "10.77.") {
		t.Errorf("error %q, doubt %q, address %v", r.Error, r.Doubt, r.Link.Addr)
	}
}
