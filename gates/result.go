package gates

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"troy/internal/format"
)

// ResultKind is the format of a result file.
var ResultKind = format.Kind{Name: "the result file", Number: 1, Oldest: 1}

// FileName is the name of a result file in a folder of test disks.
const FileName = "result.json"

// Limits of a result file.
const (
	MaxFile     = 1 << 20 // bytes
	MaxGates    = 99
	MaxEvidence = 32 // lines of one gate
	maxCards    = 16
)

var (
	// ErrResult: a result file has a member that no program writes.
	ErrResult = errors.New("bad result file")
	// ErrPrivate: a result file holds what tells one PC or person from another.
	ErrPrivate = errors.New("the result file holds personal data")
	// ErrOtherPC: two results are of different PCs.
	ErrOtherPC = errors.New("the results are of different PCs")
)

// Status is the answer to a gate.
type Status string

// Answers.
const (
	NotRun Status = "not run"
	Pass   Status = "pass"
	Fail   Status = "fail"
)

// rank orders the answers: when two sources differ the higher one counts.
func (s Status) rank() int { return slices.Index([]Status{NotRun, Pass, Fail}, s) }

// Together is the answer of several trials of one gate: a failure if any failed, a pass if all
// passed.
func Together(all ...Status) Status {
	switch {
	case slices.Contains(all, Fail):
		return Fail
	case len(all) == 0 || slices.Contains(all, NotRun):
		return NotRun
	}
	return Pass
}

// Answer is what came out of a gate on one PC.
type Answer struct {
	Gate     string   `json:"gate"`
	Status   Status   `json:"status"`
	Evidence []string `json:"evidence,omitempty"`
}

// Windows says which one was tried.
type Windows struct {
	Edition string `json:"edition,omitempty"`
	Build   string `json:"build,omitempty"`    // such as 26100.1742
	StandIn bool   `json:"stand_in,omitempty"` // none was: a program stood in its place
}

// PC is what a result file says of a PC. What is empty is not known.
type PC struct {
	Virtual    string   `json:"virtual,omitempty"` // the hypervisor; "": a real PC
	Maker      string   `json:"maker,omitempty"`
	Model      string   `json:"model,omitempty"`
	Firmware   string   `json:"firmware,omitempty"`    // kind, vendor and version
	SecureBoot string   `json:"secure_boot,omitempty"` // on, off
	TPM        string   `json:"tpm,omitempty"`         // version, none
	BootNext   string   `json:"boot_next,omitempty"`   // honoured, ignored
	Cards      []string `json:"network_cards,omitempty"`
	Windows    Windows  `json:"windows"`
}

// fields returns all that a PC says but its cards, by the names of the members.
func (p *PC) fields() []field {
	return []field{{"virtual", &p.Virtual}, {"maker", &p.Maker}, {"model", &p.Model}, {"firmware", &p.Firmware}, {"secure_boot", &p.SecureBoot},
		{"tpm", &p.TPM}, {"boot_next", &p.BootNext}, {"edition", &p.Windows.Edition}, {"build", &p.Windows.Build}}
}

// Set changes what a PC says, by the name of the member in the file; a card is added. An unknown
// name is an ErrResult.
func (p *PC) Set(name, text string) error {
	names := []string{"network_cards"}
	if name == names[0] {
		p.Cards = append(p.Cards, text)
		return nil
	}
	for _, f := range p.fields() {
		if f.name == name {
			*f.text = text
			return nil
		}
		names = append(names, f.name)
	}
	return fmt.Errorf("%w: a PC has no %q; want one of %s", ErrResult, name, strings.Join(names, ", "))
}

type field struct {
	name string
	text *string
}

// cleaned returns the PC without what tells it from others.
func (p PC) cleaned(names []string) PC {
	p.Cards = slices.Clone(p.Cards)
	for _, f := range p.fields() {
		*f.text = Clean(*f.text, names)
	}
	for i := range p.Cards {
		p.Cards[i] = Clean(p.Cards[i], names)
	}
	return p
}

// MergeTimes compares Windows' own merge with Troy's on copies of the same files, on one PC.
type MergeTimes struct {
	Bytes   int64   `json:"bytes"`   // that were merged
	Windows float64 `json:"windows"` // seconds
	Troy    float64 `json:"troy"`    // seconds
}

// Result is what came out on one PC.
type Result struct {
	format.Head
	Date  string      `json:"date"` // the day, as 2026-11-30
	Troy  string      `json:"troy"` // version of the program
	PC    PC          `json:"pc"`
	Merge *MergeTimes `json:"merge,omitempty"`
	Gates []Answer    `json:"gates"`
	// Unknown are members of a newer program.
	Unknown format.Unknown `json:",embed"`

	// Names are what no line may say: the names of this PC and of its user. They are not written.
	Names []string `json:"-"`
}

// New returns a result of that day in which no gate was run.
func New(day time.Time, troy string, pc PC) *Result {
	r := &Result{Date: day.Format(time.DateOnly), Troy: Clean(troy, nil), PC: pc}
	for _, g := range list {
		r.Gates = append(r.Gates, Answer{Gate: g.ID, Status: NotRun})
	}
	return r
}

