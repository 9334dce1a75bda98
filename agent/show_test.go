package agent

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"troy/agent/page"
	"troy/server/protocol"
)

// wall keeps every page that a start showed.
type wall struct {
	mu    sync.Mutex
	pages []string
}

// on has the pages of an agent go to the wall.
func (w *wall) on(a *agent) *agent {
	a.con.display.show = func(lines []page.Line) {
		var all []string
		for _, l := range lines {
			if text := strings.Join(strings.Fields(l.Text), " "); text != "" {
				all = append(all, text)
			}
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.pages = append(w.pages, strings.Join(all, "\n"))
	}
	return a
}

// inOrder fails unless pages with these words follow each other.
func (w *wall) inOrder(t *testing.T, words ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	at := 0
	for _, p := range w.pages {
		for at < len(words) && strings.Contains(p, words[at]) {
			at++
		}
	}
	if at < len(words) {
		t.Errorf("no page with %q after the one before, of:\n%s", words[at], strings.Join(slices.Compact(w.pages), "\n----\n"))
	}
}

func (w *wall) last() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pages[len(w.pages)-1]
}

// A start that deploys shows what it does and what comes next, and at its end that Windows starts.
func TestPagesOfDeployment(t *testing.T) {
	b, w := newBench(t, protocol.MergeNow), &wall{}
	if code := w.on(b.agent()).run(t.Context()); code != ExitDone {
		t.Fatalf("exit code %d\n%s", code, b.out.String())
	}
	w.inOrder(t, "This PC\nLooking at the disk", "Asking the server", "pc-01", "Fetching version 2", "Next version 2 is put in place, it is merged, then Windows starts",
		" of ", "Putting version 2 in place", "Merging", "Starting Windows")
	if p := w.last(); !strings.HasPrefix(p, "pc-01") || strings.Contains(p, "To do") || strings.Contains(p, "W:") {
		t.Errorf("the last page:\n%s", p)
	}
	for _, p := range w.pages {
		if strings.Contains(p, "R:") {
			t.Fatalf("R is offered in a room without:\n%s", p)
		}
	}
}

// A start that cannot reach a server shows that, and what helps; what the last order said is known.
func TestPagesWithoutServer(t *testing.T) {
	b, w := newBench(t, protocol.MergeNow), &wall{}
	b.orders.Contact = "Anna, tel. 4711"
	b.run()
	b.url = "https://127.0.0.1:1"
	a := w.on(b.agent())
	slept := len(b.slept)
	a.run(t.Context())
	w.inOrder(t, "pc-01\nAsking the server", "The server was not reached\nWhat check-in: ", "Windows starts in the version it has")
	if p := w.last(); !strings.Contains(p, "Disk It was not changed.") || !strings.Contains(p, "Call Anna, tel. 4711") || !strings.Contains(p, "holds ") {
		t.Errorf("the last page:\n%s", p)
	}
	if len(b.slept) != slept {
		t.Error("it waits once more for a fault that was seen while it waited")
	}
}

// Any other fault is shown for a while before Windows starts.
func TestFaultIsShown(t *testing.T) {
	b, w := newBench(t, protocol.MergeNow), &wall{}
	b.orders.Version = 7
	w.on(b.agent()).run(t.Context())
	if !slices.Contains(b.slept, faultShown) {
		t.Errorf("it slept %v", b.slept)
	}
	if p := w.last(); !strings.Contains(p, "Something is wrong\nWhat plan: ") || !strings.Contains(p, "It was not changed.") {
		t.Errorf("the last page:\n%s", p)
	}
	b.slept = nil
	b.run() // without a screen
	if slices.Contains(b.slept, faultShown) {
		t.Error("it waits, and nobody can see why")
	}
}

// R throws the session away: where the room has it, while it is offered.
func TestKeyR(t *testing.T) {
	for _, c := range []struct {
		name    string
		rule    protocol.Reset
		press   string // when this is on the screen
		discard bool
	}{
		{"offered", protocol.ResetKey, "R: throw away this session", true},
		{"at the last moment", protocol.ResetKey, "Starting Windows", true},
		{"not pressed", protocol.ResetKey, "nowhere", false},
		{"not offered", protocol.ResetUpdate, "Asking the server", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, w := newBench(t, protocol.MergeNow), &wall{}
			b.orders.Rules.Reset = c.rule
			b.run()
			b.windowsRuns()
			a := w.on(b.agent())
			show := a.con.display.show
			a.con.display.show = func(lines []page.Line) {
				if show(lines); strings.Contains(w.last(), c.press) {
					a.con.keyboard.press('R')
				}
			}
			if code := a.run(t.Context()); code != ExitDone || !b.handed {
				t.Errorf("exit code %d, Windows was started: %v\n%s", code, b.handed, b.out.String())
			}
			if b.state().SessionWritten == c.discard {
				t.Errorf("discarded: %v, want %v\n%s", !c.discard, c.discard, b.out.String())
			}
			if c.discard {
				w.inOrder(t, "R: throw away this session", "R was pressed", "Throwing away the last session", "Starting Windows")
				b.holds(b.v2)
			}
			for _, p := range w.pages {
				if c.rule != protocol.ResetKey && strings.Contains(p, "R:") {
					t.Fatalf("R is offered:\n%s", p)
				}
			}
		})
	}
}

// A machine that has no room shows its code, and the command that gives it one.
func TestPageOfStranger(t *testing.T) {
	b, w := newBench(t, protocol.MergeNow), &wall{}
	b.orders.Code, b.orders.Version, b.orders.Contact = "QX7M2K", 1, "Anna"
	w.on(b.agent()).run(t.Context())
	if p := w.last(); !strings.HasPrefix(p, "Code QX7M2K this PC has no room yet\nThis PC has no room yet\nWhat the machine has this version") ||
		!strings.Contains(p, "To do On the server: troy assign --room ROOM QX7M2K NAME") || !strings.Contains(p, "Call Anna") {
		t.Errorf("the last page:\n%s", p)
	}
	if !slices.Contains(b.slept, faultShown) {
		t.Errorf("nobody can read the code: it slept %v", b.slept)
	}
}
