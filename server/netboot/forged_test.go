package netboot

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"troy/chainload/release"
)

// TestTransfersAreBounded: an address has a share, and one whose client answers gives way to none.
// Of those that never answered the oldest does.
func TestTransfersAreBounded(t *testing.T) {
	s := newServer(t, Options{})
	stopped := 0
	begin := func(a netip.Addr) *unheard {
		u, _ := s.begin(a, func() { stopped++ })
		return u
	}
	a := netip.MustParseAddr("10.0.0.1")
	var last *unheard
	for i := range perAddressMost + 1 {
		u := begin(a)
		if (u != nil) != (i < perAddressMost) {
			t.Errorf("transfer %d: %v", i, u)
		}
		if u != nil {
			s.heard(u)
			last = u
		}
	}
	for i := range transfersMost {
		u := begin(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}))
		if want := i < transfersMost-perAddressMost; (u != nil) != want || stopped != max(0, min(i+1, transfersMost-perAddressMost)-unheardMost) {
			t.Fatalf("address %d: %v, %d stopped", i, u, stopped)
		}
	}
	s.end(last)
	if begin(netip.MustParseAddr("10.0.0.2")) == nil || begin(netip.MustParseAddr("10.0.0.3")) != nil {
		t.Error("one place was given back")
	}
}

// TestForgedTFTP: a client that never answers gets few bytes, and errors no longer than its requests.
func TestForgedTFTP(t *testing.T) {
	addr := serveOn(t, newServer(t, Options{}))
	server, err := net.ResolveUDPAddr("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	hear := func(wait time.Duration) (packets, bytes int) {
		buf := make([]byte, 2000)
		for {
			c.SetReadDeadline(time.Now().Add(wait))
			n, err := c.Read(buf)
			if err != nil {
				return packets, bytes
			}
			packets, bytes = packets+1, bytes+n
		}
	}
	for _, request := range []string{"\x00\x02x\x00octet\x00", "\x00\x01x\x00octet\x00", "\x00\x01x\x00mail\x00", "\x00\x01x\x00\x00", "\x00\x01x", "\x00\x01"} {
		if _, err := c.WriteTo([]byte(request), server); err != nil {
			t.Fatal(err)
		}
		if n, bytes := hear(50 * time.Millisecond); n > 1 || bytes > len(request) {
			t.Errorf("%q is answered by %d bytes", request, bytes)
		}
	}
	for range 50 {
		if _, err := c.WriteTo([]byte("\x00\x01"+release.Shim+"\x00octet\x00"), server); err != nil {
			t.Fatal(err)
		}
	}
	if n, bytes := hear(firstTime / 2); n != unheardEach || bytes != n*(4+blockDefault) {
		t.Errorf("50 requests are answered by %d packets of %d bytes", n, bytes)
	}
}

// TestForgedDHCP: where answers go, and where not.
func TestForgedDHCP(t *testing.T) {
	c := card{self: netip.MustParseAddr("10.77.0.2"), nets: []netip.Prefix{netip.MustParsePrefix("10.77.0.2/24"), netip.MustParsePrefix("192.0.2.4/31")}}
	for _, x := range []struct {
		from  string
		port  int
		to    string
		small bool // the answer is hardly larger than the question
		want  bool
	}{
		{"0.0.0.0:68", PortDHCP, "255.255.255.255:68", false, true},
		{"10.77.0.9:68", PortDHCP, "10.77.0.9:68", false, true},
		{"10.77.0.9:68", PortProxy, "10.77.0.9:68", false, true},
		{"10.77.0.9:4011", PortProxy, "10.77.0.9:4011", false, true},
		{"192.0.2.5:68", PortProxy, "192.0.2.5:68", false, true},
		{"10.99.0.1:67", PortDHCP, "10.99.0.1:67", true, true}, // a relay
		{"10.99.0.9:68", PortProxy, "10.99.0.9:68", true, true},

		{"10.99.0.1:67", PortDHCP, "10.99.0.1:67", false, false},
		{"10.99.0.9:68", PortProxy, "10.99.0.9:68", false, false},
		{"10.77.0.9:53", PortProxy, "10.77.0.9:53", true, false},
		{"10.77.0.9:40000", PortProxy, "10.77.0.9:40000", true, false},
		{"10.77.0.9:67", PortProxy, "10.77.0.9:67", true, false},
		{"10.77.0.9:4011", PortDHCP, "255.255.255.255:68", true, false},
		{"10.77.0.255:68", PortProxy, "10.77.0.255:68", true, false}, // all machines of the network
		{"10.77.0.0:68", PortProxy, "10.77.0.0:68", true, false},
		{"0.0.0.0:68", PortDHCP, "10.77.0.255:68", true, false},
		{"224.0.0.1:68", PortProxy, "224.0.0.1:68", true, false},
		{"127.0.0.1:68", PortProxy, "127.0.0.1:68", true, false},
		{"10.77.0.2:68", PortProxy, "10.77.0.2:68", true, false}, // itself
	} {
		from, to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(x.from)), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(x.to))
		if got := c.mayAsk(from, x.port) && c.mayHear(to, x.small); got != x.want {
			t.Errorf("%s to port %d, answered to %s (small: %v): %v, want %v", x.from, x.port, x.to, x.small, got, x.want)
		}
	}
}

