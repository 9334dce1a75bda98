package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/server/protocol"
)

// TestPromoteSetup: a version whose Windows has still to be set up goes to more than one machine
// only if a person says so.
func TestPromoteSetup(t *testing.T) {
	h := newHistory(t, seeded(t))
	wantTroy(t, exitOK, "image", "import", "new", installWIM(t), "--edition", "1", "--size", "0.2")
	s := &servedLab{history: h, lab: filepath.Join(h.dir, "lab.yaml"), out: &screen{}}
	two := strings.Replace(strings.Replace(labYAML, "[pc]", "[pc, new]", 1), "hosts:\n", "hosts:\n  - {name: b204-9, room: B204, mac: \"52:54:00:00:02:99\"}\n", 1)
	must(t, os.WriteFile(s.lab, []byte(two), 0o644))
	s.start(t)
	refused := wantTroy(t, exitFailed, "promote", "--room", "B204", "--after", "none", "new@1")
	for _, says := range []string{"each of the 2 machines of room B204", "no terminal to ask at", "--yes", "nothing was changed"} {
		if !strings.Contains(refused.errOut, says) {
			t.Errorf("%q is not in %s", says, refused.errOut)
		}
	}
	if r := wantTroy(t, exitOK, "promote", "--room", "B204", "--after", "none", "--yes", "new@1"); !strings.Contains(r.out, "disks: a PC needs one of ") {
		t.Errorf("promote says %s", r.out)
	}
	wantTroy(t, exitOK, "promote", "--room", "test", "--after", "none", "new@1") // one machine

	if r := wantTroy(t, exitFailed, "hosts", "set-up", "test-1"); !strings.Contains(r.errOut, "not found") && !strings.Contains(r.errOut, "has not said") {
		t.Errorf("never seen: %s", r.errOut)
	}
	s.checkIn(t, testMAC, 1, "")
	if r := wantTroy(t, exitFailed, "hosts", "set-up", "test-1"); !strings.Contains(r.errOut, "test-1 has not said that the setup of its Windows is pending (it holds pc version 1)") {
		t.Errorf("not pending: %s", r.errOut)
	}
	in := protocol.CheckIn{Protocol: protocol.Version, Machine: protocol.Machine{Ports: []protocol.Port{{MAC: testMAC}}}, Image: "new", Version: 1,
		Manifest: strings.Repeat("1", protocol.HashSize), Setup: protocol.SetupPending}
	must(t, s.machine(t, testMAC).PostJSON(t.Context(), protocol.PathCheckIn, in, &protocol.Order{}))
	if r := wantTroy(t, exitOK, "hosts", "discard-setup", "test-1"); !strings.Contains(r.out, "test-1: the setup of new version 1 is discarded at its next start") {
		t.Errorf("leave says %s", r.out)
	}
	if r := wantTroy(t, exitOK, "log", "test-1"); !strings.Contains(r.out, "setup of Windows: pending") || !strings.Contains(r.out, "ordered: discard what the setup of new version 1 has done") {
		t.Errorf("the log lacks the order: %s", r.out)
	}
	if b, err := os.ReadFile(filepath.Join(s.store, "serve", "audit.jsonl")); err != nil || !strings.Contains(string(b), `/admin/setup","detail":"{\"host\":\"test-1\",\"leave\":true}","result":"ok"`) {
		t.Errorf("the audit log: %v\n%s", err, b)
	}
}
