package limit

import (
	"net/netip"
	"testing"
	"time"
)

func TestTake(t *testing.T) {
	l, now := New(2, 5), time.Now()
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	for i := range 5 {
		if w := l.Take(a, now); w != 0 {
			t.Fatalf("request %d of the burst waits %v", i, w)
		}
	}
	if w := l.Take(a, now); w != 500*time.Millisecond {
		t.Errorf("after the burst: wait %v, want 0.5 s", w)
	}
	if l.Take(b, now) != 0 {
		t.Error("another address has to wait")
	}
	if l.Take(a, now.Add(500*time.Millisecond)) != 0 || l.Take(a, now.Add(500*time.Millisecond)) == 0 {
		t.Error("half a second gives not one token")
	}
	if l.Take(a, now.Add(-time.Hour)) == 0 {
		t.Error("a clock that goes back gives tokens")
	}
	for range 100 {
		if l.Take(netip.MustParseAddr("::ffff:127.0.0.1"), now) != 0 {
			t.Fatal("the loopback is limited")
		}
	}
}

func TestIPv6BySubnet(t *testing.T) {
	l, now := New(1, 1), time.Now()
	if l.Take(netip.MustParseAddr("2001:db8::1"), now) != 0 || l.Take(netip.MustParseAddr("2001:db8::2"), now) == 0 ||
		l.Take(netip.MustParseAddr("2001:db8:0:1::1"), now) != 0 {
		t.Error("addresses are not counted by /64")
	}
}

func TestPerMachine(t *testing.T) {
	l, now := PerMachine(1, 1), time.Now()
	for _, a := range []string{"2001:db8::1", "2001:db8::2", "127.0.0.1", "::1", "fe80::1%eth0", "fe80::1%eth1"} {
		if l.Take(netip.MustParseAddr(a), now) != 0 || l.Take(netip.MustParseAddr(a), now) == 0 {
			t.Errorf("%s does not count for itself", a)
		}
	}
}

// TestMemoryIsBounded comes from more addresses than there is room for.
func TestMemoryIsBounded(t *testing.T) {
	l, now := New(1, 2), time.Now()
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	passed := 0
	for i := range addressesMost + 1000 {
		if l.Take(at(i), now) == 0 {
			passed++
		}
	}
	if len(l.buckets) != addressesMost || passed != addressesMost+2 {
		t.Errorf("%d buckets, %d passed", len(l.buckets), passed)
	}
	if l.Take(at(0), now) != 0 {
		t.Error("one who was there before is slowed down")
	}
	if l.Take(at(addressesMost+5000), now.Add(time.Minute)) != 0 || len(l.buckets) > 2 {
		t.Errorf("%d buckets after a pause", len(l.buckets))
	}
	for i := range 3 * addressesMost { // one after the other
		if l.Take(at(i), now.Add(time.Hour+time.Duration(i)*time.Second)) != 0 || len(l.buckets) > addressesMost {
			t.Fatalf("address %d; %d buckets", i, len(l.buckets))
		}
	}
}
