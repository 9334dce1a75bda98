package rooms

import (
	"errors"
	"strings"
	"testing"

	"troy/server/protocol"
)

// TestEndSetup: an order about setup is for one machine and the version it holds, comes until it is
// answered, and waits with leaving a setup for the version that is to come in its place.
func TestEndSetup(t *testing.T) {
	w := newWorld(t)
	pending := func(in *protocol.CheckIn) {
		in.Setup, in.Manifest = protocol.SetupPending, strings.Repeat("1", protocol.HashSize)
	}
	w.promote("B204", 1, "none")
	w.checkIn(202, 1, nil)
	w.checkIn(201, 1, pending)
	if _, err := w.k.EndSetup(w.id(202), false); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "win11 version 1") {
		t.Errorf("not pending: %v", err)
	}
	if _, err := w.k.EndSetup("nobody", false); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
	order := func(leave bool) {
		t.Helper()
		if of, err := w.k.EndSetup(w.id(201), leave); err != nil || of.Version != 1 {
			t.Fatalf("%v, %v", of, err)
		}
	}
	ordered := func(version int, want bool, change func(*protocol.CheckIn)) *protocol.EndSetup {
		t.Helper()
		o := w.checkIn(201, version, change)
		if (o.EndSetup != nil) != want {
			t.Fatalf("version %d: order %+v, want one: %t", version, o.EndSetup, want)
		}
		return o.EndSetup
	}
	answer := func(id string) {
		t.Helper()
		r := protocol.Report{Protocol: protocol.Version, ID: "r" + id, Machine: machine(201), Image: "win11", Version: 1, Outcome: protocol.OutcomeKept, EndSetup: id}
		if err := w.k.Report(t.Context(), peer(201), r); err != nil {
			t.Fatal(err)
		}
	}
	order(true) // the room has the same version: setup begins again
	first := ordered(1, true, pending)
	answer("another")
	if again := ordered(1, true, pending); again.ID != first.ID || !again.Leave {
		t.Errorf("repeated as %+v", again)
	}
	answer(first.ID)
	ordered(1, false, pending)

	w.promote("B204", 2, "none")
	if err := w.k.Stop("B204", "for a test"); err != nil {
		t.Fatal(err)
	}
	order(true) // waits, for version 2 is not ordered now
	ordered(1, false, pending)
	order(false) // does not wait
	if e := ordered(1, true, pending); e.Leave {
		t.Errorf("the order before it comes: %+v", e)
	}
	order(true)
	if err := w.k.Stop("B204", ""); err != nil {
		t.Fatal(err)
	}
	ordered(1, true, pending)
	ordered(2, false, nil)     // it has another version by now
	ordered(1, false, pending) // so that the order is gone
}
