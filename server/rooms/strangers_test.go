package rooms

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"troy/server/protocol"
	"troy/server/state"
)

// forged is a machine that does not exist, with all that a check-in and a report can hold.
func forged(i int) (protocol.CheckIn, protocol.Report) {
	text := func(n int) string { return fmt.Sprint(i, strings.Repeat(`"`, n/2-8)) }
	m := protocol.Machine{UUID: fmt.Sprintf("f0000000-0000-4000-8000-%012x", i), Serial: text(250), Vendor: text(250), Product: text(250)}
	for j := range protocol.MaxPorts {
		m.Ports = append(m.Ports, protocol.Port{MAC: fmt.Sprintf("02:%02x:%02x:%02x:%02x:%02x", j, i>>24, i>>16&255, i>>8&255, i&255), Bus: text(64)})
	}
	in := protocol.CheckIn{Protocol: protocol.Version, Machine: m, Agent: text(250), Detail: text(250), LastStart: text(250), Without: text(250), Firmware: text(250), FirmwareVersion: text(250)}
	for range protocol.MaxDevices {
		in.Devices = append(in.Devices, protocol.Device{Kind: text(100), Bus: "pci", ID: text(100)})
	}
	for range protocol.MaxDisks {
		in.Disks = append(in.Disks, protocol.Disk{Path: text(100), Model: text(100)})
	}
	r := protocol.Report{Protocol: protocol.Version, ID: fmt.Sprint("r", i), Machine: m, Outcome: protocol.OutcomeFailed,
		Message: strings.Repeat("m", protocol.MaxDetail), Log: strings.Repeat("x", protocol.MaxLog)}
	for range protocol.MaxSteps {
		r.Steps = append(r.Steps, protocol.Step{Kind: text(200), Reason: text(200)})
	}
	return in, r
}

