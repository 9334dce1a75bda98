package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"troy/agent/decide"
	"troy/agent/page"
	"troy/agent/screen"
	"troy/internal/progress"
	"troy/internal/version"
	"troy/server/protocol"
)

// faultShown is how long a fault is shown before Windows starts: long enough for a photograph.
const faultShown = 10 * time.Second

// sleeper sleeps so long, or until the context ends.
type sleeper func(context.Context, time.Duration) error

// wait lets a person end what may take so long by the key W, and by R if that is said; the screen
// counts the time down. stop has to be called when the wait is over.
func (c *console) wait(ctx context.Context, long time.Duration, r bool) (waiting context.Context, stop func()) {
	waiting, deaf := c.keyboard.wait(ctx, r)
	done := c.display.wait(long, true)
	return waiting, func() { deaf(); done() }
}

// front is what people at the machine see and press.
type front struct {
	o      *Options
	con    *console
	disk   *disk
	net    *network
	names  *naming
	facts  *decide.Facts  // of the agent
	screen *screen.Screen // nil = none
}

// openScreen takes keyboard and screen of a machine that was just started; the function that it
// returns gives them back.
func (f *front) openScreen(ctx context.Context) (giveBack func()) {
	ctx, stop := context.WithCancel(ctx)
	f.con.keyboard.changed = func() {
		f.con.display.set(func(s *page.State) { s.Discard = page.Chosen })
	}
	listen := []string{screen.LinesTo(screen.Consoles()), consoleDevice}
	if f.o.Screen {
		listen[1] = screen.Terminal
		if s, err := screen.Open(screen.Terminal); err != nil {
			f.con.say("screen: %v; continuing without it", err)
		} else {
			f.screen, f.con.display.show = s, s.Show
		}
	}
	if !f.o.Running {
		f.con.keyboard.listen(slices.Compact(listen)...)
	}
	go f.con.display.run(ctx)
	return func() {
		stop()
		f.con.keyboard.close()
		f.closeScreen()
	}
}

// closeScreen leaves the last page on the screen.
func (f *front) closeScreen() {
	f.con.display.end()
	if f.screen != nil {
		_ = f.screen.Close() // it shows the page, or nobody can see one
		f.screen = nil
	}
}

// showStep shows what is done now, and what comes next.
func (f *front) showStep(steps []decide.Step) {
	f.con.display.set(func(s *page.State) {
		if s.Doing = doing(steps[0]); s.Fault == nil {
			s.Next = comes(steps)
		}
	})
}

// showFacts shows whose machine this is, and offers R where it does something.
func (f *front) showFacts() {
	shown, code := f.facts.Memo.Shown, ""
	if o := f.facts.Order; o != nil {
		shown, code = decide.ShownBy(o), o.Code
	}
	offers := decide.Offers(f.facts)
	pressed := f.con.keyboard.offer(offers)
	f.facts.Discard = pressed
	foot := "Troy " + version.Get().Short()
	if l := f.net.link; l != nil {
		foot += ", " + l.Addr.String()
	}
	f.con.display.set(func(s *page.State) {
		s.Name, s.Room, s.Code, s.Foot = shown.Name, shown.Room, code, foot
		s.Called, s.Lacks = f.names.shown(shown.Name)
		switch s.Discard = page.NoDiscard; {
		case offers && pressed:
			s.Discard = page.Chosen
		case offers:
			s.Discard = page.Offered
		}
	})
}

// pressedR tells, before the machine is handed over, whether R was pressed since the last decision.
// From here on it does nothing.
func (f *front) pressedR() bool {
	if pressed := f.con.keyboard.offer(false); pressed != f.facts.Discard {
		f.facts.Discard = pressed
		return true
	}
	return false
}

