package main

import (
	"strings"
	"testing"

	"troy/server/protocol"
)

// TestVerify orders a machine and a room to be compared: the order goes out with the next check-in
// of a machine that has its version, and its answer is shown.
func TestVerify(t *testing.T) {
	s := serveLab(t, newHistory(t, seeded(t)))
	wantTroy(t, exitOK, "promote", "--room", "test", "pc@2")
	s.checkIn(t, testMAC, 2, "")
	for _, args := range [][]string{{}, {"--room", "test", "--host", "test-1"}, {"--host", "test-1", "x"}} {
		wantTroy(t, exitUsage, append([]string{"verify"}, args...)...)
	}
	for name, args := range map[string][]string{"a room that is none": {"--room", "none"}, "a machine that is none": {"--host", "none"}, "never seen": {"--host", "b204-1"}} {
		if r := wantTroy(t, exitFailed, append([]string{"verify"}, args...)...); !strings.Contains(r.errOut, "not found") {
			t.Errorf("%s: %s", name, r.errOut)
		}
	}
	for _, args := range [][]string{{"--room", "test"}, {"--host", "test-1", "--adopt"}} {
		if r := wantTroy(t, exitOK, append([]string{"verify"}, args...)...); !strings.Contains(r.out, "1 machines are compared") {
			t.Errorf("%q: %s", args, r.out)
		}
		o := s.checkIn(t, testMAC, 2, "")
		if o.Verify == nil || o.Verify.Adopt != (len(args) > 2) {
			t.Fatalf("%q: the order is %+v", args, o)
		}
		r := protocol.Report{Protocol: protocol.Version, ID: o.Verify.ID, Machine: protocol.Machine{Ports: []protocol.Port{{MAC: testMAC}}}, Image: "pc", Version: 2,
			Outcome: protocol.OutcomeDone, Verified: &protocol.Verified{ID: o.Verify.ID, With: *o.Want, Adopted: o.Verify.Adopt}}
		must(t, s.machine(t, testMAC).PostJSON(t.Context(), protocol.PathReport, r, nil))
		if o := s.checkIn(t, testMAC, 2, ""); o.Verify != nil {
			t.Errorf("%q: ordered again after the answer: %+v", args, o)
		}
	}
	if r := wantTroy(t, exitOK, "log", "test-1"); !strings.Contains(r.out, "verified") {
		t.Errorf("the log says %s", r.out)
	}
}
