package rooms

import (
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"troy/server/protocol"
	"troy/server/state"
)

// hash is how fixedSizes names a version.
func hash(version int) string { return strings.Repeat(strconv.Itoa(version), protocol.HashSize) }

// A machine with another content under the number that is wanted does not have the version: it
// takes no start slot, waits for a permission, and is shown as such.
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
		if h := w.k.Hosts("B204")[0]; h.Verifying != adopt || h.Verified == nil || !strings.Contains(h.Attention, "differs from win11 version 2 in 3 MiB") || w.state.Get(h.ID).Verify == nil == adopt {
			t.Errorf("%+v", h)
		}
		if c := w.room("B204").Compared; c.Equal != 0 || c.Differ != 1 || (c.Ordered == 1) != adopt {
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

// TestWakeToVerify: machines that are to be compared are woken in the window, after those that need
// their version, no more than there are start slots; one that has had its try is not called again
// in that night, unless another order came.
func TestWakeToVerify(t *testing.T) {
	w := newWorld(t)
	w.promote("B204", 2, "none")
	done := func(in *protocol.CheckIn) { in.Manifest, in.Health = hash(2), protocol.HealthGood }
	for n := 201; n <= 204; n++ {
		w.checkIn(n, 1, nil)
		w.report(n, 2, protocol.OutcomeDone, "")
		w.checkIn(n, 2, done)
	}
	order := func(host string) {
		t.Helper()
		if _, err := w.k.Verify("B204", host, false); err != nil {
			t.Fatal(err)
		}
	}
	order("")
	w.now = at(t, "22 12:00")
	w.wantWoken(0, "")
	w.now = at(t, "22 22:00")
	w.wantWoken(0, "b204-1 b204-5") // 5 never had the version; two slots
	w.wantWoken(6*time.Minute, "b204-2 b204-3")
	o := w.checkIn(202, 2, done)
	if o.Verify == nil {
		t.Fatalf("%+v", o)
	}
	verified := func(o *protocol.Order) {
		t.Helper()
		err := w.k.Report(t.Context(), peer(202), protocol.Report{Protocol: protocol.Version, ID: o.Verify.ID, Machine: machine(202), Image: "win11", Version: 2, Manifest: hash(2),
			Outcome: protocol.OutcomeKept, Verified: &protocol.Verified{ID: o.Verify.ID, With: *o.Want}})
		if err != nil {
			t.Fatal(err)
		}
	}
	verified(&o)
	if o = w.checkIn(203, 2, done); o.Verify == nil {
		t.Fatalf("%+v", o)
	}
	w.report(203, 2, protocol.OutcomeKept, "") // no time was left
	called := map[string]bool{}
	for range 60 {
		for _, n := range strings.Fields(w.tick(time.Minute)) {
			called[n] = true
		}
	}
	if called["b204-2"] || called["b204-3"] || !called["b204-1"] || !called["b204-4"] {
		t.Errorf("called later that night: %v", called)
	}
	order("b204-2") // once more
	w.now = w.now.Add(time.Hour)
	if woken := w.tick(0); !strings.Contains(woken, "b204-2") {
		t.Errorf("for another order %q are woken", woken)
	}
	w.now = at(t, "23 05:29")
	if o := w.checkIn(204, 2, done); o.Verify != nil {
		t.Errorf("a minute before the end it is told to compare: %+v", o)
	}
	w.now = at(t, "23 22:00")
	if woken := w.tick(0) + w.tick(6*time.Minute); !strings.Contains(woken, "b204-3") {
		t.Errorf("in the next window %q are woken", woken)
	}
}

// TestVerifyKept: a machine that is not to come to a version is compared all the same, if the store
// has what it holds. That is no try at the version: it neither fails there, nor makes a failure
// forgotten. It is not made equal to what it may not have.
func TestVerifyKept(t *testing.T) {
	for name, keep := range map[string]func(w *world){
		"nothing is promoted": func(*world) {},
		"stopped":             func(w *world) { w.promote("B204", 2, "none"); w.must(w.k.Stop("B204", "for a test")) },
		"gated":               func(w *world) { w.promote("B204", 2, "test") },
		"tired": func(w *world) {
			w.promote("B204", 2, "none")
			for range triesMost {
				w.checkIn(201, 1, nil)
				w.report(201, 1, protocol.OutcomeFailed, "oh")
				w.now = w.now.Add(time.Minute)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			keep(w)
			w.checkIn(201, 1, nil)
			before := w.state.Get(w.id(201)).Attempt
			w.verify(201, true)
			if o := w.checkIn(201, 1, nil); o.Verify != nil {
				t.Errorf("it is to adopt what it may not have: %+v", o)
			}
			w.verify(201, false)
			if o := w.checkIn(201, 99, nil); (o.Verify != nil) != (o.Want != nil) {
				t.Errorf("compared with what the store lacks: %+v", o)
			}
			w.report(201, 99, protocol.OutcomeKept, "")
			o := w.checkIn(201, 1, nil)
			if o.Verify == nil || o.Want != nil || o.Wait != 0 || w.k.Hosts("B204")[0].Phase != PhaseWorking {
				t.Fatalf("%+v", o)
			}
			w.report(201, 1, protocol.OutcomeFailed, "the disk does not answer")
			w.now = w.now.Add(time.Hour)
			if o = w.checkIn(201, 1, nil); o.Verify == nil {
				t.Fatalf("a comparison that failed: %+v", o)
			}
			w.now = w.now.Add(2 * staleTime) // cut off
			if f := w.k.failures("B204", &Goal{Image: "win11", Version: 2}); name != "tired" && len(f) != 0 {
				t.Errorf("a comparison that ended nowhere is a failure: %+v", f[0])
			}
			o = w.checkIn(201, 1, nil)
			err := w.k.Report(t.Context(), peer(201), protocol.Report{Protocol: protocol.Version, ID: "v", Machine: machine(201), Image: "win11", Version: 1, Outcome: protocol.OutcomeKept,
				Verified: &protocol.Verified{ID: o.Verify.ID, With: protocol.Want{Image: "win11", Version: 1, Manifest: hash(1)}}})
			m := w.state.Get(w.id(201))
			if err != nil || m.Verify != nil || open(m) || m.Comparison.Result != state.ResultDone || m.Comparison.Tries != 3 || !reflect.DeepEqual(m.Attempt, before) {
				t.Errorf("%v: %+v, comparison %+v, attempt %+v, was %+v", err, m, m.Comparison, m.Attempt, before)
			}
			if o := w.checkIn(201, 1, nil); begins(&o) {
				t.Errorf("it begins: %+v", o)
			}
		})
	}
}

// TestVerifySlots: a room without a version has its start slots, too.
func TestVerifySlots(t *testing.T) {
	w := newWorld(t)
	for n := 201; n <= 203; n++ {
		w.checkIn(n, 1, nil)
	}
	if _, err := w.k.Verify("B204", "", false); err != nil {
		t.Fatal(err)
	}
	for n := 201; n <= 203; n++ {
		if o := w.checkIn(n, 1, nil); (o.Verify != nil) != (n <= 202) || (o.Wait > 0) != (n == 203) {
			t.Errorf("machine %d: %+v", n, o)
		}
	}
}

// verify orders that a machine is compared.
func (w *world) verify(n int, adopt bool) {
	w.t.Helper()
	if _, err := w.k.Verify("", w.id(n), adopt); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}