// showFault shows why the machine does not have what is wanted, or what it takes to get a room.
func (f *front) showFault(o decide.Outcome, next decide.Step) {
	code, what := "", o.Message
	if order := f.facts.Order; order != nil {
		code, what = order.Code, cmp.Or(what, order.Reason)
	}
	fault := &page.Fault{Title: "Something is wrong", What: what, Disk: touched(f.facts, o.Severity), Do: remedy(f.facts, o, next),
		Call: contact(f.facts), Facts: f.machineFacts()}
	switch {
	case code != "":
		fault.Title, fault.Do = "This PC has no room yet", fmt.Sprintf("On the server: troy assign --room ROOM %s NAME", code)
	case len(decide.Lacks(f.facts)) > 0:
		fault.Title = "This PC waits for a newer Troy"
	case o.Outcome == protocol.OutcomeWaiting:
		fault.Title = "This PC waits for a permission"
	case decide.Unreached(f.facts):
		fault.Title = "The server was not reached"
	}
	f.con.display.set(func(s *page.State) { s.Fault = fault })
}

// contact is who helps, by the last order.
func contact(f *decide.Facts) string {
	if f.Order != nil {
		return f.Order.Contact
	}
	return f.Memo.Shown.Contact
}

// touched says what became of the disk.
func touched(f *decide.Facts, s decide.Severity) string {
	switch {
	case slices.ContainsFunc(f.Done, func(r decide.Result) bool { return r.Check }):
		return "The disk does not give back what was written to it."
	case decide.Touched(f), s == decide.Unfinished:
		return "It was written to, and is safe: the next start goes on."
	}
	return "It was not changed."
}

// remedy says what to do.
func remedy(f *decide.Facts, o decide.Outcome, next decide.Step) string {
	windows := "Windows starts in the version it has. "
	switch {
	case f.Unsupported != "":
		return "Set the firmware of this PC to UEFI, and start it again."
	case next.Kind == decide.Again || decide.Waits(f):
		return "Leave this PC on: it tries again by itself. Windows cannot start before that."
	case f.Disk.Condition == decide.Missing:
		windows = "If there is another Windows, it starts. "
	}
	switch {
	case len(decide.Lacks(f)) > 0:
		return windows + "An admin has to publish a newer agent, or to make newer media."
	case o.Outcome == protocol.OutcomeWaiting:
		return windows + "An admin has to permit it."
	case o.Severity == decide.Check:
		return "Do not rely on this PC; have its disk looked at."
	case decide.Unreached(f):
		return windows + "Check cable and network; if other PCs show this too, the server."
	case o.Severity == decide.Unfinished:
		return windows + "Nothing has to be done at this PC."
	}
	return windows + "If this stays so, have it looked at."
}

// machineFacts are what somebody on the telephone asks for.
func (f *front) machineFacts() []string {
	hw := f.o.hardware()
	facts := []string{cmp.Or(strings.TrimSpace(hw.Vendor+" "+hw.Product), "of unknown make") + ", serial " + cmp.Or(hw.Serial, "unknown")}
	for _, p := range f.net.id.Ports {
		facts = append(facts, "network port "+p.MAC)
		break
	}
	for _, d := range f.disk.describe() {
		facts = append(facts, fmt.Sprintf("disk %s, %s", strings.TrimSpace(cmp.Or(d.Model, d.Path)+" "+d.Serial), progress.Bytes(d.Size)))
		break
	}
	if s := f.facts.Disk.State; f.facts.Disk.Condition == decide.Opened && s.Version > 0 {
		facts = append(facts, fmt.Sprintf("holds %s version %d", s.Image, s.Version))
	}
	if _, lacks := f.names.shown(""); lacks != "" {
		facts = append(facts, "Windows lacks "+lacks)
	}
	return append(facts, "firmware "+cmp.Or(hw.Firmware, "unknown"))
}

// lastLook shows a fault for a while before Windows starts, unless it was seen while the server was
// waited for. W ends that.
func (f *front) lastLook(ctx context.Context, sleep sleeper) {
	if f.con.display.show == nil || !f.con.display.faulty() || decide.Unreached(f.facts) {
		return
	}
	waiting, stop := f.con.wait(ctx, faultShown, false)
	defer stop()
	_ = sleep(waiting, faultShown)
}
