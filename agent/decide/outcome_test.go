package decide

import (
	"slices"
	"strings"
	"testing"

	"troy/server/protocol"
)

// How a start ended, from its facts.
func TestJudged(t *testing.T) {
	stage := Step{Kind: Stage, Image: "lab", Version: 2}
	commit := Step{Kind: Commit, Image: "lab", Version: 2}
	downgrade := Planned{For: Stage, Image: "lab", Version: 1, Lacks: "no signed permit", Permit: "downgrade pc-1 --to lab@1"}
	wipe := Planned{For: Provision, Image: "lab", Version: 2, Lacks: "/dev/sda holds a diary", Permit: "wipe --disk S1234"}
	nameless := Planned{For: Provision, Image: "lab", Version: 2, Lacks: "/dev/sda holds a diary"}
	rewrite := Planned{For: Reinstall, Image: "lab", Version: 2, Boots: true, Lacks: "no signed permit", Permit: "reinstall pc-1"}
	unfit := Planned{For: Reinstall, Image: "lab", Version: 2, Boots: true, Unfit: "it is larger"}
	for name, c := range map[string]struct {
		facts    *Facts
		outcome  protocol.Outcome
		severity Severity
		message  string // part of it; "" = none at all
	}{
		"nothing to do":        {facts(on(2), ordered(wants(2))), protocol.OutcomeKept, Sound, ""},
		"no server":            {facts(on(2), judged, noServer), protocol.OutcomeFailed, Untouched, "connect: input/output error"},
		"deployed":             {facts(slot(2, 1), ordered(wants(2)), step(stage, nil), step(commit, nil)), protocol.OutcomeDone, Sound, ""},
		"reinstalled":          {facts(on(2), ordered(wants(2)), step(Step{Kind: Reinstall, Image: "lab", Version: 2}, nil), done(Open, Recover)), protocol.OutcomeDone, Sound, ""},
		"the stage failed":     {facts(on(1), ordered(wants(2)), step(stage, errIO), done(Open, Recover)), protocol.OutcomeFailed, Unfinished, "stage: input/output error"},
		"mended by recovery":   {facts(slot(2, 1), ordered(wants(2)), step(commit, errIO), done(Open, Recover)), protocol.OutcomeDone, Sound, ""},
		"mended by a retry":    {facts(slot(2, 1), ordered(wants(2)), step(commit, errIO), done(Open, Recover), step(commit, nil)), protocol.OutcomeDone, Sound, ""},
		"Windows cannot start": {facts(on(2), ordered(wants(2)), fails(HandOff)), protocol.OutcomeFailed, Check, "hand-off: input/output error"},
		"the report is lost":   {facts(on(2), ordered(wants(2)), fails(Report)), protocol.OutcomeKept, Sound, ""},
		"given up":             {facts(on(1), givenUp2, ordered(wants(2))), protocol.OutcomeFailed, Untouched, "order it again to retry"},
		"closed":               {facts(on(1), ordered(with(wants(2), closed))), protocol.OutcomeFailed, Untouched, "the window closed at 2026-12-01T12:00:00Z"},
		"closed, another image": {facts(otherImage(), ordered(with(with(wants(2), mayWrite), closed))), protocol.OutcomeFailed, Untouched,
			"the window closed at"},
		"both slots":                    {facts(on(3), full, ordered(wants(4))), protocol.OutcomeFailed, Untouched, "both slots are in use"},
		"another image":                 {facts(otherImage(), ordered(wants(2))), protocol.OutcomeWaiting, Untouched, "waits for your permission: set `reinstall: true`"},
		"unknown version":               {facts(on(0), ordered(wants(2))), protocol.OutcomeWaiting, Untouched, "waits for your permission"},
		"a downgrade":                   {facts(on(2), ordered(wants(1)), asked(downgrade)), protocol.OutcomeWaiting, Untouched, "waits for a permit: run `troy permit downgrade pc-1 --to lab@1 --until DATE`"},
		"nothing promoted, a bare disk": {facts(on(0), found(Missing), answered(protocol.Order{Reason: "nothing was promoted"})), protocol.OutcomeFailed, Untouched, "nothing was promoted; disk: "},
		"a wipe":                        {facts(on(0), found(Missing), answered(with(wants(2), provisions)), asked(wipe)), protocol.OutcomeWaiting, Untouched, "run `troy permit wipe --disk S1234 --until DATE`"},
		"a wipe of a nameless disk":     {facts(on(0), found(Missing), answered(with(wants(2), provisions)), asked(nameless)), protocol.OutcomeWaiting, Untouched, "by hand at the PC"},
		"a larger disk":                 {facts(on(1), ordered(wants(2)), asked(outgrew(Stage))), protocol.OutcomeWaiting, Untouched, "it has grown; waits for your permission: set `provision: {allow: true, wipe: true}` for its room in lab.yaml; then run `troy permit wipe pc-1 --until DATE`"},
		"a larger disk, no permit":      {facts(on(1), ordered(with(wants(2), wipes)), asked(outgrew(Stage)), asked(outgrew(Provision))), protocol.OutcomeWaiting, Untouched, "it has grown; waits for a permit: run `troy permit wipe pc-1 --until DATE`"},
		"a reinstall, not signed":       {facts(otherImage(), ordered(with(wants(2), mayWrite)), asked(rewrite)), protocol.OutcomeWaiting, Untouched, "run `troy permit reinstall pc-1 --until DATE`"},
		"it does not fit":               {facts(otherImage(), ordered(with(wants(2), mayWrite)), asked(unfit)), protocol.OutcomeFailed, Untouched, "plan: it is larger"},
		"damaged":                       {facts(on(0), found(Damaged), done(Judge), answered(wants(2))), protocol.OutcomeWaiting, Untouched, "disk: why; waits for your permission"},
		"no disk, no want":              {facts(on(0), found(Missing), answered(protocol.Order{})), protocol.OutcomeFailed, Untouched, "disk: why"},
		"no disk":                       {facts(on(0), found(Missing), answered(wants(2))), protocol.OutcomeWaiting, Untouched, "provision: {allow: true}"},
		"hibernated":                    {facts(on(0), found(Unsuitable), answered(wants(2))), protocol.OutcomeFailed, Untouched, "disk: why"},
		"a BIOS":                        {facts(on(1), bios, answered(wants(2))), protocol.OutcomeFailed, Untouched, "firmware: Windows 11 needs UEFI"},
		"an unnamed rewrite": {facts(begun(0), done(Judge), answered(protocol.Order{})), protocol.OutcomeFailed, Untouched,
			"its version is not known"},
		"an order that is not understood": {facts(on(1), ordered(strange)), protocol.OutcomeWaiting, Untouched, "order: the order needs a word"},
		"a version that needs a newer agent": {facts(on(1), ordered(wants(2)), step(Step{Kind: Plan, For: Stage, Image: "lab", Version: 2}, errNewer)), protocol.OutcomeWaiting, Untouched,
			`plan: store: permits.json needs "newer", "later", which this program`},
		"the same, and the disk fails":         {facts(on(1), ordered(wants(2)), step(Step{Kind: Plan, For: Stage, Image: "lab", Version: 2}, errNewer), fails(HandOff)), protocol.OutcomeFailed, Check, "hand-off: input/output error"},
		"another content of that number":       {facts(another(2), ordered(with(wants(2), func(o *protocol.Order) { o.Name = "pc-1" }))), protocol.OutcomeWaiting, Untouched, "holds another lab version 2 than this store has; waits for your permission: set `reinstall: true` for its room in lab.yaml; or keep what is equal and replace the rest: run `troy verify --host pc-1 --adopt`"},
		"adopted":                              {facts(slot(2, 2), ordered(with(wants(2), adopting)), compared(2, 1<<20), step(Step{Kind: Adopt, Image: "lab", Version: 2}, nil), step(commit, nil)), protocol.OutcomeDone, Sound, ""},
		"the commit of it failed":              {facts(on(2), ordered(with(wants(2), adopting)), compared(2, 1<<20), step(Step{Kind: Adopt, Image: "lab", Version: 2}, nil), staged(2), step(commit, errIO), done(Open, Recover)), protocol.OutcomeFailed, Unfinished, "commit: input/output error"},
		"both slots, to adopt":                 {facts(another(2), full, ordered(with(wants(2), adopting)), compared(2, 1<<20)), protocol.OutcomeFailed, Untouched, "adopt: both slots are in use"},
		"it differs, nothing is to be changed": {facts(on(2), ordered(with(wants(2), verifies)), compared(2, 1<<20)), protocol.OutcomeKept, Sound, ""},
		"under a mark":                         {facts(on(1), golden, ordered(wants(2))), protocol.OutcomeWaiting, Untouched, "a version is being prepared on this machine"},
		"setup pending": {facts(on(1), marked(Marks{Setup: true}), ordered(with(wants(2), func(o *protocol.Order) { o.Name = "pc-1" }))), protocol.OutcomeWaiting, Untouched,
			"run `troy hosts set-up pc-1`, or `troy hosts discard-setup pc-1`"},
	} {
		t.Run(name, func(t *testing.T) {
			o := Judged(c.facts)
			if o.Outcome != c.outcome || o.Severity != c.severity || !strings.Contains(o.Message, c.message) || (c.message == "") != (o.Message == "") {
				t.Errorf("%+v, want %s, %d, %q", o, c.outcome, c.severity, c.message)
			}
			if strings.Contains(o.Message, "\n") {
				t.Errorf("more than one line: %q", o.Message)
			}
		})
	}
}

func TestLacks(t *testing.T) {
	got := Lacks(facts(on(1), ordered(strange), step(Step{Kind: Plan, For: Stage}, errNewer), step(Step{Kind: OwnAgent}, errIO)))
	if want := []string{"later", "newer"}; !slices.Equal(got, want) {
		t.Errorf("it lacks %q, want %q", got, want)
	}
}
