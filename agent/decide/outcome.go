package decide

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"troy/internal/format"
	"troy/server/protocol"
)

// Severity tells in what state a start left the disk.
type Severity int

// Severities.
const (
	Sound      Severity = iota // nothing went wrong
	Untouched                  // stopped before anything was written
	Unfinished                 // stopped after writes: the next start goes on
	Check                      // the disk does not give back what was written, or Windows cannot be started
)

// Outcome is how a start ended, for the report.
type Outcome struct {
	Outcome  protocol.Outcome
	Severity Severity
	Message  string // one line; "" = as wanted
}

// Judged sums up the results of a start.
func Judged(f *Facts) Outcome {
	o := Outcome{Outcome: protocol.OutcomeKept}
	if changed(f) {
		o.Outcome = protocol.OutcomeDone
	}
	var why []string
	add := func(text string, s Severity) {
		if text != "" && !slices.Contains(why, text) {
			why = append(why, text)
		}
		o.Severity = max(o.Severity, s)
	}
	newer := f.refused()
	if text := diskProblem(f); len(f.Disk.Lacks) > 0 {
		newer = cmp.Or(newer, text)
	} else if text != "" {
		add(text, Untouched)
	}
	for i, r := range f.Done {
		switch {
		case r.Err == nil || mended(f, i):
		case len(LacksOf(r.Err)) > 0:
			newer = cmp.Or(newer, r.text())
		default:
			add(r.text(), r.severity())
		}
	}
	if text := refusal(f); text != "" {
		add(text, Untouched)
	}
	if len(why) > 0 {
		o.Outcome = protocol.OutcomeFailed
	}
	if text := cmp.Or(newer, waitsFor(f)); text != "" {
		if len(why) == 0 || f.Disk.Condition != Opened && len(why) == 1 {
			o.Outcome = protocol.OutcomeWaiting
		}
		add(text, Untouched)
	}
	o.Message = strings.Join(why, "; ")
	return o
}

// refused says why the order is not followed; "" = it is.
func (f *Facts) refused() string {
	if f.Order == nil || f.Order.Refused == "" {
		return ""
	}
	return "order: " + f.Order.Refused
}

// Lacks lists the words that the order, a document or the disk needs and this program does not
// know.
func Lacks(f *Facts) []string {
	words := slices.Clone(f.Disk.Lacks)
	if f.Order != nil {
		words = append(words, f.Order.Lacks...)
	}
	for _, r := range f.Done {
		words = append(words, LacksOf(r.Err)...)
	}
	slices.Sort(words)
	words = slices.Compact(words)
	return words[:min(len(words), format.MaxWords)]
}

// LacksOf are the words for which a newer program is needed.
func LacksOf(err error) []string {
	if e, ok := errors.AsType[*format.NeedsError](err); ok {
		return e.Words
	}
	return nil
}

// text names the step, unless the error does.
func (r *Result) text() string {
	text, kind := r.Err.Error(), string(r.Step.Kind)+": "
	if strings.HasPrefix(text, kind) {
		return text
	}
	return kind + text
}

func (r *Result) severity() Severity {
	switch {
	case r.Check || r.Step.Kind == HandOff:
		return Check
	case r.Wrote:
		return Unfinished
	}
	return Untouched
}

// changed tells whether the version on the disk was brought by this start because it is wanted.
func changed(f *Facts) bool {
	for _, r := range f.Done {
		if r.Step.Kind == Reinstall && r.Err == nil {
			return true
		}
	}
	return f.deployed()
}

// minor kinds fail without making the start a failed one.
func minor(k Kind) bool {
	switch k {
	case Open, Note, TryAgain, BootFiles, OwnAgent, Report, Confirm, Count, Direct, Judge, Wait, Pause:
		return true
	}
	return false
}

// mended tells whether what a step was to do is so in the end, though it failed.
func mended(f *Facts, i int) bool {
	s := f.Done[i].Step
	if minor(s.Kind) {
		return true
	}
	for _, r := range f.Done[i+1:] {
		if r.Step.Kind == s.Kind && r.Err == nil && (s.Kind != Plan || r.Step.For == s.For) && (s.Kind != Want || r.Step.Version == s.Version) {
			return true
		}
	}
	d, opened := f.Disk.State, f.Disk.Condition == Opened && f.Done.fresh() && f.recovered()
	switch s.Kind {
	case Commit, Rollback, Stage, Reinstall:
		waits := s.Kind == Commit && d.Staged == s.Version && d.StagedImage == s.Image
		return opened && !d.Reinstalling && d.Image == s.Image && d.Version == s.Version && !waits
	case Want: // whatever it is called, it starts; the report says what it lacks
		return opened && d.Image == s.Image && d.Version == s.Version
	case Personalise:
		return opened && !d.IdentityPending
	case Reset:
		return opened && !d.SessionWritten && !d.SessionUnknown
	case Merge:
		return opened && d.Layers == 0
	case Recover, Heal:
		return opened
	case Plan:
		return s.Begun && opened && !d.Reinstalling
	}
	return false
}

