package rooms

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"troy/server/protocol"
	"troy/server/state"
)

// TestSilentWave: a version that kills machines stops its wave, though none of them reports. They
// are told of, count no longer once they are back, and may begin again.
func TestSilentWave(t *testing.T) {
	w := newWorld(t)
	w.promote("B204", 2, "none") // wave 2, failures 2
	for _, n := range []int{201, 202} {
		if o := w.checkIn(n, 1, nil); !begins(&o) {
			t.Fatalf("%+v", o)
		}
	}
	w.now = w.now.Add(staleTime + time.Minute)
	if o := w.checkIn(203, 1, nil); begins(&o) || !strings.Contains(o.Reason, "2 machines failed") {
		t.Errorf("both that began fell silent, and 203 is told %+v", o)
	}
	if woken := w.tick(0); strings.Contains(woken, "b204-3") || w.stops() != 1 || !strings.Contains(w.notes[0], ": nothing is heard of it since it began at 22:00 UTC") {
		t.Errorf("woken %q, told %q", woken, w.notes)
	}
	if o := w.checkIn(201, 1, nil); !begins(&o) {
		t.Errorf("one is silent, and 201, which is back, is told %+v", o)
	}
	w.now = w.now.Add(time.Minute)
	w.report(201, 2, protocol.OutcomeDone, "")
	if o := w.checkIn(203, 1, nil); !begins(&o) {
		t.Errorf("203: %+v", o)
	}
	w.restart() // after which silence counts anew
	if r := w.room("B204"); r.Counts[PhaseWorking] != 2 {
		t.Errorf("%+v", r)
	}
}

// TestCrashLoop: starts that end without a report are tries; lost answers are none.
func TestCrashLoop(t *testing.T) {
	for name, pause := range map[string]time.Duration{"slow": 5 * time.Minute, "fast": 20 * time.Second, "each night": 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.promote("B204", 2, "none")
			begun, since := 0, w.now
			for range 50 {
				if o := w.checkIn(201, 1, nil); !begins(&o) {
					break
				}
				begun++
				w.now = w.now.Add(pause)
				if pause > time.Hour { // in the morning a user starts it
					morning := w.now
					w.now = morning.Add(-14 * time.Hour)
					w.checkIn(201, 1, nil)
					w.now = morning
				}
			}
			h, _, err := w.k.Host("b204-1")
			if err != nil || h.Phase != PhaseFailed || h.Last.Tries != triesMost || !strings.Contains(h.Error, "without a report") || begun > triesMost && w.now.Sub(since) > triesMost*2*againTime {
				t.Errorf("began %d times in %s: %+v", begun, w.now.Sub(since), h)
			}
			if r := w.room("B204"); r.Counts[PhaseFailed] != 1 {
				t.Errorf("%+v", r)
			}
		})
	}
	w := newWorld(t)
	w.promote("B204", 2, "none")
	for range 10 { // the answer is lost again and again
		w.checkIn(201, 1, nil)
		w.now = w.now.Add(time.Second)
	}
	w.report(201, 2, protocol.OutcomeDone, "")
	if h, _, err := w.k.Host("b204-1"); err != nil || h.Last.Tries != 1 || h.Last.Result != state.ResultDone {
		t.Errorf("%+v, %v", h.Last, err)
	}
}

