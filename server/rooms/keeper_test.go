package rooms

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"troy/image"
	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/state"
)

// fixedSizes: versions 1 to 9 of win11 exist, a disk of 64 GiB. That of version 8 has to be set up,
// version 7 has fields.
type fixedSizes struct{}

// Refused implements Programs: machines whose Secure Boot is on refuse version 3.
func (fixedSizes) Refused(_ context.Context, in *protocol.CheckIn, _ string, number int) []string {
	if !in.SecureBoot || number != 3 {
		return nil
	}
	return []string{"the manager of version 3"}
}

// Undriven implements Programs: version 4 lacks drivers for whatever a machine has.
func (fixedSizes) Undriven(_ context.Context, in *protocol.CheckIn, _ string, number int) (all []string) {
	for _, d := range in.Devices {
		if number == 4 {
			all = append(all, "the device "+d.ID)
		}
	}
	return all
}

func (fixedSizes) Size(_ context.Context, name string, have, want int) (Size, error) {
	if name != "win11" || want < 1 || want > 9 || have > 9 {
		return Size{}, ErrNotFound
	}
	var list []image.Field
	if want == 7 {
		list = someFields()
	}
	return Size{Fields: list, Fetch: 100 << 20, Write: 200 << 20, Manifest: strings.Repeat(strconv.Itoa(want), protocol.HashSize), Virtual: 64 << 30, Setup: want == 8}, nil
}

// calls records whom a Keeper wakes.
type calls struct {
	mu    sync.Mutex
	names []string
}

func (c *calls) Wake(_ context.Context, list []Call) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, call := range list {
		c.names = append(c.names, call.Name)
	}
	return nil
}

// world is a server of which the test holds the clock.
type world struct {
	t     *testing.T
	dir   string
	now   time.Time
	state *state.Store
	k     *Keeper
	woken calls
	notes []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), now: at(t, "22 23:00")}
	w.putLab(labText)
	w.start()
	t.Cleanup(func() { w.state.Close() })
	return w
}

// putLab writes the lab.yaml.
func (w *world) putLab(text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, "lab.yaml"), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) start() {
	w.t.Helper()
	f, err := lab.Open(filepath.Join(w.dir, "lab.yaml"))
	if err != nil {
		w.t.Fatal(err)
	}
	if w.state, err = state.Open(filepath.Join(w.dir, "state.db"), nil); err != nil {
		w.t.Fatal(err)
	}
	w.k, err = New(&Options{Lab: f, State: w.state, Sizes: fixedSizes{}, Programs: fixedSizes{}, Waker: &w.woken, Now: func() time.Time { return w.now },
		OnNote: func(s string) { w.notes = append(w.notes, s) }})
	if err != nil {
		w.t.Fatal(err)
	}
}

// restart is a server that ended and starts again.
func (w *world) restart() {
	w.t.Helper()
	w.state.Close()
	w.start()
}

func machine(n int) protocol.Machine {
	return protocol.Machine{Ports: []protocol.Port{{MAC: fmt.Sprintf("52:54:00:00:%02x:%02x", n/100, n%100)}}}
}

