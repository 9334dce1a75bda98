package lab

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Window is a span of local time that comes again every week.
type Window struct {
	Days []Day `yaml:"days" about:"days on which it begins; default all"`
	From Clock `yaml:"from" need:"true" about:"local time at which it opens"`
	To   Clock `yaml:"to" need:"true" about:"local time at which it closes; not after from: on the next day"`
}

// Clock is a local time of day.
type Clock struct{ Hour, Minute int }

var clockPattern = regexp.MustCompile(`^([01][0-9]|2[0-3]):[0-5][0-9]$`)

func (c *Clock) parse(s string) error {
	if err := match(clockPattern, s); err != nil {
		return err
	}
	_, err := fmt.Sscanf(s, "%d:%d", &c.Hour, &c.Minute)
	return err
}
func (*Clock) want() string           { return `a time between "00:00" and "23:59", in quotes` }
func (*Clock) schema() map[string]any { return pattern(clockPattern.String()) }

// String writes it as lab.yaml does.
func (c Clock) String() string { return fmt.Sprintf("%02d:%02d", c.Hour, c.Minute) }

// minutes since midnight, as the clock shows it.
func (c Clock) minutes() int { return c.Hour*60 + c.Minute }

// Day is a day of the week.
type Day time.Weekday

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func (d *Day) parse(s string) error {
	i := slices.Index(dayNames, s)
	*d = Day(i)
	if i < 0 {
		return errWrong
	}
	return nil
}
func (*Day) want() string { return "one of " + strings.Join(dayNames, ", ") }
func (*Day) schema() map[string]any {
	return enum("sun", "mon", "tue", "wed", "thu", "fri", "sat")
}

// Date is a day of the calendar.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

func (d *Date) parse(s string) error {
	t, err := time.Parse(time.DateOnly, s)
	d.Year, d.Month, d.Day = t.Date()
	return err
}

// compare is negative where d is before e.
func (d Date) compare(e Date) int {
	return cmp.Or(d.Year-e.Year, int(d.Month-e.Month), d.Day-e.Day)
}

// Dates are the days from one date to another, both of them included.
type Dates struct{ From, To Date }

// datesPattern is the spelling of a span. Whether there are such days, and which of the two is the
// earlier one, only parse knows.
const datesPattern = `^[0-9]{4}-[0-9]{2}-[0-9]{2} to [0-9]{4}-[0-9]{2}-[0-9]{2}$`

func (d *Dates) parse(s string) error {
	from, to, span := strings.Cut(s, " to ")
	if !span {
		to = from
	}
	if d.From.parse(from) != nil || d.To.parse(to) != nil || d.From.compare(d.To) > 0 {
		return errWrong
	}
	return nil
}
func (*Dates) want() string {
	return "a date such as 2026-12-24, or a span such as 2026-12-21 to 2027-01-03"
}
func (*Dates) schema() map[string]any {
	return map[string]any{"type": "string", "anyOf": []any{map[string]any{"format": "date"}, map[string]any{"pattern": datesPattern}}}
}

// has says whether the date is one of them.
func (d Dates) has(x Date) bool { return d.From.compare(x) <= 0 && x.compare(d.To) <= 0 }

// String writes it as lab.yaml does.
func (d Date) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day) }

// add returns the date n days later.
func (d Date) add(n int) Date {
	return dateOf(time.Date(d.Year, d.Month, d.Day+n, 12, 0, 0, 0, time.UTC))
}

func (d Date) weekday() Day {
	return Day(time.Date(d.Year, d.Month, d.Day, 12, 0, 0, 0, time.UTC).Weekday())
}

// dateOf is the date that t's own zone shows.
func dateOf(t time.Time) Date {
	y, m, d := t.Date()
	return Date{y, m, d}
}

// ParseWindow reads "22:00-05:30": a window of every day.
func ParseWindow(text string) (Window, error) {
	var w Window
	from, to, ok := strings.Cut(text, "-")
	if !ok || w.From.parse(strings.TrimSpace(from)) != nil || w.To.parse(strings.TrimSpace(to)) != nil || w.From == w.To {
		return Window{}, fmt.Errorf("window %q: want FROM-TO as in 22:00-05:30", text)
	}
	return w, nil
}

// String writes the window for people.
func (w Window) String() string {
	var days []string
	for _, d := range w.Days {
		days = append(days, dayNames[d])
	}
	return strings.TrimSpace(strings.Join(days, ",") + " " + w.From.String() + "-" + w.To.String())
}

