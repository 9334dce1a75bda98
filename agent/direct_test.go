package agent

import (
	"context"
	"errors"
	"strings"
	"testing"

	"troy/chainload"
	"troy/server/protocol"
)

// loader stands for GRUB on the ESP of a bench, as package chainload has it.
type loader struct {
	b        *bench
	allowed  bool
	made     int   // starts of Windows
	stuck    error // why it cannot be taken back that GRUB may start Windows
	at, left uint64
}

// start runs the agent from its own copy. The loader's block is taken back before anything else is
// written, and what is allowed comes after all that is.
func (l *loader) start(want int) {
	b := l.b
	b.t.Helper()
	before := b.digest()
	a := b.agent()
	a.own.inside = true
	l.at, l.left = 0, 0
	a.win.take = func() (int, error) {
		if l.at == 0 {
			l.at = b.digest()
		}
		if l.stuck != nil {
			return l.made, l.stuck
		}
		l.allowed = false
		return l.made, nil
	}
	a.win.allow = func() error { l.allowed, l.left = true, b.digest(); return nil }
	a.win.toWindows = func(context.Context) (chainload.Method, error) {
		b.handed, l.made = true, 0
		return chainload.ByBootNext, nil
	}
	b.out.Reset()
	b.handed = false
	if code := a.run(b.t.Context()); code != want || !b.handed {
		b.t.Fatalf("exit code %d, handed over %v\n%s", code, b.handed, b.out.String())
	}
	if l.at != before {
		b.t.Errorf("the disk was written to before it was taken back\n%s", b.out.String())
	}
	if l.left != 0 && l.left != b.digest() {
		b.t.Errorf("the disk was written to once GRUB might start Windows\n%s", b.out.String())
	}
}

func TestDirectStarts(t *testing.T) {
	b := newWindowsBench(t, protocol.MergeNow)
	b.orders.Rules.Starts = protocol.StartsDirect
	l := &loader{b: b}
	l.start(ExitDone)
	if l.allowed {
		t.Fatal("the first start of a version is direct")
	}
	b.windows()
	l.start(ExitDone)
	if !l.allowed || !strings.Contains(b.out.String(), "the next 4 may go straight to Windows") {
		t.Fatalf("not allowed:\n%s", b.out.String())
	}
	l.made = 3
	b.windows()
	l.start(ExitDone)
	if in := b.checkIn; in.Direct != 3 || in.Without != "" || in.Health != protocol.HealthGood || !strings.Contains(in.LastStart, "without the agent: 3") || !l.allowed {
		t.Errorf("%+v", in)
	}

	// A start that is cut off: the next one tells of the same starts.
	l.made = 2
	b.windows()
	a := b.agent()
	a.win.take = func() (int, error) { l.allowed = false; return l.made, nil }
	a.con.out = &onLine{word: "nothing to do", then: func() { panic(powerCut{}) }}
	func() {
		defer a.disk.close()
		defer func() { _ = recover() }()
		a.run(t.Context())
	}()
	if l.allowed {
		t.Fatal("allowed")
	}
	l.start(ExitDone)
	if in := b.checkIn; in.Direct != 2 || in.Without != "" || strings.Contains(in.LastStart, "without the agent") || !l.allowed {
		t.Errorf("%+v", in)
	}

	// The server is gone: the rule is that of the journal.
	url := b.url
	b.url = "https://127.0.0.1:1" // reserved: nothing listens there
	b.windows()
	l.start(ExitUntouched)
	if !l.allowed {
		t.Errorf("without a server:\n%s", b.out.String())
	}

	// It cannot be taken back: nothing is written at all, and Windows starts.
	b.url, l.stuck = url, errors.New("the ESP cannot be written to")
	before := b.digest()
	l.start(ExitUntouched)
	if b.digest() != before || !strings.Contains(b.out.String(), "nothing is changed as long as GRUB may start Windows by itself: the ESP cannot be written to") {
		t.Errorf("the disk was written to:\n%s", b.out.String())
	}
	l.stuck = nil
	b.windows()
	l.start(ExitDone)

	// The rule is another one from the next start on.
	b.orders.Rules.Starts = ""
	b.windows()
	l.start(ExitDone)
	if l.allowed {
		t.Errorf("starts: agent:\n%s", b.out.String())
	}
	l.stuck = errors.New("the ESP cannot be written to")
	b.windows()
	l.start(ExitDone) // it does not matter where GRUB may not start Windows anyway
}
