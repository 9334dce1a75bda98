package rooms

import (
	"slices"
	"strings"
	"testing"
	"time"

	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/state"
)

// TestProof begins with a machine that has shown its health, and changes one thing.
func TestProof(t *testing.T) {
	start := at(t, "22 23:00")
	for _, x := range []struct {
		name   string
		change func(x *named)
		ok     bool
		lacks  string
	}{
		{"healthy", func(*named) {}, true, ""},
		{"healthy, brought there by nobody", func(x *named) { x.m.Attempt = nil }, true, ""},
		{"healthy, though a try at it failed before", func(x *named) { x.m.Attempt.Result = state.ResultFailed }, true, ""},
		{"nothing known of its health", func(x *named) { x.m.CheckIn.Health = "" }, false, "has not shown that Windows comes up"},
		{"failing", func(x *named) { x.m.CheckIn.Health = protocol.HealthFailing }, false, ""},
		{"could not be started", func(x *named) {
			x.m.Report = kept(x.m.Seen, 2)
			x.m.Report.Outcome, x.m.Report.ExitCode = protocol.OutcomeFailed, exitCheck
		}, false, ""},
		{"has another one", func(x *named) { x.m.CheckIn.Version, x.m.Attempt = 1, nil }, false, "does not have it yet"},
		{"has another image", func(x *named) { x.m.CheckIn.Image, x.m.Attempt = "win10", nil }, false, "does not have it yet"},
		{"left it in that start", func(x *named) { x.m.Report = kept(x.m.Seen, 1) }, false, "does not have it yet"},
		{"came to it in that start", func(x *named) { x.m.CheckIn.Version, x.m.Report = 1, kept(x.m.Seen, 2) }, false, "has not been started since"},
		{"was healthy before it was ordered", func(x *named) { x.m.Order.Want = nil }, false, "has not been started since"},
		{"was healthy when another was ordered", func(x *named) { x.m.Order.Want.Version = 3 }, false, "has not been started since"},
		{"at work", func(x *named) { x.m.CheckIn.Version, x.m.Attempt.Result = 1, state.ResultOpen }, false, "is at work"},
		{"fell silent", func(x *named) { x.m.CheckIn.Version, x.m.Attempt.Result, x.fell = 1, state.ResultOpen, true }, false, ""},
		{"failed", func(x *named) { x.m.CheckIn.Version, x.m.Attempt.Result = 1, state.ResultFailed }, false, ""},
		{"failed at another version", func(x *named) {
			x.m.CheckIn.Version, x.m.Attempt.Version, x.m.Attempt.Result = 1, 3, state.ResultFailed
		}, false, "does not have it yet"},
	} {
		m := &state.Machine{Seen: start.Add(time.Minute), CheckIn: protocol.CheckIn{Image: "win11", Version: 2, Health: protocol.HealthGood},
			Order:   protocol.Order{Time: start, Want: &protocol.Want{Image: "win11", Version: 2}},
			Attempt: &state.Attempt{Image: "win11", Version: 2, Started: start.Add(-time.Hour), Ended: start.Add(-time.Hour), Result: state.ResultDone}}
		n := &named{"pc", m, false}
		x.change(n)
		if ok, lacks := proof(n, "win11", 2); ok != x.ok || lacks != x.lacks {
			t.Errorf("%s: %v, %q", x.name, ok, lacks)
		}
	}
}

// TestGated: how many have to be healthy, and what is said of the others.
func TestGated(t *testing.T) {
	m := func(name string, version int, h protocol.Health, r state.Result) named {
		return named{name, &state.Machine{CheckIn: protocol.CheckIn{Image: "a", Version: version, Health: h}, Order: protocol.Order{Want: &protocol.Want{Image: "a", Version: 2}},
			Attempt: &state.Attempt{Image: "a", Version: 2, Started: at(t, "22 22:00"), Result: r}}, false}
	}
	good, unknown, old := m("g", 2, protocol.HealthGood, state.ResultDone), m("u", 2, protocol.HealthUnknown, state.ResultDone), m("o", 1, protocol.HealthGood, state.ResultLate)
	sick, failed := m("s", 2, protocol.HealthFailing, state.ResultDone), m("f", 1, protocol.HealthGood, state.ResultFailed)
	for _, c := range []struct {
		machines []named
		want     string
	}{
		{nil, "0 of 0 machines have version 2 healthy, 1 needed"},
		{[]named{old}, "0 of 1 machines have version 2 healthy, 1 needed; o does not have it yet"},
		{[]named{unknown}, "0 of 1 machines have version 2 healthy, 1 needed; u has not shown that Windows comes up"},
		{[]named{good}, ""},
		{[]named{good, old}, ""},
		{[]named{good, old, unknown}, "1 of 3 machines have version 2 healthy, 2 needed; o does not have it yet, u has not"},
		{[]named{good, sick}, ""},
		{[]named{old, sick}, "0 of 2 machines have version 2 healthy, 1 needed; o does not have it yet, s failed"},
		{[]named{good, good, sick, failed}, "2 machines failed at version 2: f, s"},
		{[]named{good, failed}, ""},
		{[]named{old, old, old, old, old}, "3 needed; o does not have it yet, o does not have it yet, o does not have it yet and 2 more"},
	} {
		why := gated("test", c.machines, "a", 2, &lab.Policy{Healthy: 50, Failures: 2})
		if (why == "") != (c.want == "") || !strings.Contains(why, c.want) {
			t.Errorf("got  %q\nwant %q", why, c.want)
		}
	}
}

