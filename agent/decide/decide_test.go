package decide

import (
	"errors"
	"fmt"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"troy/chainload"
	"troy/diskwriter/machine"
	"troy/internal/format"
	"troy/server/protocol"
)

var (
	noon  = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	errIO = errors.New("input/output error")
)

// on is a disk that holds a version of the image "lab".
func on(version int) machine.State {
	return machine.State{Image: "lab", Version: version, Manifest: manifest(version), BaseVersion: version, SlotFree: true}
}

// manifest is that of a version of the store.
func manifest(version int) string { return fmt.Sprintf("%012d", version) }

// named is how a version of the store is called where starts are counted.
func named(version int) string { return Name("lab", version, manifest(version)) }

// slot is a disk whose version is in a slot above another one.
func slot(version, below int) machine.State {
	s := on(version)
	s.BaseVersion, s.Previous, s.PreviousManifest, s.Layers = below, below, manifest(below), 1
	return s
}

// row is a line of the table: facts, and what Decide makes of them.
type row struct {
	group, name string
	facts       *Facts
	want        string
}

// facts begins a row's facts: a start with a disk that was opened.
func facts(s machine.State, change ...func(*Facts)) *Facts {
	f := &Facts{Now: noon, Disk: Disk{Condition: Opened, State: s}}
	did(f, Open, nil)
	for _, c := range change {
		c(f)
	}
	return f
}

func did(f *Facts, k Kind, err error) {
	f.Done = append(f.Done, Result{Step: Step{Kind: k}, Err: err, Wrote: k.works()})
}

// done adds steps that went well.
func done(kinds ...Kind) func(*Facts) {
	return func(f *Facts) {
		for _, k := range kinds {
			did(f, k, nil)
		}
	}
}

func step(s Step, err error) func(*Facts) {
	return func(f *Facts) { f.Done = append(f.Done, Result{Step: s, Err: err, Wrote: s.Kind.works()}) }
}

// fails adds a step that failed, after which the disk was opened again.
func fails(k Kind, then ...Kind) func(*Facts) {
	return func(f *Facts) {
		did(f, k, errIO)
		done(then...)(f)
	}
}

// judged is the beginning of every start, up to the verdict.
var judged = done(Recover, Judge)

// ordered is a start up to the order.
func ordered(o protocol.Order) func(*Facts) {
	return func(f *Facts) {
		judged(f)
		answered(o)(f)
	}
}

func answered(o protocol.Order) func(*Facts) {
	return func(f *Facts) {
		done(Connect, CheckIn)(f)
		f.Order = &o
	}
}

func wants(version int) protocol.Order {
	return protocol.Order{Want: &protocol.Want{Image: "lab", Version: version, Manifest: manifest(version)}}
}

func with(o protocol.Order, change ...func(*protocol.Order)) protocol.Order {
	for _, c := range change {
		c(&o)
	}
	return o
}

// strange is an order that this program does not understand.
var strange = protocol.Order{Refused: "the order needs a word", Lacks: []string{"later"}}

var errNewer = fmt.Errorf("store: %w", &format.NeedsError{Document: "permits.json", Words: []string{"newer", "later"}})

