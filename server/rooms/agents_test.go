package rooms

import (
	"strings"
	"testing"

	"troy/server/protocol"
)

// A machine whose agent this server does not understand gets the release of the agent and nothing
// else, keeps what is known of it, and is shown as one that a person should look after.
func TestForeignAgents(t *testing.T) {
	tooOld := func(c *protocol.CheckIn) {
		*c = protocol.CheckIn{Protocol: protocol.Oldest - 1, Machine: c.Machine, Agent: "old"}
	}
	tooNew := func(c *protocol.CheckIn) {
		*c = protocol.CheckIn{Protocol: protocol.Version + 2, Oldest: protocol.Version + 1, Machine: c.Machine, Agent: "new"}
	}
	for name, c := range map[string]struct {
		change func(*protocol.CheckIn)
		why    string
	}{"too old": {tooOld, "its agent is too old"}, "too new": {tooNew, "install a newer Troy on the server"}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.k.o.Agent = func() string { return "7" }
			w.promote("test", 2, "")
			w.checkIn(1, 1, nil)
			w.report(1, 1, protocol.OutcomeFailed, "no") // the slot is free
			for range 2 {
				o := w.checkIn(1, 1, c.change)
				if o.Want != nil || o.Wait != 0 || o.Agent != "7" || o.Repo == "" || !strings.Contains(o.Reason, c.why) {
					t.Fatalf("it gets %+v", o)
				}
			}
			w.restart()
			h, m, err := w.k.Host("test-1")
			if err != nil || h.Phase != PhaseRefused || !strings.Contains(h.Attention, c.why) || h.Image != "win11" || h.Version != 1 {
				t.Errorf("it is shown as %+v, %v", h, err)
			}
			if m.Attempt.Tries != 1 {
				t.Errorf("asking counts as %d tries", m.Attempt.Tries)
			}
			if r := w.room("test"); r.Alarms != 1 || r.Counts[PhaseRefused] != 1 {
				t.Errorf("its room: %+v", r)
			}
			if told := strings.Count(strings.Join(w.notes, "\n"), c.why); told != 1 {
				t.Errorf("the admin was told %d times: %q", told, w.notes)
			}
			if o := w.checkIn(1, 1, nil); !begins(&o) {
				t.Errorf("with an agent that is understood it gets %+v", o)
			}
			if h, _, err := w.k.Host("test-1"); err != nil || h.Attention != "" || h.Phase != PhaseWorking {
				t.Errorf("afterwards: %+v, %v", h, err)
			}
		})
	}
}

// An agent that does not know a word of the store waits: it fails nowhere, and stops no wave.
func TestLacksWord(t *testing.T) {
	w := newWorld(t)
	w.promote("test", 2, "")
	for range 2 * triesMost {
		if o := w.checkIn(1, 1, nil); !begins(&o) {
			t.Fatalf("it gets %+v", o)
		}
		err := w.k.Report(t.Context(), peer(1), protocol.Report{Protocol: protocol.Version, Machine: machine(1), Image: "win11", Version: 1,
			Outcome: protocol.OutcomeWaiting, Lacks: []string{"fields-v2"}, Message: "plan: it needs fields-v2"})
		if err != nil {
			t.Fatal(err)
		}
		h, _, err := w.k.Host("test-1")
		if err != nil || h.Phase != PhaseRefused || !strings.Contains(h.Attention, `"fields-v2"; publish a newer agent`) {
			t.Fatalf("it is shown as %+v, %v", h, err)
		}
	}
	w.checkIn(1, 1, func(c *protocol.CheckIn) {
		c.Image, c.Version, c.Detail = "", 0, `the journal of this disk needs "drives"`
	})
	err := w.k.Report(t.Context(), peer(1), protocol.Report{Protocol: protocol.Version, Machine: machine(1), Outcome: protocol.OutcomeWaiting, Lacks: []string{"drives"}})
	if h, _, gone := w.k.Host("test-1"); err != nil || gone != nil || h.Phase != PhaseRefused || !strings.Contains(h.Attention, `for its disk: it does not know "drives"; start it from`) {
		t.Errorf("a word of its disk: %+v, %v, %v", h, err, gone)
	}
	w.checkIn(1, 1, nil)
	w.report(1, 2, protocol.OutcomeDone, "")
	if h, _, err := w.k.Host("test-1"); err != nil || h.Phase != PhaseCurrent || h.Attention != "" {
		t.Errorf("with a newer agent: %+v, %v", h, err)
	}
}
