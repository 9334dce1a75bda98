package main

import (
	"strings"
	"testing"

	"troy/server/protocol"
)

// TestRemovedVersion: what was removed from the store is neither promoted nor ordered by a server
// that runs, whatever it knew before; and a wave of it ends there.
func TestRemovedVersion(t *testing.T) {
	s := serveLab(t, newHistory(t, seeded(t)))
	wantTroy(t, exitOK, "promote", "--room", "test", "pc@2")
	if o := s.checkIn(t, testMAC, 1, ""); !begins(&o) || wanted(&o) != 2 {
		t.Fatalf("%+v", o)
	}
	s.report(t, testMAC, 1, protocol.OutcomeFailed, "cut")
	wantTroy(t, exitOK, "image", "rm", "pc", "2")
	if o := s.checkIn(t, testMAC, 1, ""); begins(&o) || !strings.Contains(o.Reason, "no version 2") {
		t.Errorf("in mid-wave: %+v", o)
	}
	wantTroy(t, exitOK, "image", "gc")
	for _, room := range []string{"test", "B204"} {
		if r := wantTroy(t, exitFailed, "promote", "--room", room, "pc@2"); !strings.Contains(r.errOut, "no version 2") {
			t.Errorf("promote says %s", r.errOut)
		}
	}
	if o := s.checkIn(t, testMAC, 1, ""); begins(&o) {
		t.Errorf("no byte of it is left: %+v", o)
	}
}