var (
	mergeNow   = func(o *protocol.Order) { o.Rules.Merge = protocol.MergeNow }
	resetBoot  = func(o *protocol.Order) { o.Rules.Reset = protocol.ResetBoot }
	mayWrite   = func(o *protocol.Order) { o.Permits.Reinstall = true }
	mayRetry   = func(o *protocol.Order) { o.Permits.Retry = true }
	provisions = func(o *protocol.Order) { o.Permits.Provision = &protocol.Provision{} }
	wipes      = func(o *protocol.Order) { o.Permits.Provision = &protocol.Provision{Wipe: true} }
	closed     = func(o *protocol.Order) { o.Rules.Until = noon }
	newAgent   = func(o *protocol.Order) { o.Agent = "5" }
	woken      = func(f *Facts) { f.Woken = true }
	waited     = func(d time.Duration) func(*Facts) { return step(Step{Kind: Wait, Pause: d}, nil) }
	announced  = func(minutes int) func(*Facts) {
		return func(f *Facts) {
			f.Memo.Link.Windows = []protocol.Weekly{{From: protocol.MinuteOfWeek(f.Now), Minutes: minutes}}
		}
	}
	waits       = func(o *protocol.Order) { o.Want, o.Wait = nil, 40 }
	written     = func(f *Facts) { f.Disk.State.SessionWritten = true }
	unknown     = func(f *Facts) { f.Disk.State.SessionUnknown = true }
	trial       = func(f *Facts) { f.OnTrial = true }
	bios        = func(f *Facts) { f.Unsupported = "Windows 11 needs UEFI" }
	inUse       = func(f *Facts) { f.InUse = true }
	golden      = func(f *Facts) { f.Memo.Marks.Golden = true }
	marked      = func(m Marks) func(*Facts) { return func(f *Facts) { f.Memo.Marks = m } }
	logPending  = func(f *Facts) { f.Disk.State.LogPending = true }
	noServer    = fails(Connect)
	bootRule    = func(f *Facts) { f.Memo.Reset = protocol.ResetBoot }
	keyRule     = func(f *Facts) { f.Memo.Reset = protocol.ResetKey }
	pressedR    = func(f *Facts) { f.Discard = true }
	givenUp2    = func(f *Facts) { f.Memo.Health = f.Memo.Health.GivenUp(named(2)) }
	good        = func(f *Facts) { health(f, chainload.Good, 0); f.Memo.Health.Proven = true }
	wroteThrice = func(f *Facts) { health(f, chainload.Unknown, 3); f.Memo.Health.Wrote = 3 }
	held        = func(until time.Time) func(*Facts) {
		return func(f *Facts) { f.Memo.Marks.Hold, f.Memo.Marks.Held = until, until.Add(-time.Hour) }
	}
	failing = func(starts int) func(*Facts) { return func(f *Facts) { health(f, chainload.Failing, starts) } }
	found   = func(c Condition) func(*Facts) {
		return func(f *Facts) { f.Disk = Disk{Condition: c, Why: "why"} }
	}
	asked = func(p Planned) func(*Facts) {
		return func(f *Facts) {
			step(Step{Kind: Plan, For: p.For, Image: p.Image, Version: p.Version, Boots: p.Boots}, nil)(f)
			f.Planned = &p
		}
	}
	outgrew = func(k Kind) Planned {
		return Planned{For: k, Image: "lab", Version: 2, Boots: k == Reinstall, Outgrew: true, Lacks: "it has grown", Permit: "wipe pc-1"}
	}
	staged = func(version int) func(*Facts) {
		return func(f *Facts) {
			s := &f.Disk.State
			s.Staged, s.StagedImage, s.StagedManifest = version, "lab", manifest(version)
		}
	}
	full = func(f *Facts) { f.Disk.State.SlotFree, f.Disk.State.Layers = false, 2 }
)

// endsSetup is an order about the setup of a version.
func endsSetup(version int, leave bool) func(*protocol.Order) {
	return func(o *protocol.Order) {
		o.EndSetup = &protocol.EndSetup{ID: "13", Of: protocol.Want{Image: "lab", Version: version, Manifest: manifest(version)}, Leave: leave}
	}
}

func health(f *Facts, v chainload.Verdict, starts int) {
	f.Verdict, f.Judged, f.Memo.Health.Version, f.Memo.Health.Starts = v, f.current(), f.current(), starts
}

// begun is a disk whose reinstall was cut off.
func begun(version int) machine.State {
	return machine.State{Reinstalling: true, ReinstallImage: "lab", ReinstallVersion: version}
}

// another is a disk that holds a version with another manifest than the store's of that number.
func another(version int) machine.State { s := on(version); s.Manifest = "another"; return s }

// unnamed is a disk whose version has no manifest in the journal.
func unnamed(version int) machine.State { s := on(version); s.Manifest = ""; return s }

var (
	verifies = func(o *protocol.Order) { o.Verify = &protocol.Verify{ID: "1"} }
	adopting = func(o *protocol.Order) { o.Verify = &protocol.Verify{ID: "1", Adopt: true} }
	// compared is what Verify found about a version of the store.
	compared = func(version int, differ int64) func(*Facts) {
		return func(f *Facts) {
			did(f, Verify, nil)
			f.Compared = &Compared{With: protocol.Want{Image: "lab", Version: version, Manifest: manifest(version)}, Differ: differ}
		}
	}
)

// otherImage is a disk that holds another image.
func otherImage() machine.State { s := on(4); s.Image = "old"; return s }