// flood has machines that do not exist check in and report from one address.
func (w *world) flood(from string, first, n int) {
	w.t.Helper()
	var wg sync.WaitGroup
	slots := make(chan bool, 20) // fewer than are kept, so that none is pushed out while it is answered
	for i := first; i < first+n; i++ {
		slots <- true
		wg.Go(func() {
			defer func() { <-slots }()
			in, r := forged(i)
			peer := protocol.Peer{Addr: from, Key: fmt.Sprintf("%064x", i)}
			if _, err := w.k.Order(w.t.Context(), peer, in); err != nil {
				w.t.Errorf("machine %d: %v", i, err)
				return
			}
			w.k.Progress(peer, protocol.Progress{Machine: in.Machine, Phase: "x"})
			// By now it may have been pushed out.
			if err := w.k.Report(w.t.Context(), peer, r); err != nil && w.recordOfKey(peer.Key) != nil {
				w.t.Errorf("report %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

// recordOfKey returns what is kept of the machine that shows a key, nil if nothing is.
func (w *world) recordOfKey(key string) *state.Machine {
	for _, m := range w.state.All() {
		if m.Start == key {
			return m
		}
	}
	return nil
}

// stranger checks a machine in that nothing vouches for, and returns its code.
func (w *world) stranger(n int, from string) string {
	w.t.Helper()
	o, err := w.k.Order(w.t.Context(), protocol.Peer{Addr: from, Key: peer(n).Key}, protocol.CheckIn{Protocol: protocol.Version, Machine: machine(n)})
	if err != nil {
		w.t.Fatal(err)
	}
	return o.Code
}

// bytesOf is what the record of a machine takes on the disk, and its logs.
func (w *world) bytesOf(m *state.Machine) (record, logs int) {
	w.t.Helper()
	b, err := json.Marshal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	last, failed, err := w.k.Log(m.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return len(b), len(last) + len(failed)
}

// TestFlood: a laptop that makes up machines pushes out its own, keeps no real one out, and fills
// neither disk nor memory.
func TestFlood(t *testing.T) {
	const most = 100 // in place of strangersMost
	w := newWorld(t)
	w.k.most = most
	waits := w.stranger(901, "10.0.0.5")
	w.flood("2001:db8::66", 0, most+50)
	w.restart()
	w.k.most = most
	w.flood("2001:db8::67", 5000, 50)
	known := w.stranger(902, "10.0.0.6")
	if m := w.state.ByCode(waits); m == nil || known == "" || w.stranger(901, "10.0.0.5") != waits {
		t.Errorf("codes %q, %q; the first is of %+v", waits, known, m)
	}
	if o := w.checkIn(201, 1, nil); o.Code != "" {
		t.Errorf("a listed machine: %+v", o)
	}
	if n := len(w.k.Status().Unknown); n != most || len(w.state.All()) != n+1 {
		t.Errorf("%d strangers, %d records", n, len(w.state.All()))
	}
	longest := 0
	for _, m := range w.state.All() {
		record, logs := w.bytesOf(m)
		if longest = max(longest, record); record > 2<<10 && m.Room == "" || logs > 0 {
			t.Errorf("a stranger takes %d bytes, its logs %d", record, logs)
			break
		}
	}
	t.Logf("a stranger takes %d bytes at most", longest)

	w.now = w.now.Add(strangerTime - time.Hour)
	w.stranger(902, "10.0.0.6")
	w.now = w.now.Add(2 * time.Hour)
	w.k.Tick()
	if list := w.k.Status().Unknown; len(list) != 1 || list[0].Code != known || len(w.k.live.last) != 0 {
		t.Errorf("after a month: %+v, %d live", list, len(w.k.live.last))
	}
	if n, err := w.k.ForgetStrangers(); n != 1 || err != nil || len(w.state.All()) != 1 || w.state.ByCode(known) != nil {
		t.Errorf("forgot %d, %v; left are %d", n, err, len(w.state.All()))
	}
}

// TestFloodOfGuests: where unknown machines join a room, they are bounded as well.
func TestFloodOfGuests(t *testing.T) {
	const most = 100
	w := newWorld(t)
	w.k.most = most
	w.lab(strings.Replace(labText, "images:", "unknown: B205\nimages:", 1))
	if code := w.stranger(901, "10.0.0.5"); code != "" {
		t.Fatalf("a guest has the code %q", code)
	}
	w.flood("10.0.0.66", 0, most+50)
	if w.id(901) == "" || w.room("B205").Machines != most {
		t.Errorf("%d machines", w.room("B205").Machines)
	}
	for _, m := range w.state.All() {
		if record, logs := w.bytesOf(m); record > 4*guestBytes || logs > 2*guestBytes {
			t.Fatalf("a guest takes %d bytes, its logs %d", record, logs)
		}
	}
}

// TestKnownIsNoStranger: what an admin or lab.yaml vouched for once is not pushed out, and not
// forgotten with the strangers.
func TestKnownIsNoStranger(t *testing.T) {
	w := newWorld(t)
	w.checkIn(201, 1, nil)
	code := w.stranger(901, "")
	if _, err := w.k.Assign(code, "kiosk", "B205"); err != nil {
		t.Fatal(err)
	}
	w.lab(strings.Replace(labText, "b204-1,", "other,", 1))
	w.lab(strings.ReplaceAll(labText, "52:54:00:00:02:01", "52:54:00:00:99:01")) // the line is of another machine now
	w.now = w.now.Add(2 * strangerTime)
	w.k.Tick()
	if n, err := w.k.ForgetStrangers(); n != 0 || err != nil || len(w.state.All()) != 2 {
		t.Errorf("forgot %d, %v; left are %d", n, err, len(w.state.All()))
	}
}

// TestForgedSlots: a laptop that checks in as listed machines which were never seen takes no more
// than half of the start slots, and loses them when nothing gets on, however often it asks.
func TestForgedSlots(t *testing.T) {
	w := newWorld(t)
	w.lab(strings.Replace(labText, "B204: {", "B204: {provision: {allow: true}, wave: 4, ", 1))
	w.promote("B204", 2, "none")
	ask := func(n int, from string) bool {
		t.Helper()
		in := bareMachine()
		in.Machine = machine(n)
		o, err := w.k.Order(t.Context(), protocol.Peer{Addr: from, Key: fmt.Sprint(from, n)}, in)
		if err != nil {
			t.Fatal(err)
		}
		return begins(&o)
	}
	begin := func(from string, machines ...int) (n int) {
		for _, m := range machines {
			if ask(m, from) {
				n++
			}
		}
		return n
	}
	if n := begin("2001:db8::1", 201, 202, 203, 204); n != 2 {
		t.Errorf("one address has %d of 4 start slots", n)
	}
	if n := begin("10.0.0.1", 203, 204, 205); n != 1 || begin("10.0.0.2", 204) != 1 || begin("10.0.0.3", 205) != 0 {
		t.Errorf("%d of 2 slots that are left", n)
	}
	// One of them works.
	p := protocol.Progress{Machine: machine(204), Phase: "fetch"}
	for range 6 {
		w.now = w.now.Add(stallTime / 5)
		p.Done++
		w.k.Progress(protocol.Peer{Addr: "10.0.0.2", Key: fmt.Sprint("10.0.0.2", 204)}, p)
		begin("2001:db8::2", 201, 202)
	}
	if n := begin("10.0.0.4", 205); n != 1 {
		t.Error("a machine waits for those that do not get on")
	}
	if h, _, err := w.k.Host("b204-4"); err != nil || h.Phase != PhaseWorking {
		t.Errorf("the one that works: %+v, %v", h, err)
	}
	for range 2 {
		w.now = w.now.Add(stallTime * 2 / 3)
		w.k.Progress(protocol.Peer{Addr: "10.0.0.2", Key: fmt.Sprint("10.0.0.2", 204)}, p) // nothing new
	}
	w.k.mu.Lock()
	defer w.k.mu.Unlock()
	if w.k.holdsSlot(w.state.Get(w.id(204))) {
		t.Error("words without progress hold a slot")
	}
}