// TestGateOfWithdrawn: a version that the room before has no longer, or that its machines had
// before it was ordered, opens no gate; and what is lacking is said.
func TestGateOfWithdrawn(t *testing.T) {
	w := newWorld(t)
	w.promote("test", 3, "none")
	w.promote("test", 4, "none")
	for _, n := range []int{1, 2} {
		w.checkIn(n, 3, nil)
		w.report(n, 4, protocol.OutcomeDone, "")
		w.now = w.now.Add(time.Hour)
		w.checkIn(n, 4, healthy)
	}
	if _, err := w.k.Rollback(t.Context(), Promotion{Room: "test"}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 2} { // back on 3, and not started since
		w.checkIn(n, 4, healthy)
		w.report(n, 3, protocol.OutcomeDone, "")
	}
	e, err := w.k.Estimate(t.Context(), Promotion{Room: "B204", Version: 4})
	if err != nil || e.Gate != "waits for room test, which gets win11 version 3 now" {
		t.Errorf("the estimate: %+v, %v", e, err)
	}
	w.promote("B204", 4, "test")
	w.lacks("which gets win11 version 3 now")
	w.promote("test", 4, "none")
	w.lacks("0 of 2 machines have version 4 healthy, 1 needed; test-1 does not have it yet, test-2 does not have it yet")
	w.checkIn(1, 3, healthy)
	w.lacks("test-1 is at work")
	w.report(1, 4, protocol.OutcomeDone, "")
	w.lacks("test-1 has not been started since")
	w.checkIn(1, 4, nil)
	w.lacks("test-1 has not shown that Windows comes up")
	w.restart()
	w.lacks("test-1 has not shown that Windows comes up")
	w.checkIn(1, 4, healthy)
	w.lacks("")
	if o := w.checkIn(201, 3, nil); !begins(&o) {
		t.Errorf("with the gate open: %+v", o)
	}
}

// lacks fails unless the gate of B204 lacks something, in the status and in an order.
func (w *world) lacks(want string) {
	w.t.Helper()
	w.now = w.now.Add(time.Minute)
	w.k.Tick()
	r := w.room("B204")
	if (r.Why == "") != (want == "") || !strings.Contains(r.Why, want) || r.Target.Open != (want == "") {
		w.t.Errorf("the gate lacks %q, want %q; open %v", r.Why, want, r.Target.Open)
	}
	if o := w.checkIn(202, 3, nil); want != "" && (begins(&o) || !strings.Contains(o.Reason, want)) {
		w.t.Errorf("order %+v, want %q", o, want)
	}
}

// TestWhoCountsInGates: machines that lab.yaml pins to another version, or gives another image, are
// not asked for.
func TestWhoCountsInGates(t *testing.T) {
	for name, change := range map[string]string{"another version": "version: 3", "another image": "image: win10", "both": "image: win10, version: 3"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.useLab(strings.NewReplacer(`"52:54:00:00:00:02"}`, `"52:54:00:00:00:02", `+change+`}`, "healthy: 50", "healthy: 100").Replace(labText))
			w.promote("test", 4, "none")
			w.promote("B204", 4, "test")
			w.checkIn(2, 3, healthy)
			w.lacks("waits for room test")
			w.checkIn(1, 4, healthy)
			w.lacks("")
		})
	}
	w := newWorld(t) // one that is pinned to just this version does count
	w.useLab(strings.NewReplacer(`"52:54:00:00:00:02"}`, `"52:54:00:00:00:02", version: 4}`, "healthy: 50", "healthy: 100").Replace(labText))
	w.promote("test", 4, "none")
	w.promote("B204", 4, "test")
	w.checkIn(1, 4, healthy)
	w.checkIn(2, 3, healthy)
	w.lacks("test-2 is at work")
}

// TestForeignIsNoProof: a machine that has the number of the version, but another content (another
// store's, or one that was lost), is no proof for it, and no machine of the night that has it.
func TestForeignIsNoProof(t *testing.T) {
	w := newWorld(t)
	w.promote("test", 4, "none")
	w.promote("B204", 4, "test")
	for _, is := range []string{strings.Repeat("ab", protocol.HashSize/2), protocol.NoVersion} {
		w.checkIn(1, 4, func(in *protocol.CheckIn) { healthy(in); in.Manifest = is })
		w.lacks("test-1 does not have it yet")
		list, err := w.k.Nights(at(t, "21 00:00"))
		i := slices.IndexFunc(list, func(n state.Night) bool { return n.Room == "test" })
		if err != nil || i < 0 || list[i].Missing != 2 {
			t.Errorf("the night: %+v, %v", list, err)
		}
	}
	w.checkIn(1, 4, func(in *protocol.CheckIn) { healthy(in); in.Manifest = strings.Repeat("4", protocol.HashSize) })
	w.lacks("")
}

// useLab starts the server anew with another lab.yaml.
func (w *world) useLab(text string) {
	w.t.Helper()
	w.putLab(text)
	w.restart()
}

// TestCircles: rooms that would wait for each other are refused, whatever lab.yaml says.
func TestCircles(t *testing.T) {
	w := newWorld(t)
	w.promote("B204", 4, "test")
	w.promote("B205", 4, "B204")
	for _, after := range []string{"B204", "B205", "test"} {
		_, err := w.k.Promote(t.Context(), Promotion{Room: "test", Version: 4, After: after})
		if err == nil || !strings.Contains(err.Error(), "test after") || w.state.Room("test") != nil {
			t.Errorf("after %s: %v", after, err)
		}
	}
	w.promote("test", 3, "B204") // of another version they do not wait for each other
	if _, err := w.k.Promote(t.Context(), Promotion{Room: "B204", Version: 3, After: "test"}); err == nil {
		t.Error("they do now")
	}
	w.promote("test", 4, "none")
}
