package rooms

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/server/protocol"
)

// alarm is what calls for a person at a machine.
func (w *world) alarm(n int) string {
	w.t.Helper()
	h, _, err := w.k.Host(machine(n).Ports[0].MAC)
	if err != nil {
		w.t.Fatal(err)
	}
	return h.Attention
}

// noted counts what the admin was told of machines that need attention.
func (w *world) noted() (n int) {
	for _, line := range w.notes {
		if strings.Contains(line, "needs attention") {
			n++
		}
	}
	return n
}

// What a machine says of itself is shown until it is heard again, told once, and kept in its
// history.
func TestAlarmSaid(t *testing.T) {
	w := newWorld(t)
	w.promote("B204", 2, "none")
	w.checkIn(201, 2, healthy)
	if got := w.alarm(201); got != "" || w.room("B204").Alarms != 0 {
		t.Errorf("alarm %q", got)
	}
	ran := func(c *protocol.CheckIn) { c.Without = "Windows ran without the agent" }
	for range 3 {
		w.now = w.now.Add(time.Hour)
		w.checkIn(201, 2, ran)
	}
	if got := w.alarm(201); got != "Windows ran without the agent" || w.room("B204").Alarms != 1 || w.noted() != 1 {
		t.Errorf("alarm %q, %d in the room, notes %q", got, w.room("B204").Alarms, w.notes)
	}
	err := w.k.Report(t.Context(), peer(201), protocol.Report{Protocol: protocol.Version, ID: "1", Machine: machine(201), Image: "win11", Version: 2,
		Outcome: protocol.OutcomeKept, Leaves: "from now on this PC starts Windows without Troy"})
	if got := w.alarm(201); err != nil || !strings.Contains(got, "without Troy") || w.noted() != 2 {
		t.Errorf("alarm %q, notes %q, %v", got, w.notes, err)
	}
	h, m, err := w.k.Host(machine(201).Ports[0].MAC)
	if err != nil || h.Phase != PhaseCurrent || !strings.Contains(fmt.Sprint(m.History), "alarm from now on") {
		t.Errorf("%+v, history %v", h, m.History)
	}
	w.now = w.now.Add(time.Hour)
	w.checkIn(201, 2, healthy)
	if got := w.alarm(201); got != "" || w.room("B204").Alarms != 0 {
		t.Errorf("heard again: %q", got)
	}
}

// Direct starts are no alarm: they are in the history, and shown.
func TestDirectIsNoAlarm(t *testing.T) {
	w := newWorld(t)
	text := strings.Replace(labText, "B204: {", "B204: {starts: direct, ", 1)
	if err := os.WriteFile(filepath.Join(w.dir, "lab.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if w.k.Reload(true); w.k.LabError() != nil {
		t.Fatal(w.k.LabError())
	}
	w.promote("B204", 2, "none")
	w.checkIn(201, 2, func(c *protocol.CheckIn) { c.Direct = 4 })
	h, m, err := w.k.Host(machine(201).Ports[0].MAC)
	if err != nil || h.Direct != 4 || h.Attention != "" || w.noted() != 0 || !strings.Contains(fmt.Sprint(m.History), "as the room permits: 4") {
		t.Errorf("%+v, history %v, notes %q, %v", h, m.History, w.notes, err)
	}
	w.tick(8 * 24 * time.Hour)
	if got := w.alarm(201); !strings.Contains(got, "was started a few times without the agent") {
		t.Errorf("after 8 days: %q", got)
	}
}

// A machine that is not heard for longer than its room says is an alarm only where it should have
// been: a window has passed, or it was woken.
func TestAlarmSilent(t *testing.T) {
	w := newWorld(t)
	w.promote("B204", 2, "none")
	w.checkIn(201, 2, healthy)
	days := func(n int) { w.tick(time.Duration(n) * 24 * time.Hour) }
	days(6)
	if got := w.alarm(201); got != "" {
		t.Errorf("after 6 days: %q", got)
	}
	days(2)
	if got := w.alarm(201); !strings.HasPrefix(got, "no check-in for 8 days, and a window of its room has passed since") {
		t.Errorf("after 8 days: %q", got)
	}
	w.tick(time.Minute)
	if w.noted() != 1 {
		t.Errorf("notes %q", w.notes)
	}
	w.checkIn(201, 2, healthy)
	if got := w.alarm(201); got != "" {
		t.Errorf("heard again: %q", got)
	}
	days(30)
	if w.noted() != 2 {
		t.Errorf("silent again: %q", w.notes)
	}
}

// A room without windows: silence counts once the machine was woken.
func TestAlarmWoken(t *testing.T) {
	w := newWorld(t)
	text := strings.Replace(labText, `  windows: [{from: "22:00", to: "05:30"}]`, "  always: true", 1)
	if err := os.WriteFile(filepath.Join(w.dir, "lab.yaml"), []byte(text), 0o644); err != nil || text == labText {
		t.Fatal(err)
	}
	if w.k.Reload(true); w.k.LabError() != nil {
		t.Fatal(w.k.LabError())
	}
	w.checkIn(201, 2, healthy)
	w.now = w.now.AddDate(0, 0, 20)
	if got := w.alarm(201); got != "" {
		t.Errorf("nothing should have brought it: %q", got)
	}
	if _, err := w.k.WakeNow("", "b204-1"); err != nil {
		t.Fatal(err)
	}
	w.k.caller.work.Wait() // the call is noted once more when it goes out
	if got := w.alarm(201); got != "" {
		t.Errorf("woken this moment: %q", got)
	}
	w.now = w.now.Add(awakeTime)
	if got := w.alarm(201); !strings.Contains(got, "it was woken since") {
		t.Errorf("woken: %q", got)
	}
}
