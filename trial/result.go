package trial

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"troy/gates"
	"troy/trial/inside"
)

// evidence is what the starts showed, for the gates.
type evidence struct {
	PC       gates.PC     `json:"pc"`
	Facts    inside.Facts `json:"facts"`
	Ups      int          `json:"ups"`      // starts that brought up Windows
	Three    int          `json:"three"`    // of them in a chain of three
	Four     int          `json:"four"`     // of them in a chain of four
	Wrote    int          `json:"wrote"`    // of them that wrote to the boot child
	Setup    bool         `json:"setup"`    // setup ran to the desktop in the boot child
	Trimmed  bool         `json:"trimmed"`  // Optimize-Volume -ReTrim ran
	Anchored bool         `json:"anchored"` // and moved nothing
	Dirty    gates.Status `json:"dirty"`    // whether Windows came up by itself on a log that was not closed
}

// record keeps what a start said. Of the files that could be opened for writing, those of the chain
// that ran count.
func (e *evidence) record(r *inside.Record, v *View) {
	e.PC, e.Facts = r.PC, r.Facts
	e.Facts.Chain = slices.DeleteFunc(slices.Clone(r.Facts.Chain), func(name string) bool { return !slices.Contains(v.Chain, name) })
}

// start counts a start that brought up Windows.
func (e *evidence) start(v *View) {
	e.Ups++
	switch v.State.Layers {
	case 1:
		e.Three++
	case 2:
		e.Four++
	}
	if v.State.SessionWritten {
		e.Wrote++
	}
}

// Result is what came out, for the table of all PCs. Of a stand-in it answers nothing: what was seen
// is told beside the gates.
func (t *Trial) Result(day time.Time, version string) (*gates.Result, error) {
	e := &t.state.Seen
	pc := e.PC
	pc.Virtual = orDefault(pc.Virtual, "QEMU")
	pc.TPM = orDefault(pc.TPM, map[bool]string{true: "2.0", false: "none"}[t.host.TPM != ""])
	pc.SecureBoot = orDefault(pc.SecureBoot, onOff(t.host.Firmware.Secure))
	pc.Windows.Edition, pc.Windows.Build = orDefault(pc.Windows.Edition, t.source.Edition), orDefault(pc.Windows.Build, t.source.Build)
	r := gates.New(day, version, pc)
	for _, a := range t.answers() {
		status := a.status
		if pc.Windows.StandIn {
			status = gates.NotRun
		}
		if err := r.Add(gates.Trial, a.gate, status, a.line); err != nil {
			return nil, err
		}
	}
	for _, f := range t.state.Found {
		if !f.OK { // a failure is told where whoever reads looks first
			if err := r.Add(gates.Trial, "W1", gates.NotRun, "failed: "+f.Step+": "+t.public(f.Text)); err != nil {
				return nil, err
			}
		}
	}
	return t.joined(r)
}

type answer struct {
	gate   string
	status gates.Status
	line   string
}

// answers are what the evidence says.
func (t *Trial) answers() []answer {
	e := &t.state.Seen
	count := func(gate string, n int, format string) answer {
		if n == 0 {
			return answer{gate, gates.NotRun, "this did not happen in the trial"}
		}
		return answer{gate, gates.Pass, fmt.Sprintf(format, n)}
	}
	all := []answer{
		count("W1", e.Three, "came up %d times in a chain of three"),
		count("W7", e.Ups, "came up %d times by the BCD store of Troy"),
		count("W9", e.Wrote, "came up and wrote to the anchored boot child %d times"),
		count("W15", e.Four, "came up %d times in a chain of four"),
		t.letter(), t.service(),
	}
	switch {
	case e.Trimmed && e.Anchored:
		all = append(all, answer{"W6", gates.Pass, "size and places are the same after Windows ran and after Optimize-Volume -ReTrim"})
	case e.Trimmed:
		all = append(all, answer{"W6", gates.Fail, "the boot child changed its size or moved blocks"})
	}
	if e.Dirty != "" {
		all = append(all, answer{"W2", e.Dirty, "the power was cut while Windows wrote; the firmware then started Windows, with the log of the boot child pending"})
	}
	if e.Setup {
		all = append(all, answer{"W14", gates.Pass, "the setup of Windows ran to the desktop in the boot child"})
	}
	return all
}

// letter is W8.
func (t *Trial) letter() answer {
	f := t.state.Seen.Facts
	line := fmt.Sprintf("host partition: letter %s; page files: %s", orDefault(f.HostLetter, "not known"), orDefault(strings.Join(f.PageFiles, ", "), "not known"))
	switch {
	case f.HostLetter == "" || len(f.PageFiles) == 0:
		return answer{"W8", gates.NotRun, line}
	case f.HostLetter == "none" && !slices.Contains(f.PageFiles, "boot child"):
		return answer{"W8", gates.Pass, line}
	}
	return answer{"W8", gates.Fail, line}
}

// service is W12.
func (t *Trial) service() answer {
	f := t.state.Seen.Facts
	line := fmt.Sprintf("mailbox: %s; of %d files of the running chain %d opened for writing", orDefault(f.Mailbox, "not tried"), f.ChainTried, len(f.Chain))
	switch {
	case f.Mailbox == "" || f.ChainTried == 0:
		return answer{"W12", gates.NotRun, line}
	case f.Mailbox == "opened" && len(f.Chain) == 0:
		return answer{"W12", gates.Pass, line}
	}
	return answer{"W12", gates.Fail, line}
}

// NotTried are the things that this trial could not try, in words.
func (t *Trial) NotTried() []string {
	all := []string{"the loss of a disk's own cache at a power cut (a cut ends QEMU)", "real firmware, real disks, real network cards"}
	if t.state.Seen.PC.Windows.StandIn {
		all = append(all, "a real Windows: a stand-in played it, and no gate is answered")
	}
	if !t.host.Firmware.Secure {
		all = append(all, "Secure Boot")
	}
	if t.host.TPM == "" {
		all = append(all, "a TPM")
	}
	if len(t.state.Done) < len(steps) {
		for _, s := range steps {
			if !slices.Contains(t.state.Done, s.name) {
				all = append(all, "not finished: "+s.title)
			}
		}
	}
	return all
}

// public is a line without names of this machine.
func (t *Trial) public(line string) string {
	return gates.Clean(strings.ReplaceAll(line, t.o.Dir, "…"), nil)
}

// Text is the page of a trial: what was found, and what came out.
func (t *Trial) Text(r *gates.Result) string {
	var b strings.Builder
	for _, f := range t.state.Found {
		fmt.Fprintf(&b, "%s %-10s %s\n", mark(f.OK), f.Step, t.public(f.Text))
	}
	fmt.Fprintln(&b, "\nNot tried:")
	for _, line := range t.NotTried() {
		fmt.Fprintln(&b, "  -", line)
	}
	fmt.Fprintf(&b, "\n%s", r.Page())
	return b.String()
}
