package trial

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"troy/diskwriter/machine"
	"troy/gates"
	"troy/trial/inside"
	"troy/trial/vm"
)

// What a trial of a real Windows saw answers gates; of a stand-in the same answers none.
func TestResult(t *testing.T) {
	tr := &Trial{o: Options{Dir: "/home/anna/trial"}, source: &Source{Edition: "Professional", Build: "26100"}, host: &Host{Firmware: &vm.Firmware{Secure: true}, TPM: "swtpm"}}
	e := &tr.state.Seen
	for _, layers := range []int{0, 1, 1, 2} {
		e.start(&View{State: machine.State{Layers: layers, SessionWritten: true}})
	}
	facts := inside.Facts{HostLetter: "none", PageFiles: []string{"host"}, Mailbox: "opened", Chain: []string{"layer-b.vhdx"}, ChainTried: 4}
	e.record(&inside.Record{PC: gates.PC{Model: "Standard PC (Q35 + ICH9, 2009)"}, Facts: facts}, &View{Chain: []string{"boot.vhdx", "layer-a.vhdx", "base.vhdx"}})
	e.Setup, e.Trimmed, e.Anchored, e.Dirty = true, true, true, gates.Pass
	tr.state.Found = []Finding{{"update", "update", false, "see /home/anna/trial/pc-b/pc-b-004.png"}}
	r, err := tr.Result(time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC), "0.2")
	if err != nil {
		t.Fatal(err)
	}
	for _, gate := range []string{"W1", "W2", "W6", "W7", "W8", "W9", "W12", "W14", "W15"} {
		if a := r.Answer(gate); a.Status != gates.Pass {
			t.Errorf("%s: %+v", gate, a)
		}
	}
	if r.Count(gates.Pass) != 9 || r.PC.SecureBoot != "on" || r.PC.TPM != "2.0" || r.PC.Virtual != "QEMU" {
		t.Errorf("%d gates passed, %+v", r.Count(gates.Pass), r.PC)
	}
	if text := tr.Text(r); strings.Contains(text, "anna") || !strings.Contains(text, "FAIL update") {
		t.Errorf("the page:\n%s", text)
	}
	// The worst counts: a page file in the boot child, a file of the chain that could be opened.
	e.Facts.PageFiles, e.Facts.Chain, e.Anchored, e.Dirty = []string{"boot child"}, []string{"base.vhdx"}, false, gates.Fail
	if r, err = tr.Result(time.Now(), "0.2"); err != nil {
		t.Fatal(err)
	}
	for _, gate := range []string{"W2", "W6", "W8", "W12"} {
		if a := r.Answer(gate); a.Status != gates.Fail {
			t.Errorf("%s: %+v", gate, a)
		}
	}
	e.PC.Windows.StandIn = true
	if r, err = tr.Result(time.Now(), "0.2"); err != nil || r.Count(gates.NotRun) != len(gates.All()) {
		t.Errorf("a stand-in: %v\n%s", err, r.Page())
	}
	if !slices.ContainsFunc(tr.NotTried(), func(s string) bool { return strings.Contains(s, "a stand-in played it") }) {
		t.Errorf("%q", tr.NotTried())
	}
}

// Warnings, and what every natively booted Windows says of crash dumps, are no faults.
func TestSerious(t *testing.T) {
	for event, want := range map[string]bool{
		"disk 7 (error): a bad block": true, "2 times: Ntfs 55 (error): corrupt": true, "storahci 129 (warning): reset": false,
		"volmgr 46 (error): crash dump initialization failed": false, "3 times: volmgr 161 (error): dump": false, "volmgr 461 (error): x": true,
	} {
		if got := serious(event); got != want {
			t.Errorf("%s: %t", event, got)
		}
	}
}

// A step that is begun again forgets what it found; the cuts that were made stay.
func TestBegin(t *testing.T) {
	tr := &Trial{o: Options{Out: io.Discard}}
	for _, step := range []string{"update", "cuts", "reset"} {
		tr.begin(step)
		tr.find("pc-b", false, "in %s", step)
	}
	tr.begin("reset")
	tr.begin("cuts")
	if len(tr.state.Found) != 2 || tr.Failed() != 2 || tr.state.Found[1].During != "cuts" {
		t.Errorf("%+v", tr.state.Found)
	}
}