// on returns the span of the window that begins on a date; ok is false if it does not open then.
func (w *Window) on(d Date, loc *time.Location) (s span, ok bool) {
	if len(w.Days) > 0 && !slices.Contains(w.Days, d.weekday()) {
		return span{}, false
	}
	end := d
	if w.To.minutes() <= w.From.minutes() {
		end = d.add(1)
	}
	s = span{instant(d, w.From, loc), instant(end, w.To, loc)}
	return s, s.from.Before(s.to)
}

type span struct{ from, to time.Time }

// instant is when the clock on the wall first shows c on a date; in an hour that is skipped, the
// change of the clocks.
func instant(d Date, c Clock, loc *time.Location) time.Time {
	t := time.Date(d.Year, d.Month, d.Day, c.Hour, c.Minute, 0, 0, loc)
	wall := time.Date(d.Year, d.Month, d.Day, c.Hour, c.Minute, 0, 0, time.UTC)
	shown := wallOf(t)
	begin, end := t.ZoneBounds()
	switch {
	case shown.After(wall):
		return begin // skipped, and t lies behind the change
	case shown.Before(wall):
		return end // skipped, and t lies before the change
	case begin.IsZero():
		return t
	}
	// The same wall time may also have come before the last change.
	_, before := begin.Add(-time.Second).Zone()
	if first := wall.Add(-time.Duration(before) * time.Second).In(loc); first.Before(begin) && first.Before(t) && wallOf(first).Equal(wall) {
		return first
	}
	return t
}

// wallOf is what the clock on the wall shows at t, as a time in UTC.
func wallOf(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// Hours are the windows of a room, with the dates left out.
type Hours struct {
	Windows []Window
	Except  []Dates
	Zone    *time.Location // nil = UTC
}

const (
	lookBack  = 2   // days: a window begins at most so long before it closes
	lookAhead = 800 // days that Next looks into
	unionMost = 32  // windows that touch each other and are one; more is "always"
)

// Open says whether one of the windows is open.
func (h Hours) Open(now time.Time) bool { _, ok := h.Closes(now); return ok }

// Closes returns when the window that is open closes; ok is false if none is. Windows that touch
// are one. For windows that never leave a gap it is an instant some weeks ahead.
func (h Hours) Closes(now time.Time) (end time.Time, ok bool) {
	at := now
	for range unionMost {
		next := h.latestEnd(at)
		if !next.After(at) {
			break
		}
		at, ok = next, true
	}
	return at, ok
}

// latestEnd returns the last end of the windows that are open at t; t if there is none.
func (h Hours) latestEnd(t time.Time) time.Time {
	end := t
	today := dateOf(t.In(h.zone()))
	for n := -lookBack; n <= 0; n++ {
		for _, s := range h.on(today.add(n)) {
			if !s.from.After(t) && s.to.After(end) {
				end = s.to
			}
		}
	}
	return end
}

// Began returns when the window that is open now opened; windows that touch are one.
func (h Hours) Began(now time.Time) (begin time.Time, ok bool) {
	begin = now
	for range unionMost {
		first := begin
		today := dateOf(begin.In(h.zone()))
		for n := -lookBack; n <= 0; n++ {
			for _, s := range h.on(today.add(n)) {
				open := s.from.Before(begin) && (s.to.After(begin) || ok && s.to.Equal(begin))
				starts := !ok && s.from.Equal(begin)
				if (open || starts) && !s.from.After(first) {
					first, ok = s.from, true
				}
			}
		}
		if first.Equal(begin) {
			break
		}
		begin = first
	}
	return begin, ok
}

// Next returns when a window opens next, after now, and when that one closes.
func (h Hours) Next(now time.Time) (open, end time.Time, ok bool) {
	after := now
	if end, ok := h.Closes(now); ok {
		after = end // what opens before belongs to the one that is open
	}
	today := dateOf(now.In(h.zone()))
	for n := -lookBack; n <= lookAhead; n++ {
		for _, s := range h.on(today.add(n)) {
			if s.from.After(after) && (open.IsZero() || s.from.Before(open)) {
				open = s.from
			}
		}
		// One that begins on the next date cannot begin before one of this date by more than a
		// change of the clocks.
		if !open.IsZero() && dateOf(open.In(h.zone())) != today.add(n) {
			break
		}
	}
	if open.IsZero() {
		return time.Time{}, time.Time{}, false
	}
	end, _ = h.Closes(open)
	return open, end, true
}

// on returns the spans that begin on a date.
func (h Hours) on(d Date) []span {
	if slices.ContainsFunc(h.Except, func(x Dates) bool { return x.has(d) }) {
		return nil
	}
	var all []span
	for i := range h.Windows {
		if s, ok := h.Windows[i].on(d, h.zone()); ok {
			all = append(all, s)
		}
	}
	return all
}

func (h Hours) zone() *time.Location {
	if h.Zone == nil {
		return time.UTC
	}
	return h.Zone
}
