package decide

import (
	"testing"
	"time"

	"troy/diskwriter/machine"
	"troy/server/protocol"
)

var (
	// names is an order that names the machine; required if so.
	names     = func(o *protocol.Order) { o.Room, o.Identity = "b204", &protocol.Identity{Name: "PC-17"} }
	mustName  = func(o *protocol.Order) { names(o); o.Identity.Required = true }
	nameless  = func(o *protocol.Order) { o.Room = "b204" }
	codeShown = func(o *protocol.Order) { o.Code = "K7WQ4M" }
	// called is what the order of names comes to.
	called = func(f *Facts) { f.Identity = "a" }
	// known is a journal that has an identity for the version that starts, kept one that has one for
	// another version only, applied a boot child that has one, pending one that should.
	known = func(of string) func(*Facts) {
		return func(f *Facts) {
			s := &f.Disk.State
			s.IdentityKept, s.IdentityOf, s.IdentityWanted = true, of, of
		}
	}
	kept       = func(f *Facts) { f.Disk.State.IdentityKept = true }
	applied    = func(of string) func(*Facts) { return func(f *Facts) { f.Disk.State.IdentityApplied = of } }
	pending    = func(f *Facts) { f.Disk.State.IdentityPending = true }
	noPlace    = func(f *Facts) { f.Disk.State.IdentityWanted = machine.SumEdits(nil) }
	knownThere = func(f *Facts) { f.Disk.State.StagedIdentityOf = "a" }
	refused2   = func(f *Facts) {
		step(Step{Kind: Want, Image: "lab", Version: 2}, errIO)(f)
		done(Open, Recover)(f)
	}
)

func identityRows() []row {
	const plain = "boot files, hand-off, report, count, windows"
	toldTwo := ordered(with(wants(2), names))
	all := []row{
		{"Names in Windows", "no server, after a reset", facts(on(1), judged, known("a"), pending, noServer), "boot files, personalise 1, hand-off, count, windows"},
		{"", "no server, reset: boot", facts(on(1), judged, written, bootRule, known("a"), applied("a"), noServer), "boot files, reset, personalise 1, hand-off, count, windows"},
		{"", "no server, the name is not known for this version", facts(on(1), judged, kept, pending, noServer), "boot files, hand-off, count, windows"},
		{"", "it has its name", facts(on(2), known("a"), applied("a"), toldTwo, called), plain},
		{"", "a new name, Windows wrote nothing", facts(on(2), toldTwo, called), "boot files, identity 2, personalise 2, hand-off, report, count, windows"},
		{"", "a new name, Windows wrote", facts(on(2), written, toldTwo, called), "boot files, identity 2, hand-off, report, count, windows"},
		{"", "the same, reset: boot", facts(on(2), written, bootRule, ordered(with(with(wants(2), names), resetBoot)), called), "boot files, identity 2, reset, personalise 2, hand-off, report, count, windows"},
		{"", "another name than before, Windows wrote nothing", facts(on(2), known("b"), applied("b"), toldTwo, called), "boot files, identity 2, reset, personalise 2, hand-off, report, count, windows"},
		{"", "the same, but the reset was cut off", facts(on(2), known("a"), pending, toldTwo, called), "boot files, personalise 2, hand-off, report, count, windows"},
		{"", "the secrets were not there", facts(on(2), known("a"), applied("plain"), toldTwo, called), "boot files, reset, personalise 2, hand-off, report, count, windows"},
		{"", "they are not there again", facts(on(2), known("a"), applied("plain"), toldTwo, called, done(Reset, Personalise)), plain},
		{"", "the version has no place for a name", facts(on(2), known("a"), noPlace, toldTwo, called), plain},
		{"", "another version", facts(on(1), known("a"), applied("a"), toldTwo, called), "plan stage 2, stage 2, identity 2, commit 2, boot files, personalise 2, hand-off, report, count, windows"},
		{"", "the same, cut off before the commit", facts(on(1), known("a"), staged(2), knownThere, toldTwo, called), "commit 2, boot files, personalise 2, hand-off, report, count, windows"},
		{"", "the new version cannot be named", facts(on(1), known("a"), applied("a"), staged(2), toldTwo, called, refused2), "commit 2, boot files, hand-off, report, count, windows"},
		{"", "the same, identity: required", facts(on(1), known("a"), applied("a"), staged(2), ordered(with(wants(2), mustName)), called, refused2), plain},
		{"", "the version below, of another name", facts(slot(2, 1), known("a"), applied("a"), ordered(with(wants(1), names)), called), "plan rollback 1, rollback 1, boot files, identity 1, personalise 1, hand-off, report, count, windows"},
		{"", "writing it failed", facts(on(2), known("a"), pending, toldTwo, called, fails(Personalise, Open, Recover)), "boot files, personalise 2, hand-off, report, count, windows"},
		{"", "it failed twice", facts(on(2), known("a"), pending, toldTwo, called, fails(Personalise, Open, Recover), fails(Personalise, Open, Recover)), plain},
		{"", "identity: off", facts(on(2), written, known("a"), applied("a"), ordered(with(wants(2), nameless))), "boot files, identity 2, hand-off, report, count, windows"},
		{"", "the same, Windows wrote nothing", facts(on(2), known("a"), applied("a"), ordered(with(wants(2), nameless))), "boot files, identity 2, reset, hand-off, report, count, windows"},
		{"", "the machine is not assigned any more", facts(on(2), known("a"), pending, ordered(with(wants(2), codeShown))), "boot files, personalise 2, hand-off, report, count, windows"},
		{"", "the version is not known to the store", facts(unnamed(2), written, toldTwo, called, compared(2, 0)), plain},
		{"", "golden", facts(on(2), known("a"), pending, golden, toldTwo, called), plain},
		{"", "held", facts(on(2), known("b"), pending, held(noon.Add(time.Hour)), toldTwo, called), plain},
		{"", "a setup that has not begun", facts(on(2), known("a"), pending, marked(Marks{Setup: true}), toldTwo, called), "boot files, personalise 2, hand-off, report, count, windows"},
		{"", "a setup that has begun", facts(on(2), known("b"), written, marked(Marks{Setup: true}), toldTwo, called), "boot files, identity 2, hand-off, report, count, windows"},
		{"", "set up in its session, another name", facts(on(2), known("b"), applied("b"), written, marked(Marks{SetUp: true}), toldTwo, called), "boot files, identity 2, hand-off, report, count, windows"},
		{"", "starts: direct, it has its name", facts(on(1), directly, good, known("a"), applied("a"), ordered(with(keptOne, names)), called), "boot files, hand-off, report, count, direct, windows"},
		{"", "starts: direct, it lacks secrets", facts(on(1), directly, good, written, known("a"), applied("plain"), ordered(with(keptOne, names)), called), plain},
		{"", "starts: direct, no place for a name", facts(on(1), directly, good, written, known("a"), noPlace, ordered(with(keptOne, names)), called), "boot files, hand-off, report, count, direct, windows"},
		{"", "starts: direct, it could not be noted", facts(on(1), directly, good, ordered(with(keptOne, names)), called, step(Step{Kind: Want, Image: "lab", Version: 1}, errIO), done(Open, Recover)), plain},
	}
	for _, r := range all {
		r.facts.Memo.Shown.Room = "b204"
	}
	return all
}