func table() []row { return slices.Concat(rows(), identityRows(), directRows()) }

func rows() []row {
	refused := Planned{For: Stage, Image: "lab", Version: 1, Lacks: "no signed permit"}
	return []row{
		{"The beginning", "nothing is known yet", &Facts{Now: noon}, "open"},
		{"", "the disk is opened", facts(on(1)), "recover, judge"},
		{"", "recovered and judged", facts(on(1), judged), "connect, check-in"},
		{"", "a step failed", facts(on(1), judged, fails(Merge)), "open"},
		{"", "opened again after it", facts(on(1), judged, fails(Merge, Open)), "recover, connect, check-in"},
		{"", "started by a BIOS", facts(on(1), bios), "connect, check-in"},
		{"", "no disk of Troy", facts(machine.State{}, found(Missing)), "connect, check-in"},
		{"", "Windows has to repair its volume first", facts(machine.State{}, found(Unsuitable)), "connect, check-in"},

		{"Health", "good, in a slot", facts(slot(2, 1), judged, good), "merge, connect, check-in"},
		{"", "a merge was begun", facts(func() machine.State { s := slot(2, 0); s.Merging, s.Previous = true, 0; return s }(), judged), "merge, connect, check-in"},
		{"", "unknown, in a slot", facts(slot(2, 1), judged), "connect, check-in"},
		{"", "failing, the version below is there", facts(slot(2, 1), judged, failing(3)), "note, rollback 1, connect, check-in"},
		{"", "given up, cut off before the rollback", facts(slot(2, 1), judged, givenUp2), "rollback 1, connect, check-in"},
		{"", "failing, two slots", facts(func() machine.State {
			s := slot(3, 1)
			s.Previous, s.PreviousManifest, s.Layers = 2, manifest(2), 2
			return s
		}(), judged, failing(3)), "note, rollback 2, connect, check-in"},
		{"", "failing, the rollback failed twice", facts(slot(2, 1), judged, failing(3), givenUp2, fails(Rollback, Open, Recover), fails(Rollback, Open, Recover)), "connect, check-in"},
		{"", "failing, no server, nothing below", facts(on(2), judged, failing(3), noServer), "boot files, pause 10 s, hand-off, count, windows"},
		{"", "the same, a third time", facts(on(2), judged, failing(5), noServer), "boot files, pause 40 s, hand-off, count, windows"},
		{"", "the same, a tenth time", facts(on(2), judged, failing(12), noServer), "boot files, pause 120 s, hand-off, count, windows"},
		{"", "failing, a new version is wanted", facts(on(2), failing(3), ordered(wants(3))), "plan stage 3, stage 3, commit 3, boot files, hand-off, report, count, windows"},
		{"", "failing, the version below was given up as well", facts(slot(2, 1), judged, failing(3), func(f *Facts) { f.Memo.Health = f.Memo.Health.GivenUp(named(1)) }, noServer), "boot files, pause 10 s, hand-off, count, windows"},

		{"", "failing, nothing below, a retry is permitted", facts(on(2), failing(3), ordered(with(wants(2), mayRetry))), "try again, boot files, hand-off, report, count, windows"},

		{"Nothing is wanted, or it is there", "no server", facts(on(1), judged, noServer), "boot files, hand-off, count, windows"},
		{"", "no server, reset: boot, Windows wrote", facts(on(1), judged, written, bootRule, noServer), "boot files, reset, hand-off, count, windows"},
		{"", "no server, reset: boot, the journal was lost", facts(on(1), judged, unknown, bootRule, noServer), "boot files, reset, hand-off, count, windows"},
		{"", "no version is wanted", facts(on(1), ordered(protocol.Order{})), "boot files, hand-off, report, count, windows"},
		{"", "the version is there", facts(on(2), ordered(wants(2))), "boot files, hand-off, report, count, windows"},
		{"", "reset: boot is a new rule, Windows wrote", facts(on(2), written, ordered(with(wants(2), resetBoot))), "note, boot files, reset, hand-off, report, count, windows"},
		{"", "reset: update, Windows wrote", facts(on(2), written, ordered(wants(2))), "boot files, hand-off, report, count, windows"},
		{"", "no server, reset: key, Windows wrote", facts(on(1), judged, written, keyRule, noServer), "boot files, hand-off, count, windows"},
		{"", "the same, R was pressed", facts(on(1), judged, written, keyRule, noServer, pressedR), "boot files, reset, hand-off, count, windows"},
		{"", "R was pressed, Windows wrote nothing", facts(on(1), judged, keyRule, noServer, pressedR), "boot files, hand-off, count, windows"},
		{"", "R was pressed, the rule is now reset: update", facts(on(2), written, keyRule, pressedR, ordered(wants(2))), "note, boot files, hand-off, report, count, windows"},
		{"", "R was pressed once the machine is handed over", facts(on(1), judged, written, keyRule, noServer, done(BootFiles, HandOff), pressedR), "count, windows"},
		{"", "in a slot, merge: now", facts(slot(2, 1), ordered(with(wants(2), mergeNow))), "boot files, merge, hand-off, report, count, windows"},
		{"", "the server makes it wait", facts(on(1), ordered(with(wants(2), waits))), "wait 40 s, check-in"},
		{"", "it has waited for 5 minutes", facts(on(1), ordered(with(wants(2), waits)), waited(5*time.Minute), done(CheckIn)), "boot files, hand-off, report, count, windows"},
		{"", "the same, the machine was woken", facts(on(1), ordered(with(wants(2), waits)), waited(5*time.Minute), done(CheckIn), woken), "wait 40 s, check-in"},
		{"", "the same, in a window that was announced", facts(on(1), ordered(with(wants(2), waits)), waited(5*time.Minute), done(CheckIn), announced(600)), "wait 40 s, check-in"},
		{"", "the same, in a room that is always open", facts(on(1), ordered(with(wants(2), waits)), waited(5*time.Minute), done(CheckIn), announced(protocol.MaxMinutes)), "note, boot files, hand-off, report, count, windows"},
		{"", "woken, it has waited for an hour", facts(on(1), ordered(with(wants(2), waits)), waited(time.Hour), done(CheckIn), woken), "boot files, hand-off, report, count, windows"},
		{"", "a person ends the wait", facts(on(1), ordered(with(wants(2), waits)), fails(Wait)), "boot files, hand-off, report, count, windows"},
		{"", "an agent on trial has reported", facts(on(2), trial, ordered(wants(2))), "boot files, hand-off, report, confirm, count, windows"},
		{"", "a new release of the agent", facts(on(2), ordered(with(wants(2), newAgent))), "boot files, agent, hand-off, report, count, windows"},
		{"", "it is to be started next", facts(on(2), ordered(with(wants(2), newAgent)), done(OwnAgent), func(f *Facts) { f.Renewed = true }), "report, restart"},

		{"", "an order that is not understood", facts(on(1), written, bootRule, ordered(strange)), "boot files, reset, hand-off, report, count, windows"},
		{"", "the same, with a release of the agent", facts(on(1), ordered(with(strange, newAgent))), "boot files, agent, hand-off, report, count, windows"},
		{"", "the same, the agent is on trial", facts(on(1), trial, ordered(strange)), "boot files, hand-off, report, count, windows"},

		{"Another version is wanted", "merge: lazy", facts(on(1), ordered(wants(2))), "plan stage 2, stage 2, commit 2, boot files, hand-off, report, count, windows"},
		{"", "merge: now", facts(on(1), ordered(with(wants(2), mergeNow))), "plan stage 2, stage 2, commit 2, boot files, merge, hand-off, report, count, windows"},
		{"", "staged by an earlier start", facts(on(1), staged(2), ordered(wants(2))), "commit 2, boot files, hand-off, report, count, windows"},
		{"", "and a new release of the agent", facts(on(1), ordered(with(wants(2), newAgent)), asked(Planned{For: Stage, Image: "lab", Version: 2}), done(Stage), staged(2)), "agent, commit 2, boot files, hand-off, report, count, windows"},
		{"", "the new agent is to be started next", facts(on(1), staged(2), ordered(with(wants(2), newAgent)), done(OwnAgent), func(f *Facts) { f.Renewed = true }), "report, restart"},
		{"", "it runs, on trial", facts(on(1), staged(2), trial, ordered(with(wants(2), newAgent))), "commit 2, boot files, hand-off, report, confirm, agent, count, windows"},
		{"", "the window closed", facts(on(1), ordered(with(wants(2), closed))), "boot files, hand-off, report, count, windows"},
		{"", "given up here", facts(on(1), givenUp2, ordered(wants(2))), "boot files, hand-off, report, count, windows"},
		{"", "given up here, retry is permitted", facts(on(1), givenUp2, ordered(with(wants(2), mayRetry))), "try again, plan stage 2, stage 2, commit 2, boot files, hand-off, report, count, windows"},
		{"", "the one below", facts(slot(2, 1), ordered(wants(1))), "plan rollback 1, rollback 1, boot files, hand-off, report, count, windows"},
		{"", "an older one without a signed permit", facts(on(2), ordered(wants(1)), asked(refused)), "boot files, hand-off, report, count, windows"},
		{"", "both slots are in use, seen healthy", facts(on(3), good, full, ordered(wants(4)), fails(Note)), "merge, plan stage 4, stage 4, commit 4, boot files, hand-off, report, count, windows"},
		{"", "both slots are in use, wrote at three starts", facts(on(3), wroteThrice, full, ordered(wants(4))), "merge, plan stage 4, stage 4, commit 4, boot files, hand-off, report, count, windows"},
		{"", "both slots are in use", facts(on(3), full, ordered(wants(4))), "boot files, hand-off, report, count, windows"},
		{"", "the store cannot be reached", facts(on(1), ordered(wants(2)), step(Step{Kind: Plan, For: Stage, Image: "lab", Version: 2}, errIO)), "boot files, hand-off, report, count, windows"},
		{"", "the version needs a newer agent", facts(on(1), ordered(with(wants(2), newAgent)), step(Step{Kind: Plan, For: Stage, Image: "lab", Version: 2}, errNewer)), "boot files, agent, hand-off, report, count, windows"},
		{"", "the stage failed", facts(on(1), ordered(wants(2)), asked(Planned{For: Stage, Image: "lab", Version: 2}), fails(Stage, Open)), "recover, boot files, hand-off, report, count, windows"},
		{"", "the commit failed", facts(on(1), ordered(wants(2)), fails(Commit, Open, Recover), staged(2)), "commit 2, boot files, hand-off, report, count, windows"},
		{"", "the commit failed and was carried out by the recovery", facts(slot(2, 1), ordered(wants(2)), step(Step{Kind: Commit, Image: "lab", Version: 2}, errIO), done(Open, Recover)), "boot files, hand-off, report, count, windows"},

		{"The version is written as a whole", "another image, no permit", facts(otherImage(), ordered(wants(2))), "boot files, hand-off, report, count, windows"},
		{"", "another image, permitted", facts(otherImage(), ordered(with(wants(2), mayWrite))), "plan reinstall 2, reinstall 2"},
		{"", "another image, permitted, the window closed", facts(otherImage(), ordered(with(with(wants(2), mayWrite), closed))), "boot files, hand-off, report, count, windows"},
		{"", "an unknown version, permitted", facts(machine.State{SlotFree: true}, ordered(with(wants(2), mayWrite))), "plan reinstall 2, reinstall 2"},
		{"", "the chain is damaged, no permit", facts(machine.State{}, found(Damaged), done(Judge), answered(wants(2))), "hand-off, report, windows"},
		{"", "the chain is damaged, permitted", facts(machine.State{}, found(Damaged), done(Judge), answered(with(wants(2), mayWrite))), "plan reinstall 2, reinstall 2"},
		{"", "the merge fails, permitted", facts(slot(2, 1), judged, fails(Merge, Open, Recover), answered(with(wants(2), mayWrite))), "plan reinstall 2, reinstall 2"},
		{"", "a reinstall was cut off", facts(begun(2), done(Judge), answered(wants(2))), "plan reinstall 2, reinstall 2"},
		{"", "a reinstall was cut off, another version is wanted", facts(begun(2), done(Judge), answered(wants(3))), "plan reinstall 3, reinstall 3"},
		{"", "a reinstall was cut off, another version is wanted and refused", facts(begun(2), done(Judge), answered(wants(1)), asked(Planned{For: Reinstall, Image: "lab", Version: 1, Lacks: "no"})), "plan reinstall 2, reinstall 2"},
		{"", "another image, the room wants it, no signed permit", facts(otherImage(), ordered(with(wants(2), mayWrite)), asked(Planned{For: Reinstall, Image: "lab", Version: 2, Boots: true, Lacks: "no"})), "boot files, hand-off, report, count, windows"},
		{"", "another image, planned while nothing started", facts(otherImage(), ordered(with(wants(2), mayWrite)), asked(Planned{For: Reinstall, Image: "lab", Version: 2})), "plan reinstall 2, reinstall 2"},
		{"", "a reinstall was cut off, no server", facts(begun(2), done(Judge), noServer), "again 60 s"},
		{"", "it is finished", facts(begun(2), done(Judge), answered(wants(2)), done(Reinstall)), "open"},
		{"", "the parent was changed", facts(machine.State{}, found(ParentChanged), done(Judge), answered(wants(2))), "heal"},
		{"", "the parent was changed, no server", facts(machine.State{}, found(ParentChanged), done(Judge), noServer), "hand-off, windows"},
		{"", "the parent cannot be healed, permitted", facts(machine.State{}, found(ParentChanged), done(Judge), answered(with(wants(2), mayWrite)), fails(Heal, Open)), "plan reinstall 2, reinstall 2"},
		{"", "no disk of Troy, no permit", facts(machine.State{}, found(Missing), answered(wants(2))), "hand-off, report, windows"},
		{"", "no disk of Troy, permitted", facts(machine.State{}, found(Missing), answered(with(wants(2), provisions))), "plan provision 2, provision 2"},
		{"", "the disk may not be wiped", facts(machine.State{}, found(Missing), answered(with(wants(2), provisions)), asked(Planned{For: Provision, Image: "lab", Version: 2, Lacks: "no"})), "hand-off, report, windows"},
		{"", "a larger disk, which the room does not wipe for", facts(on(1), ordered(with(wants(2), provisions)), asked(outgrew(Stage))), "boot files, hand-off, report, count, windows"},
		{"", "the same, it does", facts(on(1), ordered(with(wants(2), wipes)), asked(outgrew(Stage))), "plan provision 2, provision 2"},
		{"", "the same, in place of another image", facts(otherImage(), ordered(with(wants(2), wipes, mayWrite)), asked(outgrew(Reinstall))), "plan provision 2, provision 2"},
		{"", "the same, under a mark", facts(on(1), golden, ordered(with(wants(2), wipes)), asked(outgrew(Stage))), "boot files, hand-off, report, count, windows"},
		{"", "the same, no signed permit", facts(on(1), ordered(with(wants(2), wipes)), asked(outgrew(Stage)), asked(outgrew(Provision))), "boot files, hand-off, report, count, windows"},

		{"What the version is", "the number that is wanted, another manifest, no permit", facts(another(2), ordered(wants(2))), "boot files, hand-off, report, count, windows"},
		{"", "the same, permitted", facts(another(2), ordered(with(wants(2), mayWrite))), "plan reinstall 2, reinstall 2"},
		{"", "the store does not have what is on the disk", facts(another(1), ordered(wants(2)), asked(Planned{For: Stage, Image: "lab", Version: 2, Foreign: true}), func(f *Facts) { f.Foreign = "another" }), "boot files, hand-off, report, count, windows"},
		{"", "the same, the version below is wanted", facts(func() machine.State { s := slot(2, 1); s.Manifest = "another"; return s }(), ordered(wants(1))), "plan rollback 1, rollback 1, boot files, hand-off, report, count, windows"},
		{"", "another content is staged under the number that is wanted", facts(on(1), staged(2), func(f *Facts) { f.Disk.State.StagedManifest = "another" }, ordered(wants(2))), "plan stage 2, stage 2, commit 2, boot files, hand-off, report, count, windows"},
		{"", "another content of that number was given up", facts(on(1), func(f *Facts) { f.Memo.Health = f.Memo.Health.GivenUp(Name("lab", 2, "another")) }, ordered(wants(2))), "plan stage 2, stage 2, commit 2, boot files, hand-off, report, count, windows"},
		{"", "the journal does not say", facts(unnamed(1), ordered(wants(2))), "verify"},
		{"", "it was compared, and is none", facts(unnamed(1), ordered(wants(2)), compared(1, 1<<20), func(f *Facts) { f.Disk.State.Manifest = protocol.NoVersion }), "boot files, hand-off, report, count, windows"},
		{"", "it could not be compared", facts(unnamed(1), ordered(with(wants(2), mayWrite)), fails(Verify, Open, Recover)), "boot files, hand-off, report, count, windows"},
		{"", "an order to verify", facts(on(2), ordered(with(wants(2), verifies))), "verify"},
		{"", "the window closed", facts(on(2), ordered(with(with(wants(2), verifies), closed))), "boot files, hand-off, report, count, windows"},
		{"", "it differs", facts(on(2), ordered(with(wants(2), verifies)), compared(2, 1<<20)), "boot files, hand-off, report, count, windows"},
		{"", "to adopt, it differs", facts(on(2), ordered(with(wants(2), adopting)), compared(2, 1<<20)), "plan adopt 2, adopt 2, commit 2, boot files, hand-off, report, count, windows"},
		{"", "to adopt another content of that number", facts(another(2), ordered(with(wants(2), adopting)), compared(2, 1<<20)), "plan adopt 2, adopt 2, commit 2, boot files, hand-off, report, count, windows"},
		{"", "the same, nothing differs", facts(another(2), ordered(with(wants(2), adopting)), compared(2, 0)), "plan adopt 2, adopt 2, boot files, hand-off, report, count, windows"},
		{"", "to adopt, the version is equal and has its name", facts(on(2), ordered(with(wants(2), adopting)), compared(2, 0)), "boot files, hand-off, report, count, windows"},
		{"", "to adopt, both slots are in use, merge: now", facts(another(2), full, ordered(with(with(wants(2), adopting), mergeNow)), compared(2, 1<<20)), "merge, plan adopt 2, adopt 2, commit 2, boot files, merge, hand-off, report, count, windows"},
		{"", "to adopt, an older one without a signed permit", facts(another(3), ordered(with(wants(2), adopting)), compared(2, 1<<20), asked(Planned{For: Adopt, Image: "lab", Version: 2, Lacks: "no"}), func(f *Facts) { f.Foreign = "another" }), "boot files, hand-off, report, count, windows"},

		{"Marks", "golden: failing, another version and reset: boot", facts(slot(2, 1), golden, written, bootRule, failing(3), ordered(with(wants(3), resetBoot))), "boot files, pause 10 s, hand-off, report, count, windows"},
		{"", "setup pending: failing, another version and reset: boot", facts(slot(2, 1), marked(Marks{Setup: true}), written, bootRule, failing(3), ordered(with(wants(3), resetBoot))), "boot files, pause 10 s, hand-off, report, count, windows"},
		{"", "setup pending, the admin says it is over, reset: boot", facts(on(1), marked(Marks{Setup: true}), written, bootRule, ordered(with(wants(1), resetBoot, endsSetup(1, false)))), "end setup, boot files, hand-off, report, count, windows"},
		{"", "the same, another version", facts(on(1), marked(Marks{Setup: true}), written, ordered(with(wants(2), endsSetup(1, false)))), "end setup, plan stage 2, stage 2, commit 2, boot files, hand-off, report, count, windows"},
		{"", "the admin leaves a setup, another version", facts(on(1), marked(Marks{Setup: true}), written, ordered(with(wants(2), endsSetup(1, true)))), "leave setup, plan stage 2, stage 2, commit 2, boot files, hand-off, report, count, windows"},
		{"", "the admin leaves a setup, which begins again", facts(slot(1, 0), marked(Marks{Setup: true}), written, bootRule, ordered(with(wants(1), mergeNow, resetBoot, endsSetup(1, true)))), "leave setup, boot files, hand-off, report, count, windows"},
		{"", "that was done, its report was lost", facts(on(1), marked(Marks{Setup: true}), written, func(f *Facts) { f.EndedSetup = "13" }, ordered(with(wants(1), endsSetup(1, true)))), "boot files, hand-off, report, count, windows"},
		{"", "an order about the setup of another version", facts(on(2), marked(Marks{Setup: true}), written, ordered(with(wants(2), endsSetup(1, true)))), "boot files, hand-off, report, count, windows"},
		{"", "set up in its session, reset: boot", facts(on(1), marked(Marks{SetUp: true}), written, bootRule, judged, noServer), "boot files, hand-off, count, windows"},
		{"", "set up in its session, another version", facts(on(1), marked(Marks{SetUp: true}), written, bootRule, ordered(with(wants(2), resetBoot))), "plan stage 2, stage 2, commit 2, boot files, hand-off, report, count, windows"},
		{"", "held, no server, reset: boot", facts(on(1), held(noon.Add(time.Hour)), written, bootRule, judged, noServer), "boot files, hand-off, count, windows"},
		{"", "held until a time that is past", facts(on(1), held(noon), written, bootRule, judged, noServer), "boot files, reset, hand-off, count, windows"},
		{"", "held, reset: key, R was pressed", facts(on(1), held(noon.Add(time.Hour)), written, keyRule, pressedR, judged, noServer), "boot files, hand-off, count, windows"},
		{"", "golden, the same", facts(on(1), golden, written, keyRule, pressedR, judged, noServer), "boot files, hand-off, count, windows"},
		{"", "setup pending, the same", facts(on(1), marked(Marks{Setup: true}), written, keyRule, pressedR, judged, noServer), "boot files, hand-off, count, windows"},
		{"", "set up in its session, the same", facts(on(1), marked(Marks{SetUp: true}), written, keyRule, pressedR, judged, noServer), "boot files, hand-off, count, windows"},
		{"", "held, the time is not known", facts(on(1), held(noon), written, bootRule, judged, noServer, func(f *Facts) { f.ClockUnsure = true }), "boot files, hand-off, count, windows"},

		{"The end", "the recovery failed twice, a log is left", facts(on(1), logPending, fails(Recover, Open), fails(Recover, Open), noServer), "again 60 s"},
		{"", "after a commit that failed the disk cannot be read", facts(on(1), ordered(wants(2)), fails(Commit, Open), found(Unsuitable)), "open"},
		{"", "nor at the second try", facts(on(1), ordered(wants(2)), fails(Commit, Open, Open), found(Unsuitable)), "report, again 60 s"},
		{"", "Windows cannot be started", facts(on(2), ordered(wants(2)), fails(HandOff)), "boot files, report, again 60 s"},
		{"", "started by a BIOS, has the order", facts(on(1), bios, answered(wants(2))), "report, stay"},
		{"", "in use", facts(on(2), inUse, ordered(wants(2))), "boot files, report, stay"},
	}
}

