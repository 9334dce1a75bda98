package rooms

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"troy/server/protocol"
)

// pinnedLab has room B204 at version 5.
var pinnedLab = strings.Replace(labText, "B204: {after: test,", "B204: {version: 5,", 1)

// TestStop: a stop holds for a whole room, by whatever its machines have their version, and a
// promotion ends it; where there is nothing to stop or to continue, that is said.
func TestStop(t *testing.T) {
	for name, lab := range map[string]string{"pinned room": pinnedLab, "promoted": labText} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.useLab(lab)
			w.promote("B204", 5, "none")
			if err := w.k.Stop("B204", "the image is bad"); err != nil {
				t.Fatal(err)
			}
			w.restart()
			for n, v := range map[int]int{201: 4, 205: 1} { // 205 is pinned by itself
				if o := w.checkIn(n, v, nil); begins(&o) || !strings.Contains(o.Reason, "stopped: the image is bad") {
					t.Errorf("%d: %+v", n, o)
				}
			}
			if woken := w.tick(0); woken != "" {
				t.Errorf("woken: %s", woken)
			}
			if r := w.room("B204"); r.Stopped != "the image is bad" || !strings.Contains(r.Why, "the image is bad") {
				t.Errorf("%+v", r)
			}
			if err := w.k.Stop("B204", ""); err != nil {
				t.Fatal(err)
			}
			if o := w.checkIn(201, 4, nil); !begins(&o) {
				t.Errorf("after it: %+v", o)
			}
			if err := w.k.Stop("B204", "again"); err != nil {
				t.Fatal(err)
			}
			w.promote("B204", 5, "none")
			if r := w.room("B204"); r.Why != "" {
				t.Errorf("promoted again: %+v", r)
			}
		})
	}
	w := newWorld(t)
	if err := w.k.Stop("B204", "no"); err != nil { // b204-5 is pinned
		t.Errorf("a room with nothing but a pinned host: %v", err)
	}
	for _, room := range []string{"B205", "B999"} {
		if err := w.k.Stop(room, "no"); !errors.Is(err, ErrNotFound) {
			t.Errorf("nothing to stop in %s: %v", room, err)
		}
	}
}

// TestFailedPins: a room that lab.yaml pins and that failures stopped goes on when the same version
// is promoted once more; to continue it would do nothing, and says so.
func TestFailedPins(t *testing.T) {
	w := newWorld(t)
	w.useLab(pinnedLab)
	for _, n := range []int{201, 202} {
		w.checkIn(n, 4, nil)
		w.report(n, 4, protocol.OutcomeFailed, "fetch: the switch was off")
	}
	if o := w.checkIn(203, 4, nil); begins(&o) {
		t.Fatalf("%+v", o)
	}
	if err := w.k.Stop("B204", ""); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "nobody stopped room B204, 2 machines failed there; promote win11@5 once more") {
		t.Errorf("continue: %v", err)
	}
	if _, err := w.k.Promote(t.Context(), Promotion{Room: "B204", Version: 6}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "pins room B204 to win11 version 5") {
		t.Errorf("another version than the pinned one: %v", err)
	}
	if _, err := w.k.Promote(t.Context(), Promotion{Room: "B204", Version: 5, Retry: true}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{201, 203} {
		if o := w.checkIn(n, 4, nil); !begins(&o) || !o.Permits.Retry {
			t.Errorf("%d: %+v", n, o)
		}
	}
}

// TestPinnedHostIsWoken: it needs no promotion and no open gate.
func TestPinnedHostIsWoken(t *testing.T) {
	w := newWorld(t)
	w.wantWoken(0, "b204-5")
	w.promote("B204", 4, "test")
	w.wantWoken(wakeAgain, "b204-5")
	w.checkIn(205, 1, nil)
	w.report(205, 3, protocol.OutcomeDone, "")
	w.wantWoken(2*time.Hour, "b204-5") // to merge
	w.checkIn(205, 3, healthy)
	w.wantWoken(2*time.Hour, "")
}

// TestImageOfHost: a host with an image of its own follows its room where that gets this image.
func TestImageOfHost(t *testing.T) {
	for _, x := range []struct {
		name, host, room string
		promoted         int
		want             int // 0 = nothing
	}{
		{"another image", "image: win10", labText, 4, 0},
		{"the same image", "image: win11", labText, 4, 4},
		{"nothing promoted", "image: win11", labText, 0, 0},
		{"a pinned room of the same image", "image: win11", pinnedLab, 0, 5},
		{"a pinned room of another image", "image: win10", pinnedLab, 0, 0},
		{"pinned with an image", "image: win10, version: 2", labText, 4, 2},
		{"pinned", "version: 2", labText, 4, 2},
	} {
		w := newWorld(t)
		w.useLab(strings.Replace(x.room, `"52:54:00:00:02:01"}`, `"52:54:00:00:02:01", `+x.host+`}`, 1))
		if x.promoted > 0 {
			w.promote("B204", x.promoted, "none")
		}
		if h, _, err := w.k.Host("b204-1"); err != nil || h.WantVersion != x.want {
			t.Errorf("%s: %+v, %v", x.name, h, err)
		}
	}
}

// TestCallsHoldPlaces: machines that were called and may be starting count in the wave; those that
// do not answer are called in turn.
func TestCallsHoldPlaces(t *testing.T) {
	w := newWorld(t)
	text := labText
	for i := range 20 {
		text += fmt.Sprintf("  - {name: x-%02d, room: B204, mac: \"52:54:00:01:00:%02x\"}\n", i, i)
	}
	w.useLab(text)
	w.checkIn(205, 3, healthy)
	w.promote("B204", 2, "none") // 24 machines, wave 2
	called := map[string]bool{}
	for range 6 * 60 { // an hour, as Run ticks
		names := strings.Fields(w.tick(tickTime))
		if len(names) > 2 {
			t.Fatalf("%v are called at once", names)
		}
		for _, name := range names {
			called[name] = true
		}
	}
	if len(called) != 24 {
		t.Errorf("%d of 24 machines are called in an hour: %v", len(called), called)
	}
}

// held is a Waker that does not come to an end before it is let go.
type held struct {
	calls
	free chan struct{}
}

func (h *held) Wake(ctx context.Context, list []Call) error {
	<-h.free
	return h.calls.Wake(ctx, list)
}

// TestWakeNowReturns: calls go out in the background, each machine is in the queue once, and a
// server that ends waits only for those that are being called.
func TestWakeNowReturns(t *testing.T) {
	w := newWorld(t)
	text := labText
	for i := range 200 {
		text += fmt.Sprintf("  - {name: x-%03d, room: B204, mac: \"52:54:00:01:00:%02x\"}\n", i, i)
	}
	w.useLab(text)
	h := &held{free: make(chan struct{})}
	w.k.o.Waker = h
	for range 3 {
		if n, err := w.k.WakeNow("B204", ""); n != 205 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	close(h.free)
	w.k.caller.work.Wait()
	// Those of which the Waker was told before the second request are called once more.
	if n := len(h.names); n < 205 || n > 205+callsAtOnce {
		t.Errorf("%d calls", n)
	}
	h.names, h.free = nil, make(chan struct{})
	if _, err := w.k.WakeNow("B204", ""); err != nil {
		t.Fatal(err)
	}
	close(h.free)
	w.k.caller.close()
	if n := len(h.names); n > 205 {
		t.Errorf("%d calls by a server that ends", n)
	}
	w.k.caller.add([]Call{{MACs: []string{"52:54:00:00:00:01"}}})
	if n := len(h.names); n > 205 {
		t.Error("a call after the end")
	}
}
