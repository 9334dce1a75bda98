package wake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"troy/internal/testing/needs"
	"troy/internal/testing/netlab"
)

const mac = "52:54:00:12:34:56"

func TestPacket(t *testing.T) {
	p, err := packet(mac)
	if err != nil || len(p) != 102 || !bytes.Equal(p[:6], []byte{255, 255, 255, 255, 255, 255}) {
		t.Fatalf("%x, %v", p, err)
	}
	for i := 6; i < 102; i += 6 {
		if !bytes.Equal(p[i:i+6], []byte{0x52, 0x54, 0, 0x12, 0x34, 0x56}) {
			t.Errorf("at %d: %x", i, p[i:i+6])
		}
	}
	for _, bad := range []string{"", "52:54:00:12:34", "52:54:00:12:34:56:78:9a", "xx"} {
		t.Run(fmt.Sprintf("%q", bad), func(t *testing.T) {
			if _, err := packet(bad); err == nil {
				t.Errorf("%q was taken", bad)
			}
		})
	}
}

func TestBroadcastOf(t *testing.T) {
	for in, want := range map[string]string{"10.2.4.17/24": "10.2.4.255", "10.2.4.17/22": "10.2.7.255", "10.1.2.3/8": "10.255.255.255", "10.0.0.1/30": "10.0.0.3", "10.0.0.1/31": "", "fe80::1/64": ""} {
		t.Run(in, func(t *testing.T) {
			ip, n, err := net.ParseCIDR(in)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := broadcastOf(&net.IPNet{IP: ip, Mask: n.Mask})
			if ok != (want != "") || ok && got.String() != want {
				t.Errorf("%v, want %q", got, want)
			}
		})
	}
}

// TestSend has a host with two ports in a namespace, and a listener behind each in another: every
// machine's packet arrives on both, by the limited and the directed broadcast address.
func TestSend(t *testing.T) {
	needs.Root(t)
	id := fmt.Sprintf("troywake%d", os.Getpid())
	server, room := id+"s", id+"r"
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	for _, ns := range []string{server, room} {
		run("netns", "add", ns)
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
	}
	for i := 1; i <= 2; i++ {
		run("link", "add", fmt.Sprint("s", i), "netns", server, "type", "veth", "peer", "name", fmt.Sprint("r", i), "netns", room)
		run("-n", server, "addr", "add", fmt.Sprintf("10.77.%d.1/24", i), "brd", "+", "dev", fmt.Sprint("s", i))
		run("-n", room, "addr", "add", fmt.Sprintf("10.77.%d.2/24", i), "brd", "+", "dev", fmt.Sprint("r", i))
		run("-n", server, "link", "set", fmt.Sprint("s", i), "up")
		run("-n", room, "link", "set", fmt.Sprint("r", i), "up")
	}
	for ns, port := range map[string]string{server: "s", room: "r"} {
		for i := 1; i <= 2; i++ {
			waitUp(t, ns, fmt.Sprint(port, i))
		}
	}
	type heard struct{ from, mac string }
	got := map[heard]int{}
	var l *net.UDPConn
	err := netlab.Do(room, func() (err error) { l, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 4009}); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = netlab.Do(server, func() error {
		targets := []Target{{MACs: []string{mac}}, {MACs: []string{"52:54:00:00:00:01", "52:54:00:00:00:02"}, Broadcast: []netip.Addr{netip.MustParseAddr("10.77.1.255")}}}
		return (&sender{port: 4009, repeat: 1}).send(context.Background(), targets)
	})
	if err != nil {
		t.Fatal(err)
	}
	const all = 3*2*2 + 2 // three addresses, two ports, both broadcasts; two once more to the address that was named
	buf := make([]byte, 200)
	for i := range all + 1 {
		patience := 20 * time.Second
		if i == all {
			patience = 200 * time.Millisecond // nothing more comes
		}
		if err := l.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		n, from, err := l.ReadFromUDP(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if n == 102 {
			got[heard{from.IP.String(), net.HardwareAddr(buf[96:102]).String()}]++
		}
	}
	for _, m := range []string{mac, "52:54:00:00:00:01", "52:54:00:00:00:02"} {
		for i := 1; i <= 2; i++ {
			want := 2
			if i == 1 && m != mac {
				want = 3 // and once more to the address that was named
			}
			if n := got[heard{fmt.Sprintf("10.77.%d.1", i), m}]; n != want {
				t.Errorf("%s on port %d: %d packets, want %d (%v)", m, i, n, want, got)
			}
		}
	}
}

// waitUp waits until a port has a carrier: packets are dropped before.
func waitUp(t *testing.T, ns, port string) {
	t.Helper()
	for range 1000 {
		out, err := exec.Command("ip", "-n", ns, "-o", "link", "show", port).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if strings.Contains(string(out), "state UP") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s has no carrier", port)
}

func TestErrors(t *testing.T) {
	none := &sender{ports: []string{"none"}}
	if err := none.send(t.Context(), []Target{{MACs: []string{mac}}}); !errors.Is(err, ErrNoWay) {
		t.Errorf("no interface: %v", err)
	}
	local := []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	l, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	none.port, none.repeat = l.LocalAddr().(*net.UDPAddr).Port, 2
	begin := time.Now()
	none.pause = 50 * time.Millisecond
	err = none.send(t.Context(), []Target{{MACs: []string{"bad"}, Broadcast: local}, {MACs: []string{mac}, Broadcast: local}})
	if err == nil || !strings.Contains(err.Error(), "bad") || time.Since(begin) < 50*time.Millisecond {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
	for range 2 {
		buf := make([]byte, 200)
		l.SetReadDeadline(time.Now().Add(2 * time.Second))
		if n, err := l.Read(buf); n != 102 || err != nil {
			t.Errorf("the machine after the bad one: %d bytes, %v", n, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := none.send(ctx, []Target{{MACs: []string{mac}, Broadcast: local}}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
