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
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"troy/internal/testing/needs"
)

const mac = "52:54:00:12:34:56"

func TestPacket(t *testing.T) {
	p, err := Packet(mac)
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
			if _, err := Packet(bad); err == nil {
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

// TestSend has a host with two ports in a namespace, and a listener behind each in another: every machine's packet arrives on both, by the limited and the
// directed broadcast address.
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
	type heard struct{ from, mac string }
	got := map[heard]int{}
	inside(t, room, func() error {
		l, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 4009})
		if err != nil {
			return err
		}
		defer l.Close()
		inside(t, server, func() error {
			targets := []Target{{MACs: []string{mac}}, {MACs: []string{"52:54:00:00:00:01", "52:54:00:00:00:02"}, Broadcast: []netip.Addr{netip.MustParseAddr("10.77.1.255")}}}
			return Send(context.Background(), targets, &Options{Port: 4009, Repeat: 1, Pause: -1})
		})
		buf := make([]byte, 200)
		for {
			if err := l.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
				return err
			}
			n, from, err := l.ReadFromUDP(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil
			}
			if err != nil {
				return err
			}
			if n == 102 {
				got[heard{from.IP.String(), net.HardwareAddr(buf[96:102]).String()}]++
			}
		}
	})
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

// inside runs f in a network namespace.
func inside(t *testing.T, name string, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		ns, err := netns.GetFromName(name)
		if err == nil {
			defer ns.Close()
			err = netns.Set(ns)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestErrors(t *testing.T) {
	none := &Options{Interfaces: []string{"none"}}
	if err := Send(t.Context(), []Target{{MACs: []string{mac}}}, none); !errors.Is(err, ErrNoWay) {
		t.Errorf("no interface: %v", err)
	}
	local := []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	l, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	none.Port, none.Repeat = l.LocalAddr().(*net.UDPAddr).Port, 2
	begin := time.Now()
	none.Pause = 50 * time.Millisecond
	err = Send(t.Context(), []Target{{MACs: []string{"bad"}, Broadcast: local}, {MACs: []string{mac}, Broadcast: local}}, none)
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
	if err := Send(ctx, []Target{{MACs: []string{mac}, Broadcast: local}}, none); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
