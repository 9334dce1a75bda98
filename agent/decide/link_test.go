package decide

import (
	"testing"
	"time"

	"troy/diskwriter/machine"
	"troy/server/protocol"
)

func TestLinkPatience(t *testing.T) {
	// noon is a Tuesday's.
	const tuesday = 24 * 60
	room := func(patience int, windows ...protocol.Weekly) func(*Facts) {
		return func(f *Facts) { f.Memo.Link = Link{Patience: patience, Windows: windows} }
	}
	night, day := protocol.Weekly{From: tuesday + 22*60, Minutes: 8 * 60}, protocol.Weekly{From: tuesday + 8*60, Minutes: 5 * 60}
	for _, test := range []struct {
		name  string
		facts *Facts
		want  time.Duration
	}{
		{"no order was ever given", facts(on(1)), LinkPatience},
		{"a window is open", facts(on(1), room(0, night, day)), LinkPatience},
		{"a window is open, the room waits longer", facts(on(1), room(90, day)), 90 * time.Second},
		{"no window is open", facts(on(1), room(0, night)), HurriedPatience},
		{"no window is open, the room waits longer", facts(on(1), room(600, night)), HurriedPatience},
		{"no window is open, the room waits less", facts(on(1), room(5, night)), 5 * time.Second},
		{"the window of the night before a Monday", facts(on(1), room(0, protocol.Weekly{From: protocol.MaxMinutes - 60, Minutes: 120}),
			func(f *Facts) { f.Now = time.Date(2026, 12, 7, 0, 59, 0, 0, time.UTC) }), LinkPatience},
		{"it is over", facts(on(1), room(0, protocol.Weekly{From: protocol.MaxMinutes - 60, Minutes: 120}),
			func(f *Facts) { f.Now = time.Date(2026, 12, 7, 1, 0, 0, 0, time.UTC) }), HurriedPatience},
		{"always", facts(on(1), room(0, protocol.Weekly{Minutes: protocol.MaxMinutes})), LinkPatience},
		{"the machine was woken", facts(on(1), room(0, night), func(f *Facts) { f.Woken = true }), LinkPatience},
		{"the clock is wrong", facts(on(1), room(0, night), func(f *Facts) { f.ClockUnsure = true }), LinkPatience},
		{"there is no Windows", facts(machine.State{Reinstalling: true}, room(0, night)), LinkPatience},
		{"a kernel argument", facts(on(1), room(90, day), func(f *Facts) { f.LinkPatience = 2 * time.Minute }), 2 * time.Minute},
		{"a kernel argument, no window is open", facts(on(1), room(90, night), func(f *Facts) { f.LinkPatience = 2 * time.Minute }), HurriedPatience},
	} {
		t.Run(test.name, func(t *testing.T) {
			if s := connect(test.facts); s == nil || s.Patience != test.want || s.Hurry != (test.want <= HurriedPatience) {
				t.Errorf("%+v, want %v", s, test.want)
			}
		})
	}
}
