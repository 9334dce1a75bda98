package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

var machine = Machine{Ports: []Port{{MAC: "52:54:00:12:34:56"}}}

func TestOrderValidate(t *testing.T) {
	good := func() *Order {
		return &Order{Protocol: Version, Want: &Want{Image: "win11", Version: 2, Manifest: strings.Repeat("0f", HashSize/2)},
			Rules: Rules{Merge: MergeLazy, Reset: ResetBoot}, Permits: Permits{Provision: &Provision{}}, Repo: "repo"}
	}
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	if err := (&Order{Protocol: Version}).Validate(); err != nil {
		t.Errorf("keep what is there: %v", err)
	}
	for name, change := range map[string]func(*Order){
		"no protocol":     func(o *Order) { o.Protocol = 0 },
		"bad word":        func(o *Order) { o.Needs = []string{"a b"} },
		"no image":        func(o *Order) { o.Want.Image = "" },
		"version 0":       func(o *Order) { o.Want.Version = 0 },
		"huge version":    func(o *Order) { o.Want.Version = math.MaxInt32 + 1 },
		"short hash":      func(o *Order) { o.Want.Manifest = "0f" },
		"upper-case hash": func(o *Order) { o.Want.Manifest = strings.Repeat("0F", HashSize/2) },
		"strange merge":   func(o *Order) { o.Rules.Merge = "later" },
		"strange reset":   func(o *Order) { o.Rules.Reset = "never" },
		"negative rate":   func(o *Order) { o.Rules.Rate = -1 },
		"negative size":   func(o *Order) { o.Permits.Provision.SlotBytes = -1 },
		"long wait":       func(o *Order) { o.Wait = MaxWait + 1 },
		"long reason":     func(o *Order) { o.Reason = strings.Repeat("x", MaxText+1) },
		"terminal escape": func(o *Order) { o.Reason = "\x1b[2J" },
		"not UTF-8":       func(o *Order) { o.Want.Image = "a\xff" },
	} {
		t.Run(name, func(t *testing.T) {
			o := good()
			change(o)
			if err := o.Validate(); !errors.Is(err, ErrInvalid) {
				t.Error(err)
			}
		})
	}
}

// FuzzOrder: what is taken survives a round trip.
func FuzzOrder(f *testing.F) {
	seed, err := json.Marshal(Order{Protocol: Version, Want: &Want{Image: "win11", Version: 2, Manifest: strings.Repeat("0f", HashSize/2)}, Rules: Rules{Reset: ResetBoot}, Permits: Permits{Reinstall: true}})
	if err != nil || len(seed) < 50 {
		f.Fatal(err, len(seed))
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		var o, again Order
		if json.Unmarshal(b, &o) != nil || o.Validate() != nil {
			return
		}
		text, err := json.Marshal(o)
		if err != nil || json.Unmarshal(text, &again) != nil || again.Validate() != nil {
			t.Errorf("%s does not survive: %s, %v", b, text, err)
		}
	})
}

func TestReportValidate(t *testing.T) {
	good := Report{Protocol: Version, Machine: machine, Outcome: OutcomeFailed, Message: strings.Repeat("ü\n", MaxDetail/3)}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Report){
		"no outcome":       func(r *Report) { r.Outcome = "" },
		"no machine":       func(r *Report) { r.Machine = Machine{} },
		"too many ports":   func(r *Report) { r.Machine.Ports = slices.Repeat(machine.Ports, MaxPorts+1) },
		"upper case MAC":   func(r *Report) { r.Machine.Ports = []Port{{MAC: "AA:54:00:12:34:56"}} },
		"long message":     func(r *Report) { r.Message += "xxxx" },
		"negative version": func(r *Report) { r.Version = -1 },
		"negative bytes":   func(r *Report) { r.Steps = []Step{{Kind: "a", Fetched: -1}} },
		"negative time":    func(r *Report) { r.Steps = []Step{{Kind: "a", Seconds: -1}} },
		"no number":        func(r *Report) { r.Steps = []Step{{Kind: "a", Seconds: math.NaN()}} },
		"many steps":       func(r *Report) { r.Steps = make([]Step, MaxSteps+1) },
	} {
		t.Run(name, func(t *testing.T) {
			r := good
			change(&r)
			if err := r.Validate(); !errors.Is(err, ErrInvalid) {
				t.Error(err)
			}
		})
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{"": "", " Dell Inc.\x00\x00 ": "Dell Inc.", "a\tb": "a b", "a\xffb": "a?b", "aaaaaaaaä": "aaaaaaaa",
		"aaaaaaaaaaa": "aaaaaaaaa", "aaaaaaaä": "aaaaaaaä", "\x7f\x1b": ""} {
		t.Run(fmt.Sprintf("%q", in), func(t *testing.T) {
			if got := Clean(in, 9); got != want {
				t.Errorf("Clean(%q) = %q, want %q", in, got, want)
			}
		})
	}
}

func FuzzClean(f *testing.F) {
	f.Add("Dell\x00\xff ä", 5)
	f.Fuzz(func(t *testing.T, s string, n int) {
		n = max(0, n%MaxText)
		if err := texts(n, "text", Clean(s, n)); err != nil {
			t.Errorf("Clean(%q, %d) = %q: %v", s, n, Clean(s, n), err)
		}
	})
}

// FuzzMessages: what a machine sends and is taken survives a round trip, and a check-in names its
// machine.
func FuzzMessages(f *testing.F) {
	for kind, m := range []any{
		CheckIn{Protocol: Version, Machine: machine, Image: "win11", Version: 3, Staged: 4, Merging: true},
		Progress{Protocol: Version, Machine: machine, Phase: "fetch", Done: 1, Total: 2},
		Report{Protocol: Version, ID: "1", Machine: machine, Outcome: OutcomeDone, Steps: []Step{{Kind: "stage", Seconds: 1.5}}},
	} {
		b, err := json.Marshal(m)
		if err != nil || len(b) < 50 {
			f.Fatal(err, len(b))
		}
		f.Add(byte(kind), b)
	}
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		type message interface{ Validate() error }
		made := []func() message{func() message { return &CheckIn{} }, func() message { return &Progress{} },
			func() message { return &Report{} }}[kind%3]
		m := made()
		if json.Unmarshal(b, m) != nil || m.Validate() != nil {
			return
		}
		if c, ok := m.(*CheckIn); ok && c.Machine.String() == "" {
			t.Errorf("no name: %s", b)
		}
		again, err := json.Marshal(m)
		second := made()
		if err != nil || json.Unmarshal(again, second) != nil || second.Validate() != nil {
			t.Errorf("%s does not survive: %s", b, again)
		}
	})
}
