package chainload

import (
	"bytes"
	"strings"
	"syscall"
	"testing"

	"troy/chainload/efiboot"
	"troy/internal/testing/efitest"
)

var (
	stickNodes = []efiboot.Node{{Type: 1, SubType: 1, Data: []byte{0, 0x14}}, {Type: 3, SubType: 5, Data: []byte{19, 0}}}
	pxeNodes   = []efiboot.Node{{Type: 1, SubType: 1, Data: []byte{0, 0x19}}, {Type: 3, SubType: 11, Data: make([]byte, 33)}, {Type: 3, SubType: 12, Data: make([]byte, 23)}}
)

// startedBy makes a machine with Windows as entry 0 that was started by entry 5, which nodes lead
// to.
func startedBy(t testing.TB, nodes []efiboot.Node, order ...uint16) *machine {
	t.Helper()
	m := newMachine(t)
	m.handOff(t)
	m.entry(t, 5, &efiboot.LoadOption{Attributes: efiboot.Active, Description: "medium", Path: nodes})
	m.fw.Vars["BootOrder"], m.fw.Vars["BootCurrent"] = efitest.Words(order...), efitest.Words(5)
	m.opts.AgentFirst = true
	return m
}

// Who gets a place before Windows: a network does, and what had it before; a stick that was chosen
// once in the firmware's menu does not, and it is said that the PC leaves Troy.
func TestPlace(t *testing.T) {
	for name, c := range map[string]struct {
		nodes  []efiboot.Node
		order  []uint16
		before bool // it had the place at an earlier start
		copy   bool // it led to the agent's own copy
		want   []uint16
		leaves bool
	}{
		"stick, chosen once":             {stickNodes, []uint16{0, 7, 5}, false, false, []uint16{0, 7, 5}, true},
		"stick, not in the order at all": {stickNodes, []uint16{0, 7}, false, false, []uint16{0, 7}, true},
		"stick, first":                   {stickNodes, []uint16{5, 0}, false, false, []uint16{5, 0}, false},
		"stick, had the place before":    {stickNodes, []uint16{0, 7, 5}, true, false, []uint16{5, 0, 7}, false},
		"stick, before Windows":          {stickNodes, []uint16{7, 5, 0}, false, false, []uint16{7, 5, 0}, false},
		"network":                        {pxeNodes, []uint16{0, 7, 5}, false, false, []uint16{5, 0, 7}, false},
		"network, before Windows":        {pxeNodes, []uint16{7, 5, 0}, false, false, []uint16{7, 5, 0}, false},
		"a disk, to the own copy":        {stickNodes, []uint16{0, 5}, false, true, []uint16{5, 0}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := startedBy(t, c.nodes, c.order...)
			if m.opts.FromCopy = c.copy; c.before {
				m.fw.Vars["BootOrder"] = efitest.Words(5, 0, 7)
				m.opts.Place = m.handOff(t).Place
				m.fw.Vars["BootOrder"] = efitest.Words(c.order...)
			}
			r := m.handOff(t)
			if got := m.fw.Vars["BootOrder"]; !bytes.Equal(got, efitest.Words(c.want...)) || len(r.Notes) != 0 {
				t.Errorf("BootOrder %x, notes %q", got, r.Notes)
			}
			changed := !bytes.Equal(efitest.Words(c.order...), efitest.Words(c.want...))
			if (r.Leaves != "") != c.leaves || changed != (len(r.Changes) == 1) || changed && !strings.HasPrefix(r.Changes[0], "the boot order is Boot0005") {
				t.Errorf("leaves %q, said %q", r.Leaves, r.Changes)
			}
			if r := m.handOff(t); len(r.Changes) != 0 {
				t.Errorf("again: %q", r.Changes)
			}
		})
	}
}

