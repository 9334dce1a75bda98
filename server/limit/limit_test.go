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

func TestParty(t *testing.T) {
	for a, want := range map[string]string{
		"10.0.0.1:80": "10.0.0.1", "[::ffff:10.0.0.1]:80": "10.0.0.1", "[2001:db8::1:2:3:4]:80": "2001:db8::", "[2001:db8:0:1::1]:80": "2001:db8:0:1::",
		"[fe80::1%eth0]:80": "fe80::", "[::1]:80": "::1", "127.0.0.2:80": "127.0.0.2", "": "invalid IP", "unix": "invalid IP",
	} {
		if got := PartyOf(a); got.String() != want {
			t.Errorf("%s is %s, want %s", a, got, want)
		}
	}
	l, now := New(1, 1), time.Now()
	if l.Take(netip.MustParseAddr("2001:db8::1"), now) != 0 || l.Take(netip.MustParseAddr("2001:db8::2"), now) == 0 ||
		l.Take(netip.MustParseAddr("2001:db8:0:1::1"), now) != 0 {
		t.Error("addresses are not counted by /64")
	}
}

// TestPlaces: one party gets half, and there is a place for others; the loopback is bound by what
// there is.
func TestPlaces(t *testing.T) {
	p := Places{Most: 8}
	take := func(address string) (n int) {
		for p.Take(netip.MustParseAddr(address)) {
			n++
		}
		return n
	}
	for _, x := range []struct {
		address string
		want    int
	}{{"10.0.0.1", 4}, {"2001:db8::1", 2}, {"2001:db8::2", 0}, {"10.0.0.3", 1}, {"127.0.0.1", 1}, {"10.0.0.4", 0}} {
		if n := take(x.address); n != x.want {
			t.Errorf("%s gets %d places, want %d", x.address, n, x.want)
		}
	}
	for range 4 {
		p.Give(netip.MustParseAddr("10.0.0.1"))
	}
	if p.Taken() != 4 || take("10.0.0.1") != 2 {
		t.Errorf("%d are held", p.Taken())
	}
	p = Places{Most: 8, Each: 2}
	if take("10.0.0.1") != 2 || take("127.0.0.1") != 6 {
		t.Error("the bound of each")
	}
	if p = (Places{}); take("127.0.0.1") != 0 {
		t.Error("the zero value has places")
	}
}

// TestMemoryIsBounded comes from more addresses than there is room for.
func TestMemoryIsBounded(t *testing.T) {
	l, now := New(1, 2), time.Now()
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	passed := 0
	for i := range partiesMost + 1000 {
		if l.Take(at(i), now) == 0 {
			passed++
		}
	}
	if len(l.buckets) != partiesMost || passed != partiesMost+2 {
		t.Errorf("%d buckets, %d passed", len(l.buckets), passed)
	}
	if l.Take(at(0), now) != 0 {
		t.Error("one who was there before is slowed down")
	}
	if l.Take(at(partiesMost+5000), now.Add(time.Minute)) != 0 || len(l.buckets) > 2 {
		t.Errorf("%d buckets after a pause", len(l.buckets))
	}
	for i := range 3 * partiesMost { // one after the other
		if l.Take(at(i), now.Add(time.Hour+time.Duration(i)*time.Second)) != 0 || len(l.buckets) > partiesMost {
			t.Fatalf("address %d; %d buckets", i, len(l.buckets))
		}
	}
}