// How a start ended that could not name the machine.
func TestJudgedNames(t *testing.T) {
	refuse := step(Step{Kind: Want, Image: "lab", Version: 2}, errIO)
	for name, c := range map[string]struct {
		facts    *Facts
		outcome  protocol.Outcome
		severity Severity
		message  string
	}{
		"required, refused":                   {facts(on(1), staged(2), ordered(with(wants(2), mustName)), called, refuse, done(Open, Recover)), protocol.OutcomeFailed, Unfinished, "identity: input/output error"},
		"the same, and this version is named": {facts(on(1), staged(2), ordered(with(wants(2), mustName)), called, refuse, done(Open, Recover), step(Step{Kind: Want, Image: "lab", Version: 1}, nil)), protocol.OutcomeFailed, Unfinished, "identity: input/output error"},
		"wanted, refused":                     {facts(slot(2, 1), ordered(with(wants(2), names)), called, refuse, done(Open, Recover), step(Step{Kind: Commit, Image: "lab", Version: 2}, nil)), protocol.OutcomeDone, Sound, ""},
		"not written":                         {facts(on(2), known("a"), pending, ordered(with(wants(2), names)), called, fails(Personalise, Open, Recover)), protocol.OutcomeFailed, Unfinished, "personalise: input/output error"},
		"written at last":                     {facts(on(2), known("a"), applied("a"), ordered(with(wants(2), names)), called, fails(Personalise, Open, Recover)), protocol.OutcomeKept, Sound, ""},
	} {
		if o := Judged(c.facts); o.Outcome != c.outcome || o.Severity != c.severity || o.Message != c.message {
			t.Errorf("%s: %+v, want %s, %d, %q", name, o, c.outcome, c.severity, c.message)
		}
	}
}

// drawIdentity has the journal want something, and the boot child have something.
func (m *model) drawIdentity() {
	s, any := &m.state, []string{"", "a", "b", "plain"}
	s.IdentityKept = true
	s.IdentityOf, s.StagedIdentityOf = any[m.r.IntN(3)], any[m.r.IntN(3)]
	if s.IdentityWanted = s.IdentityOf; s.IdentityOf != "" && m.chance(15) {
		s.IdentityWanted = machine.SumEdits(nil)
	}
	s.IdentityUnknown = s.SessionWritten && m.chance(20)
	if !s.IdentityUnknown {
		s.IdentityApplied = any[m.r.IntN(4)]
	}
	s.IdentityPending = !s.SessionWritten && s.IdentityApplied == "" && s.IdentityWanted != machine.SumEdits(nil)
}

// namesRight complains of a step that gives a name where none may be, or leaves one out.
func (m *model) namesRight(f *Facts, s Step) {
	d, unmarked := m.state, *f
	unmarked.Memo.Marks.Setup = false
	why := unmarked.marked()
	switch s.Kind {
	case Want:
		if why != "" || f.Order == nil {
			m.complain("%s without an order, or under a mark: %s", s, why)
		}
	case Personalise:
		if why != "" || d.SessionWritten || !d.IdentityPending {
			m.complain("%s of %+v, mark: %s", s, d, why)
		}
	case Commit:
		if o := f.Order; o.Identity != nil && o.Identity.Required && d.StagedIdentityOf != f.Identity {
			m.complain("%s of a version that has no name", s)
		}
	case HandOff:
		if m.cond == Opened && f.Disk.Condition == Opened && f.recovered() && !d.Reinstalling && d.IdentityPending && d.IdentityWanted != "" && why == "" && !f.Done.failed(Personalise) {
			m.complain("%s of a machine that has no name: %+v", s, d)
		}
	case Direct:
		if d.IdentityKept && d.IdentityApplied != d.IdentityWanted && d.IdentityWanted != machine.SumEdits(nil) {
			m.complain("%s, and Windows has another name", s)
		}
	}
}
