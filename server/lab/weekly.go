package lab

import (
	"slices"
	"time"

	"troy/server/protocol"
)

// Weekly returns the windows of the seven days from now as times that come each week, in order, for
// machines that reach no server. Those that touch are one. Dates that are left out count as others:
// a machine that takes a window for open waits a little longer for its network.
func (h Hours) Weekly(now time.Time) []protocol.Weekly {
	h.Except = nil
	var all []protocol.Weekly
	today := dateOf(now.In(h.zone()))
	for n := range 7 {
		for _, s := range h.on(today.add(n)) {
			all = append(all, protocol.Weekly{From: protocol.MinuteOfWeek(s.from), Minutes: int(s.to.Sub(s.from) / time.Minute)})
		}
	}
	slices.SortFunc(all, func(a, b protocol.Weekly) int { return a.From - b.From })
	return joined(all)
}

// joined makes one of those that touch, and leaves out what is too much.
func joined(all []protocol.Weekly) []protocol.Weekly {
	var out []protocol.Weekly
	for _, w := range all {
		if last := len(out) - 1; last >= 0 && w.From <= out[last].From+out[last].Minutes {
			out[last].Minutes = min(max(out[last].Minutes, w.From+w.Minutes-out[last].From), protocol.MaxMinutes)
			continue
		}
		out = append(out, w)
	}
	return out[:min(len(out), protocol.MaxWindows)]
}
