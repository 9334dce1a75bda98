package link

import (
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
	c.says("dial tcp 10.88.0.1:80")
	l.plug(1, true)
	r := c.wait()
	if r.Error != "" || r.Link.Interface != "eth1" {
		t.Fatalf("error %q, port %s, ports %q", r.Error, r.Link.Interface, r.Ports)
	}
	if out := l.In(l.PC, "ip", "-4", "addr", "show", "eth0"); strings.Contains(out, "10.77.") {
		t.Errorf("the port of no use kept its address:\n%s", out)
	}
}
