package rooms

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/state"
)

const labText = `format: 1
zone: Europe/Berlin
bandwidth: 800
images: [win11, win10]
defaults:
  image: win11
  wave: 2
  failures: 2
  windows: [{from: "22:00", to: "05:30"}]
rooms:
  test: {always: true, healthy: 50, wake: false}
  B204: {after: test, broadcast: [10.2.4.255]}
  B205: {reset: boot, merge: now, at_close: finish, bandwidth: 80, reinstall: true, provision: {allow: true, wipe: true, serial: S1, slot_gib: 2}}
  B206: {version: 40}
hosts:
  - {name: test-1, room: test, mac: "52:54:00:00:00:01"}
  - {name: test-2, room: test, mac: "52:54:00:00:00:02"}
  - {name: b204-1, room: B204, mac: "52:54:00:00:02:01"}
  - {name: b204-2, room: B204, mac: "52:54:00:00:02:02"}
  - {name: b204-3, room: B204, mac: "52:54:00:00:02:03"}
  - {name: b204-4, room: B204, mac: "52:54:00:00:02:04"}
  - {name: b204-5, room: B204, mac: "52:54:00:00:02:05", version: 3}
`

func parseLab(t *testing.T) *lab.Lab {
	t.Helper()
	l, err := lab.Parse("lab.yaml", []byte(labText))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// at is an instant in the time zone of the lab; a Sunday evening in November.
func at(t *testing.T, clock string) time.Time {
	t.Helper()
	loc, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	v, err := time.ParseInLocation("2006-01-02 15:04", "2026-11-"+clock, loc)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestDecide begins with a case in which a machine may start, and changes one thing.
func TestDecide(t *testing.T) {
	l := parseLab(t)
	room := func(c *Case, name string) {
		p, ok := l.Room(name)
		if !ok {
			t.Fatal(name)
		}
		c.Room = &p
	}
	wanted := func(o *protocol.Order) bool { return o.Want != nil }
	agentNext := func(o *protocol.Order) bool { return o.Rules.Starts == protocol.StartsAgent }
	hash := strings.Repeat("a", protocol.HashSize)
	for _, x := range []struct {
		name   string
		change func(c *Case)
		start  bool
		work   state.Work // that is begun
		reason string
		also   func(o *protocol.Order) bool
	}{
		{"may start", func(*Case) {}, true, state.WorkUpdate, "", func(o *protocol.Order) bool {
			return *o.Want == protocol.Want{Image: "win11", Version: 2, Manifest: hash} && o.Rules.Merge == "lazy" && o.Rules.Reset == "update" && o.Rules.Until.Equal(at(t, "23 05:30")) && o.Wait == 0 && o.Repo == "repo"
		}},
		{"unknown", func(c *Case) { c.Room, c.Goal, c.Code = nil, nil, "ABC234" }, false, state.WorkNone, "is unknown", func(o *protocol.Order) bool { return o.Code == "ABC234" }},
		{"nothing promoted", func(c *Case) { c.Goal = nil }, false, state.WorkNone, "no version was promoted", nil},
		{"has it", func(c *Case) { c.CheckIn.Version = 2 }, false, state.WorkNone, "has this version", wanted},
		{"has it, full wave", func(c *Case) { c.CheckIn.Version, c.Active = 2, 9 }, false, state.WorkNone, "has this version", func(o *protocol.Order) bool { return o.Wait == 0 }},
		{"students at the door", func(c *Case) { c.Now = at(t, "23 08:00") }, false, state.WorkNone, "not now: the window opens Mon 2026-11-23 22:00",
			func(o *protocol.Order) bool { return o.Rules.Until.Equal(at(t, "23 08:00")) }},
		{"promoted for another time", func(c *Case) {
			c.Now, c.Goal.Window = at(t, "23 08:00"), &lab.Window{From: lab.Clock{Hour: 7}, To: lab.Clock{Hour: 9}}
		}, true, state.WorkUpdate, "", func(o *protocol.Order) bool { return o.Rules.Until.Equal(at(t, "23 09:00")) }},
		{"not at the room's time then", func(c *Case) { c.Goal.Window = &lab.Window{From: lab.Clock{Hour: 7}, To: lab.Clock{Hour: 9}} }, false, state.WorkNone, "not now", nil},
		{"always", func(c *Case) { room(c, "test"); c.Now = at(t, "23 08:00") }, true, state.WorkUpdate, "", func(o *protocol.Order) bool {
			return o.Rules.Until.IsZero() && slices.Equal(o.Rules.Windows, []protocol.Weekly{{Minutes: protocol.MaxMinutes}}) && o.Rules.LinkPatience == 0
		}},
		{"for the screen", func(c *Case) { room(c, "B204"); c.Where, c.Room.Contact, c.Room.Reset = "B204", "Anna", lab.ResetKey }, true, state.WorkUpdate, "", func(o *protocol.Order) bool {
			return o.Room == "B204" && o.Contact == "Anna" && o.Rules.Reset == protocol.ResetKey
		}},
		{"starts: direct, has it", func(c *Case) { c.Room.Starts, c.CheckIn.Version = "direct", 2 }, false, state.WorkNone, "has this version", func(o *protocol.Order) bool {
			return o.Rules.Starts == protocol.StartsDirect
		}},
		{"starts: direct, gets another", func(c *Case) { c.Room.Starts = "direct" }, true, state.WorkUpdate, "", agentNext},
		{"starts: direct, it has to wait for its window", func(c *Case) { c.Room.Starts, c.Now = "direct", at(t, "23 08:00") }, false, state.WorkNone, "not now", agentNext},
		{"starts: direct, it has to wait for a slot", func(c *Case) { c.Room.Starts, c.Active = "direct", 2 }, false, state.WorkNone, "at work", agentNext},
		{"starts: direct, has another of that number", func(c *Case) { c.Room.Starts, c.CheckIn.Version, c.Another, c.Lost = "direct", 2, true, true }, false, state.WorkNone, "holds another win11 version 2", agentNext},
		{"starts: direct, is to be compared", func(c *Case) {
			c.Room.Starts, c.CheckIn.Version, c.Verify, c.Known = "direct", 2, &protocol.Verify{ID: "1"}, true
		}, true, state.WorkVerify, "", agentNext},
		{"starts: direct, setup is pending", func(c *Case) { c.Room.Starts, c.CheckIn.Version, c.CheckIn.Setup = "direct", 2, protocol.SetupPending }, false, state.WorkNone, "has this version", agentNext},
		{"starts: direct, nothing promoted", func(c *Case) { c.Room.Starts, c.Goal = "direct", nil }, false, state.WorkNone, "no version", func(o *protocol.Order) bool {
			return o.Rules.Starts == protocol.StartsDirect
		}},
		{"patience with the network", func(c *Case) { room(c, "B204"); c.Room.Link = 90 }, true, state.WorkUpdate, "", func(o *protocol.Order) bool {
			return o.Rules.LinkPatience == 90 && slices.ContainsFunc(o.Rules.Windows, func(w protocol.Weekly) bool { return w.Holds(at(t, "29 23:00")) && !w.Holds(at(t, "29 21:59")) })
		}},
		{"always, but promoted for a time", func(c *Case) {
			room(c, "test")
			c.Goal.Window = &lab.Window{From: lab.Clock{Hour: 7}, To: lab.Clock{Hour: 9}}
		}, false, state.WorkNone, "not now: the window opens Mon 2026-11-23 07:00", nil},
		{"finish", func(c *Case) { room(c, "B205") }, true, state.WorkUpdate, "", func(o *protocol.Order) bool {
			return o.Rules.Until.IsZero() && o.Rules.Reset == "boot" && o.Rules.Merge == "now" && o.Rules.Rate == 5_000_000
		}},
		{"too late", func(c *Case) { c.Now = at(t, "23 05:29") }, false, state.WorkNone, "not now: it takes about 2m0s, the window closes in 1m0s", nil},
		{"too big for what is left", func(c *Case) { c.Now, c.Size.Fetch = at(t, "23 05:00"), 200<<30 }, false, state.WorkNone, "not now: it takes about", nil},
		{"wave is full", func(c *Case) { c.Active = 2 }, false, state.WorkNone, "2 machines are at work", func(o *protocol.Order) bool {
			return o.Wait >= 15 && o.Wait <= 135
		}},
		{"wave is full until the end", func(c *Case) { c.Active, c.Now = 2, at(t, "23 05:27") }, false, state.WorkNone, "other machines are at work", func(o *protocol.Order) bool { return o.Wait == 0 }},
		{"too many failed", func(c *Case) { c.Failed = 2 }, false, state.WorkNone, "the wave was stopped: 2 machines failed", nil},
		{"one failed", func(c *Case) { c.Failed = 1 }, true, state.WorkUpdate, "", nil},
		{"stopped by hand", func(c *Case) { c.Goal.Stopped = "no" }, false, state.WorkNone, "the wave was stopped: no", nil},
		{"gate", func(c *Case) { c.Goal.Gate = "waits for room test" }, false, state.WorkNone, "waits for room test", nil},
		{"tried too often", func(c *Case) {
			c.Attempt = &state.Attempt{Target: 7, Image: "win11", Version: 2, Result: state.ResultFailed, Tries: triesMost, Message: "disk"}
		}, false, state.WorkNone, "failed 3 times: disk", nil},
		{"tried at another promotion", func(c *Case) {
			c.Attempt = &state.Attempt{Target: 6, Image: "win11", Version: 2, Result: state.ResultFailed, Tries: triesMost}
		}, true, state.WorkUpdate, "", nil},
		{"sick disk", func(c *Case) { c.CheckIn.Detail = "the slot is short" }, false, state.WorkNone, "the slot is short", nil},
		{"other image", func(c *Case) { c.CheckIn.Image = "win10" }, false, state.WorkNone, "holds win10 version 1; it waits for your permission: set `reinstall: true`", wanted},
		{"damaged", func(c *Case) { c.CheckIn.Detail, c.CheckIn.Damaged = "a slot is damaged", true }, false, state.WorkNone, "damaged; it waits for your permission", wanted},
		{"damaged, reinstall", func(c *Case) { c.CheckIn.Detail, c.CheckIn.Damaged = "a slot is damaged", true; room(c, "B205") }, true, state.WorkReinstall, "", wanted},
		{"other image, reinstall", func(c *Case) { c.CheckIn.Image = "win10"; room(c, "B205") }, true, state.WorkReinstall, "", nil},
		{"unknown version, reinstall", func(c *Case) { c.CheckIn.Version = 0; room(c, "B205") }, true, state.WorkReinstall, "", nil},
		{"bare", func(c *Case) { *c.CheckIn = bareMachine() }, false, state.WorkNone, "no disk of this machine is prepared; it waits for your permission: set `provision: {allow: true}`", wanted},
		{"bare, provision", func(c *Case) { *c.CheckIn = bareMachine(); room(c, "B205") }, true, state.WorkProvision, "", func(o *protocol.Order) bool {
			return !o.Permits.Reinstall && !o.Permits.Retry && *o.Permits.Provision == protocol.Provision{Serial: "S1", Wipe: true, SlotBytes: 2 << 30}
		}},
		{"bare, outside of the window", func(c *Case) { *c.CheckIn = bareMachine(); room(c, "B205"); c.Now = at(t, "23 12:00") }, false, state.WorkNone, "not now", nil},
		{"release of the agent", func(c *Case) { c.Agent = "a1" }, true, state.WorkUpdate, "", func(o *protocol.Order) bool { return o.Agent == "a1" }},
		{"retry once only", func(c *Case) {
			c.Goal.Retry = true
			c.Attempt = &state.Attempt{Target: 7, Image: "win11", Version: 2, Result: state.ResultDone, Tries: 1}
		}, true, state.WorkUpdate, "", func(o *protocol.Order) bool { return !o.Permits.Retry }},
		{"retry", func(c *Case) { c.Goal.Retry = true }, true, state.WorkUpdate, "", func(o *protocol.Order) bool { return o.Permits.Retry }},
	} {
		c := &Case{Now: at(t, "22 23:00"), Lab: l, Goal: &Goal{ID: 7, Image: "win11", Version: 2}, Size: Size{Fetch: 1 << 30, Write: 2 << 30, Manifest: hash},
			CheckIn: &protocol.CheckIn{Protocol: protocol.Version, Machine: protocol.Machine{Ports: []protocol.Port{{MAC: "52:54:00:00:02:01"}}}, Image: "win11", Version: 1}}
		room(c, "B204")
		x.change(c)
		d := Decide(c)
		if err := d.Order.Validate(); err != nil {
			t.Errorf("%s: %v", x.name, err)
		}
		if d.Start != x.start || d.Work != x.work || x.start && d.Order.Want == nil || !strings.Contains(d.Order.Reason, x.reason) || x.reason == "" && d.Order.Reason != "" || x.also != nil && !x.also(&d.Order) {
			t.Errorf("%s: start %v, %+v", x.name, d.Start, d.Order)
		}
	}
}

func bareMachine() protocol.CheckIn {
	return protocol.CheckIn{Protocol: protocol.Version, Machine: protocol.Machine{Ports: []protocol.Port{{MAC: "52:54:00:00:02:01"}}}, Detail: "no disk of Troy",
		Disks: []protocol.Disk{{Path: "/dev/sda", Size: 1 << 40, SectorSize: 512, Empty: true}}}
}

func TestEstimateSpan(t *testing.T) {
	h := lab.Hours{Windows: []lab.Window{{From: lab.Clock{Hour: 22}, To: lab.Clock{Hour: 5}}}}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	e := Estimate{Machines: 30, Current: 10, Wave: 10, Fetch: 20 << 30, Write: 40 << 30, Rate: 100 << 20}
	e.span(h, now, false)
	// 204.8 s of network, two waves of 90 s and 2 GiB at 80 MiB/s.
	if want := 204.8 + 2*(90+25.6); e.Takes < want-0.1 || e.Takes > want+0.1 || !e.Fits || e.Opens.Hour() != 22 || e.Closes.Day() != 23 {
		t.Errorf("%+v, want %v s", e, want)
	}
	e.Fetch *= 1000
	if e.span(h, now, false); e.Fits {
		t.Errorf("%v s fit into seven hours", e.Takes)
	}
	if e.span(lab.Hours{}, now, false); e.Fits || !e.Opens.IsZero() {
		t.Errorf("no window, but %+v", e)
	}
}

// TestDecideProperties draws cases: every order is valid, and what must never be ordered never is.
func TestDecideProperties(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	l := parseLab(t)
	names := l.RoomNames()
	started := 0
	for range 20_000 {
		p, _ := l.Room(names[r.IntN(len(names))])
		c := &Case{Now: at(t, "22 00:00").Add(time.Duration(r.IntN(10*86400)) * time.Second), Lab: l, Room: &p, Active: r.IntN(4), Failed: r.IntN(3),
			Goal: &Goal{ID: 7, Image: "win11", Version: 1 + r.IntN(3)}, Size: Size{Fetch: r.Int64N(60 << 30), Write: r.Int64N(60 << 30), Manifest: strings.Repeat("a", protocol.HashSize)},
			CheckIn: &protocol.CheckIn{Machine: protocol.Machine{Ports: []protocol.Port{{MAC: "52:54:00:00:02:01"}}}, Image: []string{"", "win11", "win10"}[r.IntN(3)], Version: r.IntN(4)}}
		if r.IntN(3) == 0 {
			c.CheckIn.Disks = []protocol.Disk{{Path: "/dev/sda", Empty: true}}
		}
		if r.IntN(4) == 0 {
			c.Goal.Window = &lab.Window{From: lab.Clock{Hour: r.IntN(24)}, To: lab.Clock{Hour: r.IntN(24), Minute: 1}}
		}
		d := Decide(c)
		if err := d.Order.Validate(); err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		closes, open := c.hours().Closes(c.Now)
		switch {
		case d.Start != (d.Work != state.WorkNone), d.Start != begins(&d.Order):
			t.Fatalf("%+v: %+v", c, d)
		case !d.Start && d.Order.Reason == "":
			t.Fatalf("%+v: no reason in %+v", c, d)
		case !d.Start:
			continue
		case !c.always() && (!open || c.Now.Add(overhead).After(closes)), c.Active >= int(p.Wave), c.Failed >= int(p.Failures), d.Order.Wait != 0,
			c.CheckIn.Image == "win11" && c.CheckIn.Version == c.Goal.Version, d.Work == state.WorkReinstall && !*p.Reinstall, d.Order.Permits.Reinstall != (*p.Reinstall && (c.CheckIn.Image != "" || !bare(c.CheckIn.Disks))), d.Work == state.WorkProvision && !p.Provision.Allow:
			t.Fatalf("%+v: %+v", c, d)
		}
		started++
	}
	if started < 500 {
		t.Errorf("only %d cases started: the test looks at nothing", started)
	}
}
