package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPromoteSetup: a version whose Windows has still to be set up goes to more than one machine only
// if a person says so.
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
}