// Where the place cannot be given, it is said why.
func TestPlaceUnknown(t *testing.T) {
	m := startedBy(t, pxeNodes, 0, 5)
	m.fw.Refuse["BootOrder"] = syscall.EIO
	if r := m.handOff(t); len(r.Notes) != 1 || r.Method != ByBootNext || r.Leaves == "" {
		t.Errorf("BootOrder refused: %+v", r)
	}
	clear(m.fw.Refuse)
	m.fw.Vars["BootCurrent"] = efitest.Words(0)
	if r := m.handOff(t); len(r.Notes) != 1 || len(r.Changes) != 0 || r.Method != ByBootNext {
		t.Errorf("started by the entry of Windows: %+v", r)
	}
	delete(m.fw.Vars, "BootCurrent")
	if r := m.handOff(t); len(r.Notes) != 1 || len(r.Changes) != 0 || r.Leaves == "" {
		t.Errorf("without BootCurrent, Windows first: %+v", r)
	}
	m.fw.Vars["BootOrder"] = efitest.Words(5, 0)
	if r := m.handOff(t); len(r.Notes) != 1 || r.Leaves != "" {
		t.Errorf("without BootCurrent: %+v", r)
	}
}

// A PC without the agent's own copy, whose firmware shows no sign after BootNext: it gets a second
// chance, then Windows is put first, and that the PC leaves Troy is said each time. The next agent
// from the same medium gets its place back, and tries BootNext again.
func TestLeavesAndReturns(t *testing.T) {
	m := startedBy(t, stickNodes, 5, 0)
	var h Health
	start := func(s Seen) (Judgement, *Result) {
		t.Helper()
		var err error
		if s.Left, err = Look(m.opts); err != nil {
			t.Fatal(err)
		}
		s.Version = "1"
		d := Judge(h, s)
		m.opts.Methods = d.Methods
		r := m.handOff(t)
		m.opts.Place = r.Place
		h = d.Health.HandedOff("1", r.Method, s.Now)
		delete(m.fw.Vars, "BootNext") // the firmware takes it
		return d, r
	}
	for range 2 {
		if d, r := start(Seen{}); r.Method != ByBootNext || r.Leaves != "" || d.Without != "" {
			t.Fatalf("%+v, %+v", d, r)
		}
	}
	if _, r := start(Seen{}); r.Method != ByBootOrder || !strings.Contains(r.Leaves, "without Troy: Boot0000") || !bytes.Equal(m.fw.Vars["BootOrder"], efitest.Words(0, 5)) {
		t.Fatalf("%+v", r)
	}
	d, r := start(Seen{Ran: true, Healthy: true}) // by the stick, from the menu
	if r.Method != ByBootNext || r.Leaves != "" || d.Without == "" || !bytes.Equal(m.fw.Vars["BootOrder"], efitest.Words(5, 0)) {
		t.Fatalf("%+v, %+v", d, r)
	}
	if d, r := start(Seen{Ran: true, Healthy: true}); r.Method != ByBootNext || d.Without != "" || len(r.Changes) != 0 {
		t.Fatalf("%+v, %+v", d, r)
	}
}

// When Windows was started without the agent, as far as the next start can see.
func TestWithout(t *testing.T) {
	known := Left{Firmware: true}
	for name, c := range map[string]struct {
		method Method
		seen   Seen
		want   string
	}{
		"as it should be":            {ByBootNext, Seen{Ran: true, Left: known}, ""},
		"no hand-off since":          {"", Seen{Ran: true, Left: known}, "no hand-off"},
		"no hand-off, nothing ran":   {"", Seen{Left: known}, ""},
		"BootNext is still set":      {ByBootNext, Seen{Ran: true, Left: Left{Firmware: true, BootNext: true}}, "BootNext was not used"},
		"Windows put itself first":   {ByBootNext, Seen{Ran: true, Left: Left{Firmware: true, Behind: true}}, "before the agent"},
		"the agent put it first":     {ByBootOrder, Seen{Ran: true, Left: Left{Firmware: true, Behind: true}}, "since the last hand-off"},
		"first, and nothing written": {ByBootNext, Seen{Left: Left{Firmware: true, Behind: true}}, ""},
		"no UEFI variables":          {"", Seen{Ran: true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.seen.Version = "1"
			d := Judge(Health{Version: "1", Method: c.method}, c.seen)
			if (d.Without == "") != (c.want == "") || !strings.Contains(d.Without, c.want) {
				t.Errorf("%q, want %q", d.Without, c.want)
			}
		})
	}
}
