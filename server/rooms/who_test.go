package rooms

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"troy/server/protocol"
	"troy/server/state"
)

// peer is a machine's connection. It has a key, which lies on the machine's disk once that holds a
// version.
func peer(n int) protocol.Peer { return protocol.Peer{Key: fmt.Sprintf("key-%d", n)} }

// name is what a machine is called by its address.
func name(n int) string {
	m := machine(n)
	return m.String()
}

// id is that of a machine's record; "" = there is none.
func (w *world) id(n int) string {
	if m := recordOf(w.state, machine(n)); m != nil {
		return m.ID
	}
	return ""
}

// recordOf returns what is kept of a machine, nil if nothing is.
func recordOf(st *state.Store, id protocol.Machine) *state.Machine {
	for _, m := range st.All() {
		if m.CheckIn.Machine.String() == id.String() {
			return m
		}
	}
	return nil
}

// tell checks a machine in that the server should see through, with any key.
func (w *world) tell(key string, m protocol.Machine, version int) protocol.Order {
	w.t.Helper()
	in := protocol.CheckIn{Protocol: protocol.Version, Machine: m, Health: protocol.HealthGood}
	if version > 0 {
		in.Image, in.Version = "win11", version
	}
	o, err := w.k.Order(w.t.Context(), protocol.Peer{Key: key}, in)
	if err == nil {
		err = o.Validate()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

// TestForgedMachines: what one laptop with copied addresses and no key can do to a room.
func TestForgedMachines(t *testing.T) {
	w := newWorld(t)
	w.promote("B204", 2, "none")
	w.checkIn(201, 1, nil)
	w.checkIn(202, 1, nil) // both have their start slot, and a key
	for _, n := range []int{203, 204} {
		w.checkIn(n, 1, nil)
	}
	id := w.id(201)
	before := *w.state.Get(id)

	// Many check-ins with one address and invented UUIDs.
	const forgers = 2 * toldAtOnce
	for i := range forgers {
		m := machine(201)
		m.UUID = fmt.Sprintf("f0000000-0000-4000-8000-%012x", i)
		if o := w.tell("", m, 1); o.Want != nil || o.Code == "" || o.Permits != (protocol.Permits{}) || !strings.Contains(o.Reason, "address of b204-1, but not its key") {
			t.Fatalf("a forger gets %+v", o)
		}
		r := protocol.Report{Protocol: protocol.Version, Machine: machine(201), Image: "win11", Version: 2, Outcome: protocol.OutcomeFailed}
		if err := w.k.Report(t.Context(), protocol.Peer{Key: fmt.Sprint("forged-", i)}, r); !errors.Is(err, protocol.ErrStranger) {
			t.Fatalf("a forged report: %v", err)
		}
		w.k.Progress(protocol.Peer{}, protocol.Progress{Machine: machine(201), Phase: "forged"})
	}
	if now := w.state.Get(id); now.Rev != before.Rev || now.Pin != peer(201).Key {
		t.Errorf("the machine's record was changed: %+v", now)
	}
	if h, _, err := w.k.Host("b204-1"); err != nil || h.Live != nil || h.Phase != PhaseWorking || !h.Keyed {
		t.Errorf("%+v, %v", h, err)
	}
	if r := w.room("B204"); r.Machines != 5 || r.Counts[PhaseFailed] != 0 {
		t.Errorf("room: %+v", r)
	}
	if s := w.k.Status(); len(s.Unknown) != forgers || s.Unknown[0].Doubt == "" {
		t.Errorf("the page shows %d strangers", len(s.Unknown))
	}
	if n := strings.Count(strings.Join(w.notes, "\n"), "unknown machine "); n != toldAtOnce {
		t.Errorf("the journal is told %d times", n)
	}
	if o := w.checkIn(201, 1, nil); !begins(&o) {
		t.Errorf("who has the key does not go on: %+v", o)
	}
	w.report(201, 2, protocol.OutcomeDone, "")
	if o := w.checkIn(201, 2, healthy); o.Want == nil || o.Code != "" {
		t.Errorf("at the next start: %+v", o)
	}
}

// TestUnpinnedMarkNobody: machines that nobody has seen with a finished disk take no start slot
// from those that are known, open no gate and stop no wave.
func TestUnpinnedMarkNobody(t *testing.T) {
	w := newWorld(t)
	for _, n := range []int{203, 204} {
		w.checkIn(n, 1, nil)
	}
	w.promote("test", 2, "")
	w.promote("B204", 2, "")
	for _, n := range []int{1, 2} {
		w.tell("", machine(n), 2) // healthy, it says
	}
	w.k.Tick()
	if o := w.checkIn(203, 1, nil); begins(&o) || !strings.Contains(o.Reason, "waits for room test: none of its 2 machines is known") {
		t.Errorf("the gate was opened by claims: %+v", o)
	}
	w.promote("B204", 2, "none")
	for _, n := range []int{201, 202} {
		if o := w.tell(fmt.Sprint("once-", n), machine(n), 0); o.Code != "" {
			t.Errorf("%+v", o)
		}
		in := protocol.CheckIn{Protocol: protocol.Version, Machine: machine(n), Image: "win11", Version: 1}
		if _, err := w.k.Order(t.Context(), protocol.Peer{}, in); err != nil {
			t.Fatal(err)
		}
		r := protocol.Report{Protocol: protocol.Version, Machine: machine(n), Image: "win11", Version: 1, Outcome: protocol.OutcomeFailed, Message: "forged"}
		if err := w.k.Report(t.Context(), protocol.Peer{}, r); err != nil {
			t.Fatal(err)
		}
		if _, err := w.k.Order(t.Context(), protocol.Peer{}, in); err != nil { // takes its slot again
			t.Fatal(err)
		}
	}
	for _, n := range []int{203, 204} {
		if o := w.checkIn(n, 1, nil); !begins(&o) {
			t.Errorf("%d is held by claims: %+v", n, o)
		}
	}
	if w.stops() != 0 {
		t.Errorf("%q", w.notes)
	}
}

// TestFirstPin: the key of the start that finishes the disk is pinned, that of a bare disk is not.
func TestFirstPin(t *testing.T) {
	w := newWorld(t)
	w.lab(strings.Replace(labText, "B204: {", "B204: {provision: {allow: true}, ", 1))
	w.promote("B204", 2, "none")
	bare := bareMachine()
	for _, key := range []string{"once-1", "once-2"} { // the power was cut between them
		if o, err := w.k.Order(t.Context(), protocol.Peer{Key: key}, bare); err != nil || !begins(&o) {
			t.Fatalf("%+v, %v", o, err)
		}
	}
	id := recordOf(w.state, bare.Machine).ID
	if m := w.state.Get(id); m.Pin != "" || m.Start != "once-2" || len(w.state.All()) != 1 {
		t.Errorf("a bare disk: %+v", m)
	}
	r := protocol.Report{Protocol: protocol.Version, Machine: bare.Machine, Image: "win11", Version: 2, Outcome: protocol.OutcomeDone}
	if err := w.k.Report(t.Context(), protocol.Peer{Key: "once-1"}, r); !errors.Is(err, protocol.ErrStranger) {
		t.Errorf("the report of another start: %v", err)
	}
	if err := w.k.Report(t.Context(), protocol.Peer{Key: "once-2"}, r); err != nil || w.state.Get(id).Pin != "once-2" {
		t.Errorf("%v, %+v", err, w.state.Get(id))
	}
	w.restart()
	if o := w.tell("once-2", bare.Machine, 2); o.Want == nil || w.state.Get(id).CheckIn.Version != 2 {
		t.Errorf("after a restart: %+v", o)
	}
	if o := w.tell("another", bare.Machine, 2); o.Want != nil || o.Code == "" {
		t.Errorf("the disk lost its key: %+v", o)
	}
}

// TestSameUUID: three boards with a placeholder are three machines; so are two that share another
// UUID, once lab.yaml says that it tells nothing.
func TestSameUUID(t *testing.T) {
	w := newWorld(t)
	with := func(n int, uuid string) protocol.Machine {
		m := machine(n)
		m.UUID = uuid
		return m
	}
	for _, n := range []int{201, 202, 901} {
		w.tell(peer(n).Key, with(n, "00020003-0004-0005-0006-000700080009"), 1)
	}
	if len(w.state.All()) != 3 || len(w.k.Status().Unknown) != 1 {
		t.Errorf("%d machines", len(w.state.All()))
	}
	const shared = "5a000000-1111-2222-3333-444444444444"
	w.tell(peer(203).Key, with(203, shared), 1)
	if o := w.tell(peer(204).Key, with(204, shared), 1); o.Code == "" || !strings.Contains(o.Reason, "address of b204-4, and one of b204-3") {
		t.Errorf("a UUID of a known machine: %+v", o)
	}
	w.lab(labText + "placeholders: [\"{0000005A-1111-2222-3333-444444444444}\"]\n")
	if o := w.tell(peer(204).Key, with(204, shared), 1); o.Code != "" {
		t.Errorf("a placeholder of this place: %+v", o)
	}
	if h, _, err := w.k.Host("b204-4"); err != nil || !h.Keyed || len(w.k.Status().Unknown) != 1 {
		t.Errorf("%+v, %v", h, err)
	}
}

// TestAdapters: an adapter that is carried from laptop to laptop makes none of them another one,
// and lab.yaml cannot list it.
func TestAdapters(t *testing.T) {
	w := newWorld(t)
	w.lab(labText + `  - {name: lap-1, room: B204, mac: "00:e0:4c:00:00:11", uuid: "{11111111-1111-4111-8111-111111111112}"}` + "\n")
	w.promote("B204", 2, "none")
	laptop := func(uuid string) protocol.Machine {
		return protocol.Machine{Ports: []protocol.Port{{MAC: "00:e0:4c:00:00:11", Bus: protocol.BusUSB}}, UUID: uuid}
	}
	if o := w.tell("k1", laptop("11111111-1111-4111-8111-111111111112"), 1); o.Code != "" {
		t.Errorf("the laptop of lab.yaml: %+v", o)
	}
	for i := range 3 {
		if o := w.tell(fmt.Sprint("x", i), laptop(fmt.Sprintf("33333333-3333-4333-8333-33333333333%d", i)), 0); o.Code == "" || o.Want != nil || o.Permits != (protocol.Permits{}) {
			t.Errorf("a stranger with its adapter: %+v", o)
		}
	}
	if h, m, err := w.k.Host("lap-1"); err != nil || m.Pin != "k1" || len(w.k.Status().Unknown) != 3 {
		t.Errorf("%+v, %v", h, err)
	}
	w.lab(labText + `  - {name: lap-3, room: B204, mac: "00:e0:4c:00:00:11"}` + "\n")
	if o := w.tell("x9", laptop("33333333-3333-4333-8333-333333333339"), 0); !strings.Contains(o.Reason, "USB adapter as lap-3") {
		t.Errorf("lab.yaml lists the adapter: %+v", o)
	}
	// Without a UUID of its own and without a disk nothing tells it from others.
	if o := w.tell("once", laptop("ffffffff-ffff-ffff-ffff-ffffffffffff"), 0); o.Code == "" {
		t.Errorf("%+v", o)
	} else if _, err := w.k.Assign(o.Code, "lap-2", "B204"); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "placeholder") {
		t.Errorf("assigned: %v", err)
	}
}

// TestChangedBoard: a UUID alone is noted; with another MAC address lab.yaml has to say so; a whole
// new machine takes the name and the old one is forgotten.
func TestChangedBoard(t *testing.T) {
	w := newWorld(t)
	old := machine(201)
	old.UUID = "aaaaaaaa-1111-4111-8111-111111111111"
	w.tell("k", old, 1)
	id := recordOf(w.state, old).ID
	repaired := old
	repaired.UUID = "bbbbbbbb-1111-4111-8111-111111111111"
	if o := w.tell("k", repaired, 1); o.Code != "" || len(w.state.All()) != 1 {
		t.Errorf("a changed UUID: %+v, %d records", o, len(w.state.All()))
	}
	if m := w.state.Get(id); m.History[len(m.History)-1].Kind != "changed" || !strings.Contains(w.notes[len(w.notes)-1], "its UUID was") {
		t.Errorf("%+v, %q", m.History, w.notes)
	}
	board := protocol.Machine{Ports: []protocol.Port{{MAC: "52:54:00:00:77:01"}}, UUID: "cccccccc-1111-4111-8111-111111111111"}
	if o := w.tell("k", board, 1); o.Code == "" || !strings.Contains(o.Reason, "the key of b204-1") {
		t.Errorf("a new board: %+v", o)
	}
	w.lab(strings.Replace(labText, "52:54:00:00:02:01", "5254.0000.7701", 1))
	if o := w.tell("k", board, 1); o.Code != "" || w.state.Get(id).CheckIn.Machine.UUID != board.UUID || len(w.state.All()) != 1 {
		t.Errorf("a new board that lab.yaml names: %+v", o)
	}
	w.lab(strings.Replace(labText, "52:54:00:00:02:01", "52:54:00:00:77:02", 1))
	successor := protocol.Machine{Ports: []protocol.Port{{MAC: "52:54:00:00:77:02"}}}
	if o := w.tell("k2", successor, 1); o.Code != "" {
		t.Errorf("the successor: %+v", o)
	}
	if h, _, err := w.k.Host("b204-1"); err != nil || h.MACs[0] != "52:54:00:00:77:02" || w.state.Get(id) != nil || w.room("B204").Machines != 5 {
		t.Errorf("%+v, %v, the old one is %+v", h, err, w.state.Get(id))
	}
	w.restart()
	if h, _, err := w.k.Host("b204-1"); err != nil || !h.Keyed || len(w.state.All()) != 1 {
		t.Errorf("after a restart: %+v, %v", h, err)
	}
}

// TestAssignAgain: a PC that lost its key gets its place again from an admin who reads its code.
func TestAssignAgain(t *testing.T) {
	w := newWorld(t)
	w.checkIn(201, 1, nil)
	o := w.tell("new", machine(201), 1)
	for _, c := range [][2]string{{"b204-1", "B205"}, {"b204-2", "B204"}, {"kiosk", "B204"}} {
		if _, err := w.k.Assign(o.Code, c[0], c[1]); !errors.Is(err, ErrInvalid) {
			t.Errorf("as %v: %v", c, err)
		}
	}
	if o := w.checkIn(201, 1, nil); o.Code != "" {
		t.Errorf("the old key was lost by that: %+v", o)
	}
	if _, err := w.k.Assign(o.Code, "b204-1", "B204"); err != nil {
		t.Fatal(err)
	}
	if o := w.tell("new", machine(201), 1); o.Code != "" {
		t.Errorf("the new key: %+v", o)
	}
	if o := w.checkIn(201, 1, nil); o.Code == "" || !strings.Contains(o.Reason, "not its key") {
		t.Errorf("the old key: %+v", o)
	}
	if h, m, err := w.k.Host("b204-1"); err != nil || m.Pin != "new" || h.Assigned || w.room("B204").Machines != 5 {
		t.Errorf("%+v, %v", h, err)
	}
}

// TestHostByAddress: commands and page find a machine by its address in any notation.
func TestHostByAddress(t *testing.T) {
	w := newWorld(t)
	m := machine(201)
	m.UUID = "44454c4c-4200-1035-8052-b3c04f4b4e32"
	w.tell("k", m, 1)
	for _, id := range []string{"b204-1", "5254.0000.0201", "52-54-00-00-02-01", "525400000201", "{4C4C4544-0042-3510-8052-B3C04F4B4E32}", m.UUID, w.id(201)} {
		if h, _, err := w.k.Host(id); err != nil || h.Name != "b204-1" {
			t.Errorf("%s: %+v, %v", id, h, err)
		}
	}
	for _, id := range []string{"", "b204", "00:00:00:00:00:00", "ffffffff-ffff-ffff-ffff-ffffffffffff"} {
		if h, _, err := w.k.Host(id); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %+v, %v", id, h, err)
		}
	}
}