func list(steps []Step) string {
	var words []string
	for _, s := range steps {
		words = append(words, s.String())
	}
	return strings.Join(words, ", ")
}

func TestDecide(t *testing.T) {
	group := ""
	for _, r := range table() {
		if r.group != "" {
			group = r.group
		}
		t.Run(group+"/"+r.name, func(t *testing.T) {
			steps := Decide(*r.facts)
			if got := list(steps); got != r.want {
				t.Errorf("got  %s\nwant %s", got, r.want)
			}
			for _, s := range steps {
				if s.Reason == "" {
					t.Errorf("%s: no reason", s)
				}
			}
		})
	}
}

// tableText is the table as doc.go has it.
func tableText() string {
	var b strings.Builder
	for _, r := range table() {
		if r.group != "" {
			fmt.Fprintf(&b, "%s\n", r.group)
		}
		fmt.Fprintf(&b, "  %s\n      → %s\n", r.name, r.want)
	}
	return b.String()
}

// The table in the package comment is the one that TestDecide runs. TROY_UPDATE=1 writes it.
func TestDocumentTable(t *testing.T) {
	const name = "doc.go"
	if os.Getenv("TROY_UPDATE") != "" {
		updateTable(t, name)
	}
	f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var p comment.Parser
	want := tableText()
	for _, block := range p.Parse(f.Doc.Text()).Content {
		if code, ok := block.(*comment.Code); ok && code.Text == want {
			return
		}
	}
	t.Error("the table of doc.go is not that of the test: run with TROY_UPDATE=1")
}

// updateTable puts the table behind its heading.
func updateTable(t *testing.T, name string) {
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	from := strings.Index(text, "// first, or with the step that ends the start. A test holds this table.\n//\n")
	end := strings.Index(text, "package decide\n")
	if from < 0 || end < from {
		t.Fatal("no table in doc.go")
	}
	from += len("// first, or with the step that ends the start. A test holds this table.\n//\n")
	var lines strings.Builder
	for line := range strings.Lines(tableText()) {
		lines.WriteString("//\t" + line)
	}
	if err := os.WriteFile(name, []byte(text[:from]+lines.String()+text[end:]), 0o644); err != nil {
		t.Fatal(err)
	}
}
