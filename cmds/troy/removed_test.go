package main

import (
	"strings"
	"testing"

	"troy/server/protocol"
)

// TestRemovedVersion: a version that was removed from the store of a running server, which had
// looked at it, is neither promoted nor ordered.
func TestRemovedVersion(t *testing.T) {
	s := serveLab(t, newHistory(t, seeded(t)))
	wantTroy(t, exitOK, "promote", "--room", "test", "pc@2")
	if o := s.checkIn(t, testMAC, 1, ""); !begins(&o) || wanted(&o) != 2 {
		t.Fatalf("%+v", o)
	}
	s.report(t, testMAC, 1, protocol.OutcomeFailed, "cut")
	wantTroy(t, exitOK, "image", "rm", "pc", "2")
	if o := s.checkIn(t, testMAC, 1, ""); begins(&o) || !strings.Contains(o.Reason, "the store cannot provide it") {
		t.Errorf("in the middle of the wave: %+v", o)
	}
	wantTroy(t, exitOK, "image", "gc")
	if o := s.checkIn(t, testMAC, 1, ""); begins(&o) {
		t.Errorf("no byte of it is left: %+v", o)
	}
	if r := troy("promote", "--room", "B204", "pc@2"); r.code == exitOK || !strings.Contains(r.errOut, "no version 2") {
		t.Errorf("promoted: %+v", r)
	}
}