// diskProblem is why nothing can be done with the disk.
func diskProblem(f *Facts) string {
	switch {
	case f.Unsupported != "":
		return "firmware: " + f.Unsupported
	case f.Disk.Condition == Missing && f.Order != nil && f.Order.Want == nil && f.Order.Reason != "":
		return f.Order.Reason + "; disk: " + f.Disk.Why
	case f.Disk.Condition != Opened && f.Disk.Condition != Unseen:
		return "disk: " + f.Disk.Why
	case f.unbootable() && f.Order != nil && f.want() == nil && f.Disk.State.ReinstallVersion == 0:
		return "reinstall: an interrupted one has to be finished, but its version is not known"
	}
	return ""
}

// refusal is why the machine does not take what is wanted, though it could be permitted nothing
// more.
func refusal(f *Facts) string {
	w, s := f.want(), f.Disk.State
	if why := unadopted(f); why != "" {
		return why
	}
	if p := f.Planned; p != nil && p.Unfit != "" && !Satisfied(f) {
		return "plan: " + p.Unfit
	}
	closed := ""
	if f.late() {
		closed = "plan: the window closed at " + f.Order.Rules.Until.Format(time.RFC3339)
	}
	if w != nil && !Satisfied(f) && (whole(f) != "" && f.Order.Permits.Reinstall ||
		f.Disk.Condition == Missing && f.Order.Permits.Provision != nil) {
		return closed
	}
	if w == nil || !deploys(f) || f.Done.failed(Stage) || f.Done.failed(Commit) || f.Done.failed(Plan) || f.Done.failed(Rollback) {
		return ""
	}
	switch {
	case f.Memo.Health.Refuses(Name(w.Image, w.Version, w.Manifest)):
		return fmt.Sprintf("plan: version %d was started several times on this machine without a sign of health; order it again to retry", w.Version)
	case f.want().Is(s.StagedImage, s.Staged, s.StagedManifest):
		return ""
	case closed != "":
		return closed
	case !rollsBack(f) && !s.SlotFree && !f.Done.failed(Merge):
		return "plan: both slots are in use until their versions are merged"
	}
	return ""
}

// Satisfied tells whether the disk holds what is wanted.
func Satisfied(f *Facts) bool {
	w, s := f.want(), f.Disk.State
	return w == nil || f.Disk.Condition == Opened && !s.Reinstalling && f.want().Is(s.Image, s.Version, s.Manifest)
}

// waitsFor names the permission or the permit without which the machine does not get what is wanted.
func waitsFor(f *Facts) string {
	w := f.want()
	if w == nil || Satisfied(f) || f.Unsupported != "" {
		return ""
	}
	const waits = "waits for your permission"
	p, or := f.Planned, ""
	if foreign(f) {
		or = fmt.Sprintf("; or keep what is equal and replace the rest: run `troy verify --host %s --adopt`", cmp.Or(f.Order.Name, "HOST"))
	}
	switch {
	case outgrown(f) && !f.Order.Permits.Provision.Erases():
		return fmt.Sprintf("%s; %s: set `provision: {allow: true, wipe: true}` for its room in lab.yaml; then run `troy permit %s --until DATE`", p.Lacks, waits, p.Permit)
	case p != nil && p.Lacks != "" && p.Permit == "":
		return p.Lacks + "; the disk has no serial number that a permit could name: prepare it by hand at the PC"
	case p != nil && p.Lacks != "":
		return fmt.Sprintf("%s; waits for a permit: run `troy permit %s --until DATE`%s", p.Lacks, p.Permit, or)
	case f.Disk.Condition == Missing && f.Order.Permits.Provision == nil:
		return waits + ": set `provision: {allow: true}` for its room in lab.yaml"
	case f.marked() != "":
		return keeps(f)
	case whole(f) == "" || f.Order.Permits.Reinstall:
		return ""
	case f.Disk.Condition == Opened:
		return fmt.Sprintf("%s; %s: set `reinstall: true` for its room in lab.yaml%s", whole(f), waits, or)
	}
	return waits + ": set `reinstall: true` for its room in lab.yaml"
}

// Unreached tells whether nothing went wrong but that no server answered.
func Unreached(f *Facts) bool {
	if f.Order != nil || diskProblem(f) != "" {
		return false
	}
	yes := false
	for i, r := range f.Done {
		switch k := r.Step.Kind; {
		case r.Err == nil || mended(f, i):
		case k != Connect && k != CheckIn:
			return false
		default:
			yes = true
		}
	}
	return yes
}

// Touched tells whether this start wrote to what Windows starts from, also where that went well.
func Touched(f *Facts) bool {
	return slices.ContainsFunc(f.Done, func(r Result) bool {
		return r.Wrote && r.Step.Kind.works() && r.Step.Kind != Recover && r.Step.Kind != Verify && r.Step.Kind != Want
	})
}
