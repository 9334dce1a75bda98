package rooms

import (
	"fmt"
	"testing"

	"troy/server/protocol"
)

// TestRefused: machines that do not take what the store has signed (it was restored from an old
// backup) are not to blame. They stop no wave, and try again by themselves until it is signed
// again; then a failure is one.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	w.promote("B204", 2, "none")
	report := func(n int, refused bool) {
		t.Helper()
		err := w.k.Report(t.Context(), peer(n), protocol.Report{Protocol: protocol.Version, ID: fmt.Sprint(n, w.now), Machine: machine(n), Image: "win11", Version: 1,
			Outcome: protocol.OutcomeFailed, ExitCode: 3, Message: "plan: the timestamp is older", Refused: refused})
		if err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(1)
	}
	remembers := func(in *protocol.CheckIn) {
		in.Trusted = &protocol.Trusted{Store: "S", Root: 1, Timestamp: 9, Images: []protocol.Held{{Image: "win11", Version: 3}}}
	}
	for turn := range 2 * triesMost {
		for n := 201; n <= 203; n++ {
			if o := w.checkIn(n, 1, remembers); !begins(&o) {
				t.Fatalf("turn %d: machine %d is given nothing: %q", turn, n, o.Reason)
			}
			report(n, true)
		}
	}
	if h, _, err := w.k.Host(machine(201).Ports[0].MAC); err != nil || h.Error == "" || h.Trusted == nil || h.Trusted.Images[0].Version != 3 {
		t.Errorf("the status shows %+v, %v", h, err)
	}
	for turn := range triesMost {
		if o := w.checkIn(201, 1, remembers); !begins(&o) {
			t.Fatalf("turn %d: a failure counts more than once: %q", turn, o.Reason)
		}
		report(201, false)
	}
	if o := w.checkIn(201, 1, remembers); begins(&o) {
		t.Error("a machine that failed for its own sake is tried without end")
	}
}
