package rooms

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"troy/server/protocol"
	"troy/server/state"
)

// hash is how fixedSizes names a version.
func hash(version int) string { return strings.Repeat(strconv.Itoa(version), protocol.HashSize) }

// A machine with another content under the number that is wanted does not have the version: it takes
// no start slot, waits for a permission, and is shown as such.
func TestAnotherVersion(t *testing.T) {
	w := newWorld(t)
	w.promote("test", 2, "none")
	for version := 1; version <= 2; version++ {
		o := w.checkIn(1, version, func(in *protocol.CheckIn) { in.Manifest = hash(7) })
		if begins(&o) || !strings.Contains(o.Reason, "another win11 version") || o.Want == nil || o.Want.Manifest != hash(2) {
			t.Errorf("version %d: %+v", version, o)
		}
		if h := w.k.Hosts("test")[0]; !h.Another || h.Phase == PhaseCurrent {
			t.Errorf("version %d: %+v", version, h)
		}
	}
	if o := w.checkIn(1, 2, func(in *protocol.CheckIn) { in.Manifest = hash(2) }); !strings.Contains(o.Reason, "has this version") {
		t.Errorf("%+v", o)
	}
}

// An order to verify waits for the window and outlives a restart; a report answers it, one to adopt
// once the machine is adopted.
func TestVerifyOrder(t *testing.T) {
	w := newWorld(t)
	w.promote("B204", 2, "none")
	same := func(in *protocol.CheckIn) { in.Manifest = hash(2) }
	w.checkIn(201, 2, same)
	if _, err := w.k.Verify("", "nobody", false); !errors.Is(err, ErrNotFound) {
		t.Errorf("a machine that is not there: %v", err)
	}
	for i, adopt := range []bool{false, true} {
		if n, err := w.k.Verify("B204", "", adopt); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		w.restart()
		w.now = at(t, "22 12:00")
		if o := w.checkIn(201, 2, same); o.Verify != nil {
			t.Errorf("outside of the window: %+v", o)
		}
		w.now = at(t, "22 23:00")
		o := w.checkIn(201, 2, same)
		if o.Verify == nil || o.Verify.Adopt != adopt {
			t.Fatalf("%+v", o)
		}
		r := protocol.Report{Protocol: protocol.Version, ID: strconv.Itoa(i), Machine: machine(201), Image: "win11", Version: 2, Manifest: hash(2), Outcome: protocol.OutcomeKept,
			Verified: &protocol.Verified{ID: o.Verify.ID, With: *o.Want, Differ: 3 << 20, Where: "at 4 MiB (3 MiB)"}}
		if err := w.k.Report(t.Context(), peer(201), r); err != nil {
			t.Fatal(err)
		}
		if h := w.k.Hosts("B204")[0]; h.Verifying != adopt || h.Verified == nil || !strings.Contains(h.Attention, "differs from win11 version 2 in 3 MiB") || h.Last.Result != state.ResultDone {
			t.Errorf("%+v", h)
		}
		if c := w.room("B204").Compared; c.Equal != 0 || (c.Ordered == 1) != adopt {
			t.Errorf("%+v", c)
		}
	}
	o := w.checkIn(201, 2, same)
	r := protocol.Report{Protocol: protocol.Version, ID: "9", Machine: machine(201), Image: "win11", Version: 2, Manifest: hash(2), Outcome: protocol.OutcomeDone,
		Verified: &protocol.Verified{ID: o.Verify.ID, With: *o.Want, Differ: 3 << 20, Adopted: true}}
	if err := w.k.Report(t.Context(), peer(201), r); err != nil {
		t.Fatal(err)
	}
	if h := w.k.Hosts("B204")[0]; h.Verifying || h.Attention != "" {
		t.Errorf("adopted: %+v", h)
	}
	if c := w.room("B204").Compared; c.Equal != 1 || c.Ordered != 0 || !c.Since.Equal(w.now) {
		t.Errorf("adopted: %+v", c)
	}
	w.now = w.now.Add(time.Minute)
	w.checkIn(201, 1, func(in *protocol.CheckIn) { in.Manifest = hash(1) })
	if c := w.room("B204").Compared; c.Equal != 0 {
		t.Errorf("another version than the one that was compared: %+v", c)
	}
}