// TestSharedUUID: machines whose boards all say the same UUID, which lab.yaml names by their MAC
// addresses, are as many machines.
func TestSharedUUID(t *testing.T) {
	w := newWorld(t)
	w.promote("B204", 2, "none") // wave 2
	board := func(c *protocol.CheckIn) { c.Machine.UUID = "03000200-0400-0500-0006-000700080009" }
	for _, n := range []int{201, 202, 203, 204} {
		if o := w.checkIn(n, 1, board); begins(&o) != (n < 203) {
			t.Errorf("%d: %+v", n, o)
		}
	}
	if r := w.room("B204"); r.Counts[PhaseWorking] != 2 || r.Counts[PhaseWaiting] != 2 {
		t.Errorf("4 machines checked in, the status: %v", r.Counts)
	}
	w.report(201, 2, protocol.OutcomeDone, "")
	if o := w.checkIn(203, 1, func(c *protocol.CheckIn) {
		board(c)
		c.Health, c.LastStart = protocol.HealthGood, "the last hand-off worked"
	}); !begins(&o) {
		t.Errorf("b204-3 never tried it: %+v", o)
	}
}

// TestOneRecordOfHost: a machine with a new board behind a line of lab.yaml is the same machine: it
// counts once, and its name answers for one.
func TestOneRecordOfHost(t *testing.T) {
	w := newWorld(t)
	w.promote("test", 4, "none")
	w.promote("B204", 4, "test")
	w.checkIn(1, 3, func(c *protocol.CheckIn) { c.Machine.UUID = "4c4c4544-0000-4000-8000-000000000001" })
	w.checkIn(1, 4, func(c *protocol.CheckIn) { healthy(c); c.Machine.UUID = "4c4c4544-0000-4000-8000-00000000ffff" })
	w.k.Tick()
	if r := w.room("test"); r.Machines != 2 || r.Counts[PhaseCurrent] != 1 || r.Counts[PhaseNever] != 1 {
		t.Errorf("lab.yaml has 2 machines in the room, the status %+v", r)
	}
	if r := w.room("B204"); r.Why != "" {
		t.Errorf("%+v", r)
	}
}