// TestClientsShare: who asks for ever gets its own share of the answers, and all others theirs.
func TestClientsShare(t *testing.T) {
	s, now := newServer(t, Options{}), time.Now()
	rogue, all := net.HardwareAddr{2, 0, 0, 0, 0, 1}, netip.AddrFrom4([4]byte{255, 255, 255, 255})
	n := 0
	for range 10_000 {
		if s.may(rogue, all, now) {
			n++
		}
	}
	if n != clientBurst {
		t.Errorf("one client gets %d answers at once, want %d", n, clientBurst)
	}
	for i := range answersBurst - clientBurst {
		if !s.may(net.HardwareAddr{2, 0, 0, 1, byte(i >> 8), byte(i)}, all, now) {
			t.Fatalf("client %d of a room gets no answer", i)
		}
	}
	if s.may(net.HardwareAddr{2, 0, 0, 2, 0, 0}, all, now) {
		t.Error("broadcasts have no bound in all")
	}
}

// TestNotesAreBounded: one party does not fill the log, nor silence another one.
func TestNotesAreBounded(t *testing.T) {
	told := map[string]int{}
	s := newServer(t, Options{OnNote: func(line string) { told[line]++ }})
	for range 10_000 {
		s.note(netip.MustParseAddr("192.0.2.7"), "a")
	}
	s.note(netip.MustParseAddr("192.0.2.8"), "b")
	if n := told["network boot: a"]; n < notesBurst || n > 2*notesBurst || told["network boot: b"] != 1 {
		t.Errorf("told %v", told)
	}
}

// TestAnswerIsSmall: what firmware asks behind a relay is answered, at the length of the question.
func TestAnswerIsSmall(t *testing.T) {
	s := newServer(t, Options{HTTPPort: 8080})
	// The options that EDK2 asks for, as it asks for them.
	asks := dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionHostName, dhcpv4.OptionBootFileSize,
		dhcpv4.OptionDomainName, dhcpv4.OptionRootPath, dhcpv4.OptionVendorSpecificInformation, dhcpv4.OptionServerIdentifier, dhcpv4.OptionClassIdentifier,
		dhcpv4.OptionTFTPServerName, dhcpv4.OptionBootfileName, dhcpv4.OptionClientMachineIdentifier)
	for class, arch := range map[string]dhcpv4.Modifier{pxeClass: dhcpv4.WithOption(dhcpv4.OptClientArch(7)), "HTTPClient:Arch:00016:UNDI:003001": dhcpv4.WithOption(dhcpv4.OptClientArch(16))} {
		q := question(t, class, 0, arch, asks)
		a := s.answer(q, selfAddr, PortDHCP)
		if a == nil {
			t.Fatal("no answer")
		}
		t.Logf("%s: %d bytes are answered by %d", class, len(q.ToBytes()), len(a.ToBytes()))
		if !small(a.ToBytes(), q.ToBytes()) {
			t.Errorf("%s: the answer is larger than the question", class)
		}
	}
}
