package lab

import (
	"math/rand/v2"
	"testing"
	"time"
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func hours(t *testing.T, loc *time.Location, windows ...string) Hours {
	t.Helper()
	h := Hours{Zone: loc}
	for _, text := range windows {
		w, err := ParseWindow(text)
		if err != nil {
			t.Fatal(err)
		}
		h.Windows = append(h.Windows, w)
	}
	return h
}

// TestClockChanges has the nights in which the clocks of Berlin, and of two odd places, change.
func TestClockChanges(t *testing.T) {
	const form = "2006-01-02 15:04 -0700"
	for _, c := range []struct{ zone, window, now, opens, closes string }{
		{"Europe/Berlin", "22:00-05:30", "2026-03-28 12:00 +0100", "2026-03-28 22:00 +0100", "2026-03-29 05:30 +0200"}, // 6.5 h
		{"Europe/Berlin", "22:00-05:30", "2026-10-24 12:00 +0200", "2026-10-24 22:00 +0200", "2026-10-25 05:30 +0100"}, // 8.5 h
		{"Europe/Berlin", "02:30-04:00", "2026-03-29 00:00 +0100", "2026-03-29 03:00 +0200", "2026-03-29 04:00 +0200"}, // opens in the hour that is skipped
		{"Europe/Berlin", "01:00-02:30", "2026-03-29 00:00 +0100", "2026-03-29 01:00 +0100", "2026-03-29 03:00 +0200"}, // closes in it
		{"Europe/Berlin", "02:10-02:50", "2026-03-29 00:00 +0100", "2026-03-30 02:10 +0200", "2026-03-30 02:50 +0200"}, // lies in it: does not open
		{"Europe/Berlin", "02:30-04:00", "2026-10-25 00:00 +0200", "2026-10-25 02:30 +0200", "2026-10-25 04:00 +0100"}, // opens at the first 02:30
		{"Europe/Berlin", "01:00-02:30", "2026-10-25 00:00 +0200", "2026-10-25 01:00 +0200", "2026-10-25 02:30 +0200"}, // closes at the first
		{"Europe/Berlin", "02:15-02:45", "2026-10-25 00:00 +0200", "2026-10-25 02:15 +0200", "2026-10-25 02:45 +0200"},
		{"Europe/Berlin", "02:15-02:45", "2026-10-25 02:20 +0100", "2026-10-26 02:15 +0100", "2026-10-26 02:45 +0100"}, // not a second time
		{"Australia/Lord_Howe", "01:45-02:15", "2026-10-04 00:00 +1030", "2026-10-04 01:45 +1030", "2026-10-04 02:30 +1100"},
		{"Pacific/Apia", "22:00-05:30", "2011-12-29 12:00 -1000", "2011-12-29 22:00 -1000", "2011-12-31 05:30 +1400"}, // the 30th did not take place, its evening is the change
		{"UTC", "22:00-05:30", "2026-12-31 23:00 +0000", "2027-01-01 22:00 +0000", "2027-01-02 05:30 +0000"},
	} {
		t.Run(c.zone+" "+c.window+" after "+c.now, func(t *testing.T) {
			h := hours(t, zone(t, c.zone), c.window)
			now, err := time.Parse(form, c.now)
			if err != nil {
				t.Fatal(err)
			}
			open, end, ok := h.Next(now)
			if got := open.Format(form); !ok || got != c.opens || end.Format(form) != c.closes {
				t.Errorf("%s %s after %s: %s to %s, want %s to %s", c.zone, c.window, c.now, got, end.Format(form), c.opens, c.closes)
			}
			if !h.Open(open) || h.Open(open.Add(-time.Second)) || h.Open(end) || !h.Open(end.Add(-time.Second)) {
				t.Errorf("%s %s: the borders are wrong", c.zone, c.window)
			}
		})
	}
}

func TestDaysAndDates(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	h := hours(t, berlin, "22:00-05:30")
	h.Windows[0].Days = []Day{Day(time.Thursday), Day(time.Friday)}
	h.Except = []Dates{{Date{2026, time.December, 24}, Date{2026, time.December, 24}}}
	thursday := time.Date(2026, 12, 24, 23, 0, 0, 0, berlin)
	if h.Open(thursday) {
		t.Error("open on a date left out")
	}
	if h.Open(thursday.Add(4 * time.Hour)) {
		t.Error("open after midnight of a date left out")
	}
	if open, _, ok := h.Next(thursday); !ok || open.Day() != 25 || open.Hour() != 22 {
		t.Errorf("next is %v", open)
	}
	if !h.Open(time.Date(2026, 12, 26, 3, 0, 0, 0, berlin)) { // Saturday morning belongs to Friday
		t.Error("closed in the night after Friday")
	}
	if h.Open(time.Date(2026, 12, 26, 23, 0, 0, 0, berlin)) {
		t.Error("open on Saturday evening")
	}
	h.Except = []Dates{{Date{2026, time.December, 24}, Date{2027, time.January, 1}}}
	for _, date := range []time.Time{thursday, time.Date(2027, 1, 1, 23, 0, 0, 0, berlin)} {
		if h.Open(date) {
			t.Errorf("open on %v, an end of the span left out", date)
		}
	}
	if open, _, ok := h.Next(thursday); !ok || !open.Equal(time.Date(2027, 1, 7, 22, 0, 0, 0, berlin)) {
		t.Errorf("the first after the span is %v", open)
	}
	if open, _, ok := (Hours{Zone: berlin}).Next(thursday); ok {
		t.Errorf("no windows, but one opens %v", open)
	}
	touching := hours(t, berlin, "20:00-22:00", "22:00-23:00", "22:30-01:00")
	if end, ok := touching.Closes(time.Date(2026, 12, 1, 20, 0, 0, 0, berlin)); !ok || end.Hour() != 1 {
		t.Errorf("windows that touch close %v", end)
	}
	if begin, ok := touching.Began(time.Date(2026, 12, 2, 0, 30, 0, 0, berlin)); !ok || begin.Hour() != 20 || begin.Day() != 1 {
		t.Errorf("windows that touch began %v", begin)
	}
}

// TestWindowProperties draws hours and instants around changes of the clocks, and holds Open,
// Closes, Began and Next against each other, and Open against the clock on the wall.
func TestWindowProperties(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	zones := []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC", "America/Santiago", "Africa/Casablanca"}
	for range 1500 {
		loc := zone(t, zones[r.IntN(len(zones))])
		h := Hours{Zone: loc}
		for range 1 + r.IntN(3) {
			w := Window{From: Clock{r.IntN(24), r.IntN(60)}, To: Clock{r.IntN(24), r.IntN(60)}}
			if w.From == w.To {
				continue
			}
			for range r.IntN(4) {
				w.Days = append(w.Days, Day(r.IntN(7)))
			}
			h.Windows = append(h.Windows, w)
		}
		now := time.Unix(1_767_225_600+r.Int64N(2*365*86400), 0).In(loc) // 2026 and 2027
		if _, end := now.ZoneBounds(); !end.IsZero() && r.IntN(2) == 0 {
			now = end.Add(time.Duration(r.Int64N(int64(8*time.Hour))) - 4*time.Hour)
		}
		from := dateOf(now.In(loc)).add(r.IntN(5) - 2)
		h.Except = append(h.Except, Dates{from, from.add(r.IntN(3))})
		properties(t, h, now)
		if t.Failed() {
			return
		}
	}
}

func properties(t *testing.T, h Hours, now time.Time) {
	end, open := h.Closes(now)
	if open != h.Open(now) || open != (end.After(now)) {
		t.Errorf("%v at %v: open %v, closes %v", h, now, open, end)
	}
	if end.Sub(now) > 10*24*time.Hour {
		return // as good as always open
	}
	if open && (!h.Open(end.Add(-time.Second)) || h.Open(end)) {
		t.Errorf("%v at %v: closes %v, but is open %v before and %v then", h, now, end, h.Open(end.Add(-time.Second)), h.Open(end))
	}
	begin, ok := h.Began(now)
	if now.Sub(begin) > 10*24*time.Hour {
		return
	}
	if ok != open || ok && (begin.After(now) || h.Open(begin.Add(-time.Second)) || !h.Open(begin)) {
		t.Errorf("%v at %v: began %v, %v", h, now, begin, ok)
	}
	next, nextEnd, ok := h.Next(now)
	if ok && (!next.After(now) || !h.Open(next) || h.Open(next.Add(-time.Second)) || !nextEnd.After(next)) {
		t.Errorf("%v at %v: next %v to %v", h, now, next, nextEnd)
	}
	// Between now (or the end of what is open) and the next one, nothing is open.
	if ok && next.Before(now.AddDate(0, 0, 8)) {
		for at := end; at.Before(next); at = at.Add(7 * time.Minute) {
			if h.Open(at) {
				t.Errorf("%v at %v: next is %v, but %v is open", h, now, next, at)
				return
			}
		}
	}
	// Far from a change of the clocks, what is open is what the clock on the wall says.
	from, to := now.ZoneBounds()
	if (from.IsZero() || now.Sub(from) > 50*time.Hour) && (to.IsZero() || to.Sub(now) > 50*time.Hour) && open != wall(h, now.In(h.Zone)) {
		t.Errorf("%v at %v: open %v, the clock says otherwise", h, now, open)
	}
}

// wall judges by hours and minutes alone.
func wall(h Hours, now time.Time) bool {
	m := now.Hour()*60 + now.Minute()
	today := dateOf(now)
	for _, w := range h.Windows {
		from, to := w.From.minutes(), w.To.minutes()
		begins := func(d Date) bool {
			for _, e := range h.Except {
				for x := e.From; ; x = x.add(1) { // day by day
					if x == d {
						return false
					}
					if x == e.To {
						break
					}
				}
			}
			for _, day := range w.Days {
				if day == d.weekday() {
					return true
				}
			}
			return len(w.Days) == 0
		}
		if from < to && begins(today) && m >= from && m < to {
			return true
		}
		if to <= from && (begins(today) && m >= from || begins(today.add(-1)) && m < to) {
			return true
		}
	}
	return false
}
