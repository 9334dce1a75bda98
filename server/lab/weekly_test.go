package lab

import (
	"slices"
	"testing"
	"time"

	"troy/server/protocol"
)

func TestWeekly(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	const day = 24 * 60
	window := func(text string, days ...Day) Window {
		w, err := ParseWindow(text)
		if err != nil {
			t.Fatal(err)
		}
		w.Days = days
		return w
	}
	winter := time.Date(2026, 12, 1, 12, 0, 0, 0, berlin)
	for _, test := range []struct {
		name  string
		hours Hours
		now   time.Time
		want  []protocol.Weekly
	}{
		{"none", Hours{}, winter, nil},
		{"Sunday night", Hours{Windows: []Window{window("22:00-05:30", Day(time.Sunday))}, Zone: berlin}, winter, []protocol.Weekly{{From: 6*day + 21*60, Minutes: 450}}},
		{"Monday, which is still Sunday in London", Hours{Windows: []Window{window("00:30-02:00", Day(time.Monday))}, Zone: berlin}, winter, []protocol.Weekly{{From: 6*day + 23*60 + 30, Minutes: 90}}},
		{"in summer", Hours{Windows: []Window{window("22:00-05:30", Day(time.Monday))}, Zone: berlin}, winter.AddDate(0, 7, 0), []protocol.Weekly{{From: 20 * 60, Minutes: 450}}},
		{"windows that touch", Hours{Windows: []Window{window("12:00-14:00", Day(time.Tuesday)), window("10:00-12:00", Day(time.Tuesday)), window("13:00-13:30", Day(time.Tuesday))}}, winter, []protocol.Weekly{{From: day + 600, Minutes: 240}}},
		{"a date that is left out", Hours{Windows: []Window{window("10:00-12:00", Day(time.Tuesday))}, Except: []Dates{{Date{2026, 12, 1}, Date{2026, 12, 1}}}}, winter, []protocol.Weekly{{From: day + 600, Minutes: 120}}},
		{"round the clock", Hours{Windows: []Window{window("00:00-12:00"), window("12:00-00:00")}}, winter, []protocol.Weekly{{From: 0, Minutes: protocol.MaxMinutes}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := test.hours.Weekly(test.now)
			if !slices.Equal(got, test.want) {
				t.Fatalf("%v, want %v", got, test.want)
			}
			// The machine and the server mean the same, whatever the time is.
			for m := range 7 * day {
				at := test.now.Add(time.Duration(m) * time.Minute)
				open := slices.ContainsFunc(got, func(w protocol.Weekly) bool { return w.Holds(at) })
				if len(test.hours.Except) == 0 && open != test.hours.Open(at) {
					t.Fatalf("at %v: open %v, the server says %v", at, open, !open)
				}
			}
		})
	}
}
