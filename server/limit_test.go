package server

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"troy/server/protocol"
)

func TestLimiter(t *testing.T) {
	l, now := newLimiter(2), time.Unix(1000, 0)
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	taken := 0
	for range 100 {
		if l.Take(a, now) == 0 {
			taken++
		}
	}
	if taken != 20 || l.Take(b, now) != 0 {
		t.Errorf("%d calls at once, want 20, and others are not held up", taken)
	}
	if l.Take(a, now.Add(400*time.Millisecond)) == 0 || l.Take(a, now.Add(600*time.Millisecond)) != 0 {
		t.Error("a call comes back after half a second")
	}
	if rare := newLimiter(0.01); rare.Take(a, now) != 0 || rare.Take(a, now) == 0 {
		t.Error("a rate below one call in ten seconds does not begin with one call")
	}
	if newLimiter(0) != nil {
		t.Error("no limit limits")
	}
}

// TestRefused: what is not taken is told, and a flood of check-ins is answered 429 while the store
// is still served.
func TestRefused(t *testing.T) { synctest.Test(t, testRefused) }

func testRefused(t *testing.T) {
	dir, _ := store(t)
	refused := make(chan error, 1000)
	c := newServerInMemory(t, Options{Dir: dir, CallsPerSecond: 1, OnRefused: func(address, path string, err error) {
		if address != "10.0.0.1" || path != "/"+protocol.PathCheckIn {
			t.Errorf("refused %s %s", address, path)
		}
		refused <- err
	}})
	post := func(body string) *http.Response {
		t.Helper()
		r, err := c.Post(inMemory+"/"+protocol.PathCheckIn, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		return r
	}
	if r := post("{"); r.StatusCode != http.StatusBadRequest || len(refused) != 1 || <-refused == nil {
		t.Errorf("%s", r.Status)
	}
	many := 0
	for range 30 {
		if r := post("{}"); r.StatusCode == http.StatusTooManyRequests && r.Header.Get("Retry-After") != "" {
			many++
		}
	}
	if many != 21 || len(refused) != 30 { // ten at once, of which one was refused above
		t.Errorf("%d of 30 calls were too many, %d told", many, len(refused))
	}
	for range 29 {
		<-refused
	}
	if err := <-refused; !errors.Is(err, errTooMany) {
		t.Errorf("%v", err)
	}
	r, err := c.Get(inMemory + "/repo/store.json")
	if err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("the store: %v, %v", r, err)
	}
	if err == nil {
		r.Body.Close()
	}
}
