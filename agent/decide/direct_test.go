package decide

import (
	"testing"
	"time"

	"troy/chainload"
	"troy/server/protocol"
)

var (
	// directly is a machine that GRUB may start without the agent, if its version is good.
	directly  = func(f *Facts) { f.Memo.Starts, f.Installed = protocol.StartsDirect, true }
	directOne = func(o *protocol.Order) { o.Rules.Starts = protocol.StartsDirect }
	keptOne   = with(wants(1), directOne)
)

func directRows() []row {
	const agentNext = "boot files, hand-off, report, count, windows"
	return []row{
		{"Starts without the agent (starts: direct)", "the version is good here", facts(on(1), directly, good, ordered(keptOne)), "boot files, hand-off, report, count, direct, windows"},
		{"", "no server", facts(on(1), directly, good, judged, noServer), "boot files, hand-off, count, direct, windows"},
		{"", "the rule is new", facts(on(1), directly, good, ordered(keptOne), func(f *Facts) { f.Memo.Starts = "" }), "note, boot files, hand-off, report, count, direct, windows"},
		{"", "the rule is now starts: agent", facts(on(1), directly, good, ordered(with(wants(1), func(o *protocol.Order) { o.Rules.Starts = protocol.StartsAgent }))), "note, " + agentNext},
		{"", "the version was not seen good yet", facts(on(1), directly, ordered(keptOne)), agentNext},
		{"", "it was good before, not at the last start", facts(on(1), directly, func(f *Facts) { health(f, chainload.Unknown, 1); f.Memo.Health.Proven = true }, ordered(keptOne)), agentNext},
		{"", "another version is brought", facts(on(1), directly, good, ordered(with(wants(2), directOne))), "plan stage 2, stage 2, commit 2, boot files, hand-off, report, count, windows"},
		{"", "it waits for a permit", facts(otherImage(), directly, good, ordered(with(wants(2), directOne))), agentNext},
		{"", "a merge is left", facts(slot(1, 0), directly, good, ordered(with(keptOne, closed)), fails(Merge, Open, Recover)), agentNext},
		{"", "a version is staged", facts(on(1), directly, good, staged(2), ordered(keptOne)), agentNext},
		{"", "something failed", facts(on(1), directly, good, ordered(keptOne), step(Step{Kind: Plan, For: Stage, Image: "lab", Version: 1}, errIO)), agentNext},
		{"", "reset: boot", facts(on(1), directly, good, bootRule, judged, noServer), "boot files, hand-off, count, windows"},
		{"", "reset: key", facts(on(1), directly, good, keyRule, judged, noServer), "boot files, hand-off, count, windows"},
		{"", "golden", facts(on(1), directly, good, golden, ordered(keptOne)), agentNext},
		{"", "held", facts(on(1), directly, good, held(noon.Add(time.Hour)), ordered(keptOne)), agentNext},
		{"", "setup pending", facts(on(1), directly, good, marked(Marks{Setup: true}), ordered(keptOne)), agentNext},
		{"", "started from a stick, or another agent is on trial", facts(on(1), directly, good, func(f *Facts) { f.Installed = false }, ordered(keptOne)), agentNext},
		{"", "this agent is on trial", facts(on(1), directly, good, trial, judged, noServer), "boot files, hand-off, count, windows"},
		{"", "it was, and is kept: its next start is to be seen", facts(on(1), directly, good, trial, ordered(keptOne)), "boot files, hand-off, report, confirm, count, windows"},
		{"", "an order that is not understood", facts(on(1), directly, good, ordered(strange)), agentNext},
		{"", "it is not assigned any more", facts(on(1), directly, good, ordered(protocol.Order{Code: "K7WQ4M"})), agentNext},
		{"", "the firmware starts Windows first", facts(on(1), directly, good, func(f *Facts) { f.Method = chainload.ByBootOrder }, ordered(keptOne)), agentNext},
		{"", "the hand-off could not be noted", facts(on(1), directly, good, ordered(keptOne), done(BootFiles, HandOff, Report), fails(Count)), "windows"},
	}
}

// What the journal says agrees with what is done: a start that is cut off in between has the next
// agent look at GRUB's block.
func TestDirectIsNoted(t *testing.T) {
	for _, r := range directRows() {
		var noted, done bool
		for _, s := range Decide(*r.facts) {
			noted = noted || s.Kind == Count && s.Memo.Direct
			done = done || s.Kind == Direct
		}
		if noted != done {
			t.Errorf("%s: noted %v, done %v", r.name, noted, done)
		}
	}
	f := facts(on(1), directly, ordered(keptOne), func(f *Facts) { f.Memo.Direct = true })
	if s := Decide(*f); s[3].Kind != Count || s[3].Memo.Direct {
		t.Errorf("a permission that is over stays: %s", list(s))
	}
}