// TestLostVersion: a machine with a version that the store lost cannot be updated. It is rewritten
// where that is allowed; else it waits, and stops no wave. A store that cannot be read is no reason
// to write over anything.
func TestLostVersion(t *testing.T) {
	w := newWorld(t)
	w.promote("B204", 9, "none")
	for _, n := range []int{201, 202} {
		if o := w.checkIn(n, 99, nil); begins(&o) || version(&o) != 9 || !strings.Contains(o.Reason, "win11 version 99, which the store does not have; it waits for your permission: set `reinstall: true`") {
			t.Errorf("%d: %+v", n, o)
		}
		w.report(n, 99, protocol.OutcomeWaiting, "waits")
	}
	if o := w.checkIn(203, 7, nil); !begins(&o) {
		t.Errorf("a machine in order: %+v", o)
	}
	w.checkIn(901, 1, nil)
	if _, err := w.k.Assign(name(901), "b205-1", "B205"); err != nil { // reinstall: true
		t.Fatal(err)
	}
	w.promote("B205", 2, "none")
	w.k.o.Sizes = brokenSizes{}
	if o := w.checkIn(901, 99, nil); begins(&o) || !strings.Contains(o.Reason, "the store cannot provide it: input/output error") {
		t.Errorf("a store that cannot be read: %+v", o)
	}
	w.k.o.Sizes = fixedSizes{}
	signed := false
	w.k.o.Permitted = func(n Need) (bool, bool) { return signed && n.Scope == "reinstall", true }
	if o := w.checkIn(901, 99, nil); begins(&o) || !strings.Contains(o.Reason, "'troy permit reinstall b205-1") {
		t.Errorf("without a permit: %+v", o)
	}
	signed = true
	if o := w.checkIn(901, 99, nil); !begins(&o) || w.state.Get(w.id(901)).Attempt.Work != state.WorkReinstall {
		t.Errorf("with a permit: %+v", o)
	}
}

// brokenSizes is of a store on a disk that fails.
type brokenSizes struct{ fixedSizes }

func (brokenSizes) Size(context.Context, string, int, int) (Size, error) {
	return Size{}, errors.New("input/output error")
}

// TestPrevious: what a rollback brings back.
func TestPrevious(t *testing.T) {
	for _, x := range []struct {
		name  string
		steps []state.Target
		want  int
	}{
		{"the one before", targets(6, 7), 6},
		{"promoted twice", targets(6, 7, 7), 6},
		{"what was left as bad", targets(6, 7, -6, 8), 6},
		{"what was left, and promoted again", targets(6, 7, -6, 7, 8), 7},
		{"left twice", targets(6, 7, -6, 7, -6, 8), 6},
		{"back and back", targets(1, 2, 3, -2, -1), 0},
		{"removed from the store", targets(6, 77, 8), 6},
		{"nothing else is left", targets(77, 8), 0},
		{"another image between", append(targets(6), state.Target{Image: "win10", Version: 5}, state.Target{Image: "win11", Version: 7}), 6},
		{"another image with the number that was bad", append([]state.Target{{Image: "win10", Version: 6}, {Image: "win10", Version: 7}, {Image: "win10", Version: 6, Rollback: true}}, targets(7, 8)...), 7},
		{"another image alone", append([]state.Target{{Image: "win10", Version: 6}}, targets(8)...), 0},
	} {
		w := newWorld(t)
		for _, s := range x.steps {
			if _, err := w.state.Promote("B204", s); err != nil {
				t.Fatal(err)
			}
		}
		got, err := w.k.Previous("B204")
		if x.want == 0 && !errors.Is(err, ErrNotFound) || x.want != 0 && (err != nil || got.Version != x.want || got.Image != "win11") {
			t.Errorf("%s: %+v, %v, want %d", x.name, got, err, x.want)
		}
	}
	w := newWorld(t)
	w.promote("B204", 6, "none")
	w.promote("B204", 7, "none")
	w.k.o.Sizes = brokenSizes{}
	if got, err := w.k.Previous("B204"); err != nil || got.Version != 6 {
		t.Errorf("a store that cannot be read has lost nothing: %+v, %v", got, err)
	}
}

// targets is a history of win11; a number below 0 is a rollback.
func targets(versions ...int) (all []state.Target) {
	for _, v := range versions {
		all = append(all, state.Target{Image: "win11", Version: max(v, -v), Rollback: v < 0})
	}
	return all
}