// Add enters what a source found about a gate, with a line of evidence ("": none). A pass of a
// source that does not settle the gate is evidence only. A gate that the list does not have is an
// ErrResult.
func (r *Result) Add(from Source, gate string, s Status, evidence string) error {
	g := Find(gate)
	if g == nil {
		return fmt.Errorf("%w: there is no gate %q", ErrResult, gate)
	}
	if s.rank() < 0 {
		return fmt.Errorf("%w: gate %s is %q; want %s, %s or %s", ErrResult, gate, s, Pass, Fail, NotRun)
	}
	if s == Pass && !g.SettledBy(from) {
		s = NotRun
	}
	r.add(Answer{gate, s, lines(evidence)}, r.Names)
	return nil
}

func lines(evidence string) []string {
	if evidence == "" {
		return nil
	}
	return []string{evidence}
}

// add enters an answer, cleaned, beside what is known of the gate.
func (r *Result) add(a Answer, names []string) {
	i := slices.IndexFunc(r.Gates, func(b Answer) bool { return b.Gate == a.Gate })
	if i < 0 {
		i = len(r.Gates)
		r.Gates = append(r.Gates, Answer{Gate: a.Gate, Status: NotRun})
	}
	have := &r.Gates[i]
	if a.Status.rank() > have.Status.rank() {
		have.Status = a.Status
	}
	for _, line := range a.Evidence {
		line = Clean(line, names)
		if line != "" && len(have.Evidence) < MaxEvidence && !slices.Contains(have.Evidence, line) {
			have.Evidence = append(have.Evidence, line)
		}
	}
}

// Answer returns what is known of a gate.
func (r *Result) Answer(gate string) Answer {
	for _, a := range r.Gates {
		if a.Gate == gate {
			return a
		}
	}
	return Answer{Gate: gate, Status: NotRun}
}

// Count counts the gates of the list that have an answer.
func (r *Result) Count(s Status) (n int) {
	for _, g := range list {
		if r.Answer(g.ID).Status == s {
			n++
		}
	}
	return n
}

// Encode returns the file. Errors: ErrPrivate, ErrResult.
func (r *Result) Encode() ([]byte, error) {
	doc := *r
	doc.PC = r.PC.cleaned(r.Names)
	ResultKind.Stamp(&doc.Head)
	if err := doc.check(); err != nil {
		return nil, err
	}
	return format.Indent(&doc)
}

// Parse reads a result file. Errors: ErrResult, ErrPrivate, and those of package format.
func Parse(b []byte) (*Result, error) {
	if len(b) > MaxFile {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrResult, len(b), MaxFile)
	}
	r := &Result{}
	if err := ResultKind.Read(b, r); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	return r, nil
}

// check refuses what no program writes.
func (r *Result) check() error {
	if _, err := time.Parse(time.DateOnly, r.Date); err != nil {
		return fmt.Errorf("%w: date is %.20q, want a day such as 2026-11-30", ErrResult, r.Date)
	}
	if len(r.Gates) > MaxGates || len(r.PC.Cards) > maxCards {
		return fmt.Errorf("%w: %d gates and %d network cards, at most %d and %d", ErrResult, len(r.Gates), len(r.PC.Cards), MaxGates, maxCards)
	}
	all := append(r.PC.fields(), field{"troy", &r.Troy})
	for i := range r.PC.Cards {
		all = append(all, field{"network_cards", &r.PC.Cards[i]})
	}
	for _, f := range all {
		if err := checkText(f.name, *f.text); err != nil {
			return err
		}
	}
	if m := r.Merge; m != nil && (m.Bytes < 0 || m.Windows < 0 || m.Troy < 0) {
		return fmt.Errorf("%w: merge has a number below zero", ErrResult)
	}
	seen := map[string]bool{}
	for _, a := range r.Gates {
		if err := a.check(); err != nil {
			return err
		}
		if seen[a.Gate] {
			return fmt.Errorf("%w: gate %s is there twice", ErrResult, a.Gate)
		}
		seen[a.Gate] = true
	}
	return nil
}

func (a *Answer) check() error {
	n, err := strconv.Atoi(strings.TrimPrefix(a.Gate, "W"))
	if err != nil || a.Gate != fmt.Sprint("W", n) || n < 1 || n > MaxGates {
		return fmt.Errorf("%w: %.20q is no gate", ErrResult, a.Gate)
	}
	if a.Status.rank() < 0 {
		return fmt.Errorf("%w: gate %s is %.20q; want %s, %s or %s", ErrResult, a.Gate, a.Status, Pass, Fail, NotRun)
	}
	if len(a.Evidence) > MaxEvidence {
		return fmt.Errorf("%w: gate %s has %d lines of evidence, at most %d", ErrResult, a.Gate, len(a.Evidence), MaxEvidence)
	}
	for _, line := range a.Evidence {
		if err := checkText("evidence of "+a.Gate, line); err != nil {
			return err
		}
	}
	return nil
}

func checkText(name, text string) error {
	if what := private(text); what != "" {
		return fmt.Errorf("%w: %s has a %s", ErrPrivate, name, what)
	}
	if len(text) > MaxLine || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("%w: %s is no line of at most %d printable bytes", ErrResult, name, MaxLine)
	}
	return nil
}