func (w *world) checkIn(n, version int, change func(*protocol.CheckIn)) protocol.Order {
	w.t.Helper()
	in := protocol.CheckIn{Protocol: protocol.Version, Machine: machine(n), Image: "win11", Version: version}
	if change != nil {
		change(&in)
	}
	o, err := w.k.Order(w.t.Context(), peer(n), in)
	if err == nil {
		err = o.Validate()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

func (w *world) report(n, version int, outcome protocol.Outcome, message string) {
	w.t.Helper()
	err := w.k.Report(w.t.Context(), peer(n), protocol.Report{Protocol: protocol.Version, ID: fmt.Sprint(n, w.now), Machine: machine(n), Image: "win11", Version: version,
		Outcome: outcome, Message: message, Log: "log of " + message, Steps: []protocol.Step{{Kind: "stage", Fetched: 1000}}})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) promote(room string, version int, after string) {
	w.t.Helper()
	if _, err := w.k.Promote(w.t.Context(), Promotion{Room: room, Version: version, After: after}); err != nil {
		w.t.Fatal(err)
	}
}

// status of a room, by name.
func (w *world) room(name string) Room {
	w.t.Helper()
	for _, r := range w.k.Status().Rooms {
		if r.Name == name {
			return r
		}
	}
	w.t.Fatal(name)
	return Room{}
}

func healthy(c *protocol.CheckIn) { c.Health = protocol.HealthGood }

// TestSlots: a machine that fell silent loses its slot, one that speaks does not, and a hundred
// that come at once get no more than there are.
func TestSlots(t *testing.T) {
	w := newWorld(t)
	w.promote("B204", 2, "none")
	for _, n := range []int{201, 202} {
		if o := w.checkIn(n, 1, nil); !begins(&o) {
			t.Fatalf("%+v", o)
		}
	}
	w.now = w.now.Add(staleTime - time.Minute)
	w.k.Progress(peer(202), protocol.Progress{Protocol: protocol.Version, Machine: machine(202), Phase: "fetch"})
	w.now = w.now.Add(2 * time.Minute)
	if h, _, _ := w.k.Host("b204-1"); h.Phase != PhaseSilent {
		t.Errorf("b204-1 is %s", h.Phase)
	}
	if o := w.checkIn(203, 1, nil); !begins(&o) {
		t.Errorf("the slot of a silent machine: %+v", o)
	}
	if o := w.checkIn(201, 1, nil); o.Wait == 0 {
		t.Errorf("the silent machine is back: %+v", o)
	}

	for i := range 100 {
		crowd := fmt.Sprint("crowd-", i)
		w.checkIn(1000+i, 1, nil)
		if _, err := w.k.Assign(name(1000+i), crowd, "B205"); err != nil {
			t.Fatal(err)
		}
	}
	w.promote("B205", 2, "")
	var wg sync.WaitGroup
	var mu sync.Mutex
	started := 0
	for i := range 100 {
		wg.Go(func() {
			o, err := w.k.Order(t.Context(), peer(1000+i), protocol.CheckIn{Protocol: protocol.Version, Machine: machine(1000 + i), Image: "win11", Version: 1})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if begins(&o) {
				started++
			}
		})
	}
	wg.Wait()
	if started != 2 {
		t.Errorf("%d machines started in a wave of 2", started)
	}
}

func TestUnknownMachines(t *testing.T) {
	w := newWorld(t)
	o := w.checkIn(901, 1, nil)
	if len(o.Code) != 6 || begins(&o) {
		t.Fatalf("%+v", o)
	}
	w.restart()
	if again := w.checkIn(901, 1, nil); again.Code != o.Code {
		t.Errorf("another code after a restart: %q, %q", again.Code, o.Code)
	}
	if s := w.k.Status(); len(s.Unknown) != 1 || s.Unknown[0].Code != o.Code || s.Unknown[0].Phase != PhaseUnknown {
		t.Errorf("status: %+v", s.Unknown)
	}
	for _, c := range [][3]string{{"XXXXXX", "a", "B204"}, {o.Code, "a", "nowhere"}, {o.Code, "a b", "B204"}, {o.Code, "b204-1", "B204"}} {
		if _, err := w.k.Assign(c[0], c[1], c[2]); !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrInvalid) {
			t.Errorf("assign %v: %v", c, err)
		}
	}
	if _, err := w.k.Assign(strings.ToLower(o.Code), "b204-9", "B204"); err != nil {
		t.Fatal(err)
	}
	w.promote("B204", 2, "none")
	if o := w.checkIn(901, 1, nil); !begins(&o) || o.Code != "" {
		t.Errorf("assigned: %+v", o)
	}
	h, _, err := w.k.Host("b204-9")
	if err != nil || h.Room != "B204" || !h.Assigned {
		t.Errorf("%+v, %v", h, err)
	}
	if err := w.k.Forget(h.ID); err != nil || len(w.k.Status().Unknown) != 0 {
		t.Errorf("forget: %v, %+v", err, w.k.Status().Unknown)
	}
	if o := w.checkIn(901, 1, nil); o.Code == "" {
		t.Errorf("forgotten: %+v", o)
	}
}

func TestRollback(t *testing.T) {
	w := newWorld(t)
	if _, err := w.k.Rollback(t.Context(), Promotion{Room: "B204"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("nothing to go back to: %v", err)
	}
	for v := 1; v <= 3; v++ {
		w.promote("B204", v, "none")
	}
	w.promote("B204", 3, "none") // once more
	for _, want := range []int{2, 1} {
		got, err := w.k.Rollback(t.Context(), Promotion{Room: "B204"})
		if err != nil || got.Version != want || !got.Rollback || got.After != "" {
			t.Fatalf("%+v, %v, want version %d", got, err, want)
		}
	}
	if _, err := w.k.Rollback(t.Context(), Promotion{Room: "B204", Version: 4}); !errors.Is(err, ErrInvalid) {
		t.Errorf("forward to a version that the room never had: %v", err)
	}
	if o := w.checkIn(201, 3, nil); !begins(&o) || version(&o) != 1 || !o.Permits.Retry {
		t.Errorf("%+v", o)
	}
}

func TestPromoteRefuses(t *testing.T) {
	w := newWorld(t)
	for name, p := range map[string]Promotion{
		"no room": {Room: "B999", Version: 1}, "no version": {Room: "B204"}, "version that is not there": {Room: "B204", Version: 99},
		"strange image": {Room: "B204", Image: "win12", Version: 1}, "window": {Room: "B204", Version: 1, At: "25-26"}, "after itself": {Room: "B204", Version: 1, After: "B204"},
		"image without the version": {Room: "B204", Image: "win10", Version: 1},
	} {
		if _, err := w.k.Promote(t.Context(), p); err == nil || w.state.Room("B204") != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	e, err := w.k.Estimate(t.Context(), Promotion{Room: "B204", Version: 2, At: "01:00-04:00"})
	if err != nil || e.Machines != 4 || e.Never != 4 || e.Fetch != 400<<20 || !e.Fits || e.Opens.Hour() != 1 || !strings.Contains(e.Gate, "test") || w.state.Room("B204") != nil {
		t.Errorf("%+v, %v", e, err)
	}
	if e, err := w.k.Estimate(t.Context(), Promotion{Room: "B206", Version: 2}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "pins room B206") {
		t.Errorf("a pinned room: %+v, %v", e, err)
	}
}

// TestStateThatCannotBeWritten: no order leaves that is not kept, and the slot is free again.
func TestStateThatCannotBeWritten(t *testing.T) {
	w := newWorld(t)
	w.promote("B204", 2, "none")
	w.state.Close()
	in := protocol.CheckIn{Protocol: protocol.Version, Machine: machine(201), Image: "win11", Version: 1}
	if o, err := w.k.Order(t.Context(), peer(201), in); err == nil || o.Protocol != 0 {
		t.Errorf("%+v, %v", o, err)
	}
	if err := w.k.Report(t.Context(), peer(201), protocol.Report{Protocol: protocol.Version, Machine: machine(201), Outcome: protocol.OutcomeDone}); err == nil {
		t.Error("a report was acknowledged that is not kept")
	}
	if len(w.k.pending) != 0 {
		t.Errorf("slots are lost: %v", w.k.pending)
	}
	w.start()
	if o := w.checkIn(201, 1, nil); !begins(&o) {
		t.Errorf("later: %+v", o)
	}
}

// TestBrokenLab: a lab.yaml that became wrong is told with its place, and what was in force stays.
func TestBrokenLab(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(w.dir, "lab.yaml")
	put := func(text string, at int64) {
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o644), os.Chtimes(path, time.Unix(at, 0), time.Unix(at, 0))); err != nil {
			t.Fatal(err)
		}
	}
	put(strings.Replace(labText, "wave: 2", "wave: two", 1), 1)
	w.k.Tick()
	if s := w.k.Status(); !strings.Contains(s.LabError, "lab.yaml:7:9") || len(s.Rooms) != 4 || len(w.notes) != 1 || !strings.Contains(w.notes[0], "stays in force") {
		t.Errorf("%+v, %q", s.LabError, w.notes)
	}
	w.promote("B204", 2, "none")
	if o := w.checkIn(201, 1, nil); !begins(&o) {
		t.Errorf("%+v", o)
	}
	put(strings.Replace(labText, "name: b204-1, room: B204", "name: b204-1, room: B205", 1), 2)
	w.k.Tick()
	if s := w.k.Status(); s.LabError != "" {
		t.Errorf("still %q", s.LabError)
	}
	if h, _, err := w.k.Host("b204-1"); err != nil || h.Room != "B205" {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestChanged(t *testing.T) {
	w := newWorld(t)
	rev, err := w.k.Changed(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan uint64)
	go func() {
		rev, _ := w.k.Changed(t.Context(), rev)
		done <- rev
	}()
	w.checkIn(201, 1, nil)
	if next := <-done; next <= rev {
		t.Errorf("revision %d after %d", next, rev)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	now, _ := w.k.Changed(t.Context(), 0)
	if _, err := w.k.Changed(ctx, now); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestHealthStopsTheWave: a version in which Windows does not come up counts as failed, though it
// was put on the disk.
func TestHealthStopsTheWave(t *testing.T) {
	w := newWorld(t)
	w.promote("B204", 2, "none")
	for _, n := range []int{201, 202} {
		w.checkIn(n, 1, nil)
		w.report(n, 2, protocol.OutcomeDone, "")
		w.checkIn(n, 2, func(c *protocol.CheckIn) { c.Health = protocol.HealthFailing })
	}
	if o := w.checkIn(203, 1, nil); begins(&o) || !strings.Contains(o.Reason, "2 machines failed") {
		t.Errorf("%+v", o)
	}
}

// TestMissingVersion: a room that is pinned to a version which the store lacks starts what it has,
// without delay.
func TestMissingVersion(t *testing.T) {
	w := newWorld(t)
	w.checkIn(901, 1, nil)
	if _, err := w.k.Assign(name(901), "b206-1", "B206"); err != nil {
		t.Fatal(err)
	}
	if o := w.checkIn(901, 1, nil); begins(&o) || !strings.Contains(o.Reason, "the store cannot provide it") {
		t.Errorf("%+v", o)
	}
}

// begins says whether an order lets a machine begin.
func begins(o *protocol.Order) bool { return o.Want != nil && o.Wait == 0 && o.Reason == "" }

// version is the one that an order names, 0 if none.
func version(o *protocol.Order) int {
	if o.Want == nil {
		return 0
	}
	return o.Want.Version
}