// TestNightCountsOnce: done, failed and missing are three groups, each machine is in one at most,
// and hosts that follow another version or image are in none.
func TestNightCountsOnce(t *testing.T) {
	w := newWorld(t)
	w.useLab(strings.Replace(labText, `"52:54:00:00:02:04"}`, `"52:54:00:00:02:04", image: win10}`, 1))
	w.promote("B204", 2, "none") // 1, 2 and 3
	for n, at := range map[int]int{201: 2, 202: 1, 203: 2} {
		w.checkIn(n, 1, nil)
		outcome := protocol.OutcomeDone
		if at == 1 {
			outcome = protocol.OutcomeFailed
		}
		w.report(n, at, outcome, "bad disk")
	}
	w.checkIn(204, 1, func(c *protocol.CheckIn) { c.Image = "win10" })
	w.checkIn(203, 1, wentBackTo)
	w.tick(time.Minute)
	w.promote("B204", 3, "none") // a second one in the same night
	w.checkIn(201, 2, nil)
	w.report(201, 3, protocol.OutcomeDone, "")
	w.tick(time.Minute)
	w.now = at(t, "23 05:31")
	w.tick(0)
	w.restart()
	w.now = w.now.Add(time.Hour)
	w.checkIn(202, 1, nil) // after the window
	w.tick(0)
	list, err := w.k.Nights(at(t, "21 00:00"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, n := range list {
		got[fmt.Sprintf("%d: %d done, %d failed, %d missing, closed %v", n.Version, n.Done, n.Failed, n.Missing, n.Closed)] = true
	}
	for _, want := range []string{"2: 1 done, 2 failed, 0 missing, closed true", "3: 1 done, 0 failed, 2 missing, closed true"} {
		if !got[want] {
			t.Errorf("no night %q in %v", want, got)
		}
	}
	e, err := w.k.Estimate(t.Context(), Promotion{Room: "B204", Version: 4, After: "none"})
	if err != nil || e.Machines != 3 {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestClockSetBack: times of a clock that was ahead keep no slot, no call, no alarm and no night.
func TestClockSetBack(t *testing.T) {
	for name, restart := range map[string]bool{"while it runs": false, "before it starts": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			right := w.now
			w.now = right.AddDate(1, 0, 0)
			w.promote("B204", 2, "none")
			for _, n := range []int{201, 202} {
				w.checkIn(n, 1, nil)
			}
			w.checkIn(203, 1, nil) // waits
			w.tick(0)
			w.now = right
			if restart {
				w.restart()
			}
			w.tick(0)
			if r := w.room("B204"); r.Counts[PhaseWorking] != 2 || r.Counts[PhaseOutdated] != 1 {
				t.Errorf("at first machines are given their time: %+v", r)
			}
			if list, err := w.k.Nights(right.AddDate(0, 0, -9)); err != nil || len(list) > 0 && list[0].Begin.After(right) {
				t.Errorf("a night that is to come: %+v, %v", list, err)
			}
			w.now = w.now.Add(staleTime + time.Minute)
			if r := w.room("B204"); r.Counts[PhaseSilent] != 2 || r.Counts[PhaseOutdated] != 1 {
				t.Errorf("slots for a year: %+v", r)
			}
			if h, _, err := w.k.Host("b204-1"); err != nil || h.Seen.After(w.now) {
				t.Errorf("%+v, %v", h, err)
			}
			w.promote("B204", 3, "none")
			if woken := w.tick(0); woken == "" {
				t.Error("nobody is called for a year")
			}
			w.now = at(t, "30 23:00")
			if woken := w.tick(0); woken == "" || w.alarm(201) == "" {
				t.Errorf("after 8 days %q are woken, alarm %q", woken, w.alarm(201))
			}
		})
	}
}

// TestForgottenMeanwhile: a machine that is forgotten while its report is on its way leaves no
// record that only the disk, or only the memory, knows.
func TestForgottenMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.promote("B204", 2, "none")
	w.checkIn(201, 1, nil)
	w.k.Progress(peer(201), protocol.Progress{Protocol: protocol.Version, Machine: machine(201), Phase: "fetch"})
	m := w.state.Get(w.id(201))
	if err := w.k.Forget(m.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.state.Update(m.ID, w.k.keep); !errors.Is(err, errForgotten) {
		t.Errorf("a record is made of what was forgotten: %v", err)
	}
	if _, ok := w.k.live.get(m.ID); ok || w.id(201) != "" || len(w.k.marks["B204"]) != 0 {
		t.Errorf("left over: %v, %q, %v", ok, w.id(201), w.k.marks)
	}
}
