package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

var machine = Machine{MACs: []string{"52:54:00:12:34:56"}}

func TestOrderValidate(t *testing.T) {
	good := Order{Protocol: Version, Action: ActionDeploy, Image: "win11", Version: 2, Merge: MergeLazy, Repo: "repo"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := (&Order{Protocol: Version, Action: ActionNone}).Validate(); err != nil {
		t.Errorf("none: %v", err)
	}
	for name, change := range map[string]func(*Order){
		"no protocol":     func(o *Order) { o.Protocol = 0 },
		"later protocol":  func(o *Order) { o.Protocol = Version + 1 },
		"no action":       func(o *Order) { o.Action = "" },
		"strange action":  func(o *Order) { o.Action = "wipe" },
		"no image":        func(o *Order) { o.Image = "" },
		"version 0":       func(o *Order) { o.Version = 0 },
		"huge version":    func(o *Order) { o.Version = math.MaxInt32 + 1 },
		"no merge":        func(o *Order) { o.Merge = "" },
		"strange merge":   func(o *Order) { o.Merge = "later" },
		"long reason":     func(o *Order) { o.Reason = strings.Repeat("x", MaxText+1) },
		"terminal escape": func(o *Order) { o.Reason = "\x1b[2J" },
		"not UTF-8":       func(o *Order) { o.Image = "a\xff" },
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			change(&o)
			if err := o.Validate(); !errors.Is(err, ErrInvalid) || errors.Is(err, ErrVersion) != strings.Contains(name, "protocol") {
				t.Error(err)
			}
		})
	}
}

func TestReportValidate(t *testing.T) {
	good := Report{Protocol: Version, Machine: machine, Outcome: OutcomeFailed, Message: strings.Repeat("ü\n", MaxDetail/3)}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Report){
		"no outcome":       func(r *Report) { r.Outcome = "" },
		"no machine":       func(r *Report) { r.Machine = Machine{} },
		"too many MACs":    func(r *Report) { r.Machine.MACs = make([]string, MaxMACs+1) },
		"upper case MAC":   func(r *Report) { r.Machine.MACs = []string{"AA:54:00:12:34:56"} },
		"long message":     func(r *Report) { r.Message += "xxxx" },
		"negative version": func(r *Report) { r.Version = -1 },
		"negative bytes":   func(r *Report) { r.Phases = []Phase{{Name: "a", Bytes: -1}} },
		"negative time":    func(r *Report) { r.Phases = []Phase{{Name: "a", Seconds: -1}} },
		"no number":        func(r *Report) { r.Phases = []Phase{{Name: "a", Seconds: math.NaN()}} },
		"many phases":      func(r *Report) { r.Phases = make([]Phase, MaxPhases+1) },
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

// FuzzCheckIn: what is taken survives a round trip and has a key.
func FuzzCheckIn(f *testing.F) {
	seed, err := json.Marshal(CheckIn{Protocol: Version, Machine: machine, Image: "win11", Version: 3, Staged: 4, Merging: true})
	if err != nil || len(seed) < 50 {
		f.Fatal(err, len(seed))
	}
	f.Add(seed)
	f.Add([]byte(`{"protocol":1,"machine":{"macs":null,"uuid":"x"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c CheckIn
		if json.Unmarshal(b, &c) != nil || c.Validate() != nil {
			return
		}
		if c.Machine.Key() == "" {
			t.Errorf("no key: %s", b)
		}
		again, err := json.Marshal(c)
		var d CheckIn
		if err != nil || json.Unmarshal(again, &d) != nil || d.Validate() != nil {
			t.Errorf("%s does not survive: %s", b, again)
		}
	})
}
