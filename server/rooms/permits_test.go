package rooms

import (
	"slices"
	"strings"
	"testing"

	"troy/server/protocol"
	"troy/server/state"
)

// A machine without the admin's permit takes no start slot, and is told the version all the same:
// it says itself what it waits for. With the permit it begins.
func TestLacksPermit(t *testing.T) {
	l := parseLab(t)
	p, ok := l.Room("B205") // it wants machines rewritten, and disks made
	if !ok {
		t.Fatal("no room B205")
	}
	for name, c := range map[string]struct {
		change func(*Case)
		scope  string // of the permit that is asked for; "" = none
	}{
		"forward":                 {func(*Case) {}, ""},
		"back":                    {func(c *Case) { c.CheckIn.Version = 9 }, "downgrade"},
		"another image":           {func(c *Case) { c.CheckIn.Image = "win10" }, "reinstall"},
		"an unknown version":      {func(c *Case) { c.CheckIn.Version = 0 }, "reinstall"},
		"damaged, starts nothing": {func(c *Case) { c.CheckIn.Detail, c.CheckIn.Damaged = "a slot is damaged", true }, ""},
		"a disk that holds data":  {func(c *Case) { *c.CheckIn = bareMachine(); c.CheckIn.Disks[0].Empty = false }, "wipe"},
		"an empty disk":           {func(c *Case) { *c.CheckIn = bareMachine(); c.CheckIn.Disks[0].Empty = true }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, signed := range []bool{false, true} {
				x := &Case{Now: at(t, "22 23:00"), Lab: l, Room: &p, Goal: &Goal{ID: 7, Image: "win11", Version: 2}, Size: Size{Fetch: 1 << 30, Write: 2 << 30, Manifest: strings.Repeat("a", protocol.HashSize)},
					CheckIn: &protocol.CheckIn{Image: "win11", Version: 1}}
				c.change(x)
				var asked []Need
				x.Key, x.Name = "k", "pc-1"
				x.Permitted = func(n Need) (bool, bool) { asked = append(asked, n); return signed, true }
				d := Decide(x)
				begins := signed || c.scope == ""
				if d.Start != begins || (d.Work != state.WorkNone) != begins || d.Order.Want == nil {
					t.Errorf("signed %t: %+v", signed, d)
				}
				if (c.scope == "") != (len(asked) == 0) || len(asked) > 0 && (asked[0].Scope != c.scope || asked[0].Key != "k") {
					t.Errorf("asked for %+v", asked)
				}
				if command := "'troy permit " + c.scope + " pc-1 "; !begins && !strings.Contains(d.Order.Reason, command) {
					t.Errorf("no %s in %q", command, d.Order.Reason)
				}
			}
		})
	}
}

// What a promotion makes wait is listed before, with the one command that helps.
func TestEstimateListsPermits(t *testing.T) {
	w := newWorld(t)
	signed := false
	w.k.o.Permitted = func(n Need) (bool, bool) {
		return signed && n.Scope == "downgrade" && n.Image == "win11" && n.Version == 2 && n.Key != "", true
	}
	w.checkIn(201, 3, nil)
	w.checkIn(202, 1, nil)
	w.checkIn(203, 3, nil)
	const want = "2 machines have a newer version (b204-1 b204-3): they go back only with your permit, 'troy rollback --room B204 win11@2'"
	for _, signed = range []bool{false, true} {
		e, err := w.k.Estimate(t.Context(), Promotion{Room: "B204", Version: 2, After: "none"})
		if err != nil || slices.Contains(e.Warnings, want) == signed {
			t.Errorf("signed %t: %q, %v", signed, e.Warnings, err)
		}
	}
	w2 := waiting{"reinstall": {"a", "b"}, "wipe": {"c"}}
	if lines := strings.Join(w2.lines(&Estimate{}), "\n"); lines != "2 machines wait for a permit to reinstall: 'troy permit reinstall a b --until DATE'\n1 machines wait for a permit to wipe: 'troy permit wipe c --until DATE'" {
		t.Error(lines)
	}
}

// A PC's disk is wiped under a permit, and its key is lost with it. Then the PC is recognised by
// its address and the disk's serial number, may be provisioned, and the key of the start that
// finishes the disk is pinned. Without the permit, or with another disk, it stays unknown.
func TestWipePermitReplacesKey(t *testing.T) {
	for name, c := range map[string]struct {
		serial string // of the disk that comes
		signed bool
		known  bool
		want   bool
	}{
		"permitted":          {"S1", true, true, true},
		"not permitted":      {"S1", false, true, false},
		"not to be found":    {"S1", true, false, false},
		"another disk":       {"S2", true, true, false},
		"a disk without one": {"", true, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.promote("B204", 2, "none")
			disk := func(serial string, empty bool) []protocol.Disk {
				return []protocol.Disk{{Path: "/dev/sda", Serial: serial, Size: 1 << 40, SectorSize: 512, Empty: empty, Troy: !empty}}
			}
			w.checkIn(201, 1, func(in *protocol.CheckIn) { in.Disks = disk("S1", false) })
			w.k.o.Permitted = func(n Need) (bool, bool) {
				return c.signed && n.Scope == "wipe" && slices.Contains(n.Disks, "S1"), c.known
			}
			now := protocol.Peer{Addr: "10.0.0.9", Key: strings.Repeat("b", 64)}
			bare := protocol.CheckIn{Protocol: protocol.Version, Machine: machine(201), Disks: disk(c.serial, true)}
			if _, err := w.k.Order(t.Context(), now, bare); err != nil {
				t.Fatal(err)
			}
			before, _, err := w.k.Host("b204-1")
			if err != nil {
				t.Fatal(err)
			}
			if err := w.k.Report(t.Context(), now, protocol.Report{Protocol: protocol.Version, ID: "1", Machine: machine(201), Image: "win11", Version: 2,
				Outcome: protocol.OutcomeDone}); c.want && err != nil {
				t.Fatal(err)
			}
			_, m, err := w.k.Host("b204-1")
			if err != nil || (m.Pin == now.Key) != c.want || (before.Image == "") != c.want {
				t.Errorf("pin %.8q, held %q before; %v", m.Pin, before.Image, err)
			}
		})
	}
}
