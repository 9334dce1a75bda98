package link

import (
	"strings"
	"testing"
	"time"

	"troy/internal/testing/netlab"
)

// TestKeepRenews lets T1 pass twice: the server acknowledges the same address three times, and not
// before it is time.
func TestKeepRenews(t *testing.T) {
	l := newLab(t)
	l.Cable(0, true)
	dhcp := l.DHCP(netlab.Range, "--dhcp-option=58,3", "--dhcp-option=59,60")
	begin := time.Now()
	c := l.start(childJob{Wait: 20 * time.Second, Keep: true})
	if !eventually(func() bool { return strings.Count(dhcp.Log(), "DHCPACK(br0)") >= 3 }) {
		t.Error("the lease was not renewed twice")
	}
	took := time.Since(begin)
	r := c.wait()
	if r.Error != "" || len(r.Changes) != 0 {
		t.Fatalf("error %q, changes %v", r.Error, r.Changes)
	}
	n, same := strings.Count(dhcp.Log(), "DHCPACK(br0) "), strings.Count(dhcp.Log(), "DHCPACK(br0) "+r.Link.Addr.Addr().String())
	if n != 3 || same != n || took < 6*time.Second {
		t.Errorf("the server acknowledged %d times, %d times %v, in %v with T1 = 3 s; want 3 in 6 s", n, same, r.Link.Addr, took)
	}
}

// TestKeepStartsAnew lets the lease run out while no server answers; then
// another one comes.
func TestKeepStartsAnew(t *testing.T) {
	l := newLab(t)
	l.Cable(0, true)
	first := l.DHCP(netlab.Range)
	c := l.start(childJob{Wait: 20 * time.Second, Keep: true, Lease: 3 * time.Second})
	address := func() bool {
		return strings.Contains(l.In(l.PC, "ip", "-4", "addr", "show", "eth0"), "inet ")
	}
	if !eventually(address) {
		t.Fatal("the PC has no address")
	}
	first.Stop()
	if !eventually(func() bool { return !address() }) {
		t.Fatal("the address is still there, long after its lease ran out")
	}
	l.DHCP("--dhcp-range=10.77.0.200,10.77.0.250,255.255.255.0,2m")
	c.says("the address is now")
	r := c.wait()
	if r.Error != "" || len(r.Changes) != 1 || !strings.HasPrefix(r.Changes[0], "10.77.0.2") {
		t.Errorf("error %q, addresses after %v: %v", r.Error, r.Link.Addr, r.Changes)
	}
}
