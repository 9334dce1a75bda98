package agent

import (
	"testing"
	"time"

	"troy/server/protocol"
)

// The time by the server's clock, with and without a server.
func TestClock(t *testing.T) {
	built := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	today := built.AddDate(0, 1, 0)
	for name, c := range map[string]struct {
		machine time.Time
		kept    keptClock
		told    time.Time
		want    time.Time
		sure    bool
	}{
		"never heard of a server":              {today, keptClock{}, time.Time{}, today, true},
		"never heard of one, no battery":       {time.Unix(0, 0), keptClock{}, time.Time{}, built, false},
		"three days ahead, a server answers":   {today.AddDate(0, 0, 3), keptClock{}, today, today, true},
		"three days ahead, known from before":  {today.AddDate(0, 0, 3), keptClock{int64(-72 * time.Hour), today.Add(-time.Hour)}, time.Time{}, today, true},
		"local time, known from before":        {today.Add(2 * time.Hour), keptClock{int64(-2 * time.Hour), today.Add(-time.Minute)}, time.Time{}, today, true},
		"set back since the last answer":       {today.AddDate(0, 0, -9), keptClock{0, today.Add(-time.Hour)}, time.Time{}, today.AddDate(0, 0, -9), false},
		"years after the last answer":          {today.AddDate(2, 0, 0), keptClock{0, today}, time.Time{}, today.AddDate(2, 0, 0), false},
		"set back, but now a server answers":   {time.Unix(0, 0), keptClock{0, today.Add(-time.Hour)}, today, today, true},
		"two weeks off, as at the last answer": {today.AddDate(0, 0, 14), keptClock{0, today}, time.Time{}, today.AddDate(0, 0, 14), true},
	} {
		t.Run(name, func(t *testing.T) {
			k := newClock(built, func() time.Time { return c.machine })
			k.kept = c.kept
			k.hear(c.told)
			now, sure := k.now()
			if off := now.Sub(c.want); off < 0 || off > time.Minute || sure != c.sure {
				t.Errorf("%v, %t, want %v, %t", now, sure, c.want, c.sure)
			}
		})
	}
}

// A machine whose clock is three days ahead keeps the hours of its room: they are the server's.
func TestWindowByTheServersClock(t *testing.T) {
	b := newBench(t, protocol.MergeLazy)
	b.machine = func() time.Time { return time.Now().AddDate(0, 0, 3) }
	b.orders.Rules.Until = time.Now().Add(time.Hour)
	if code := b.run(); code != ExitDone {
		t.Fatalf("exit code %d", code)
	}
	b.holds(b.v2)
}
