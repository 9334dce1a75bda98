package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/image"
	"troy/server/protocol"
	"troy/server/rooms"
)

// stopped are the rooms that an admin stopped, with the reason.
func stopped(t *testing.T) string {
	t.Helper()
	var list []string
	for _, r := range wantJSON[rooms.Status](t, exitOK, "status").Rooms {
		if r.Stopped != "" {
			list = append(list, r.Name+" "+r.Stopped)
		}
	}
	return strings.Join(list, ", ")
}

// TestStopAll: all rooms that have a version, and no others, are stopped and go on again; at the
// server, and without it.
func TestStopAll(t *testing.T) {
	s := serveLab(t, newHistory(t, seeded(t)))
	if r := wantTroy(t, exitOK, "stop", "--all"); r.out != "no room has a version: nothing could begin\n" {
		t.Errorf("before a promotion: %q", r.out)
	}
	wantTroy(t, exitOK, "promote", "--room", "test", "pc@1")
	if r := wantTroy(t, exitOK, "stop", "--all", "--why", "exam"); r.out != "room test is stopped: no further machine begins\n" {
		t.Errorf("it says %q", r.out)
	}
	wantTroy(t, exitOK, "promote", "--room", "B204", "--after", "none", "pc@1")
	if o := s.checkIn(t, roomMAC, 0, ""); wanted(&o) != 1 {
		t.Errorf("the other room: %+v", o)
	}
	s.stop() // from here on the state file
	wantTroy(t, exitOK, "stop", "--all", "--why", "exam")
	if got := stopped(t); got != "B204 exam, test exam" {
		t.Errorf("stopped are %s", got)
	}
	wantTroy(t, exitOK, "stop", "--resume", "--room", "test")
	if r := wantTroy(t, exitOK, "stop", "--resume", "--all"); r.out != "room B204 goes on\n" || stopped(t) != "" {
		t.Errorf("it says %q, stopped are %q", r.out, stopped(t))
	}
	if r := wantTroy(t, exitOK, "stop", "--resume", "--all"); r.out != "no room is stopped\n" {
		t.Errorf("it says %q", r.out)
	}
	wantTroy(t, exitUsage, "stop", "--all", "--room", "test")
}

// TestRollbackSaysWhen: as a promotion does, with the window of that room.
func TestRollbackSaysWhen(t *testing.T) {
	serveLab(t, newHistory(t, seeded(t)))
	wantTroy(t, exitOK, "promote", "--room", "test", "pc@1")
	wantTroy(t, exitOK, "promote", "--room", "test", "pc@2")
	if r := wantTroy(t, exitOK, "rollback", "--signed", "--room", "test", "pc@1"); !strings.HasPrefix(r.out, "room test goes back to pc version 1\nstarts at once: this room has no windows\n") {
		t.Errorf("it says %q", r.out)
	}
	wantTroy(t, exitOK, "promote", "--room", "test", "pc@2")
	r := wantTroy(t, exitOK, "rollback", "--signed", "--room", "test", "--at", "03:00-03:01", "pc@1")
	if !strings.Contains(r.out, "window: ") || !strings.Contains(r.out, " 03:00 to ") || !strings.Contains(r.out, " 03:01 (Europe/Berlin)") {
		t.Errorf("it says %q", r.out)
	}
}

// TestAgentOfHosts: the list of machines shows the release of the agent, without its commit.
func TestAgentOfHosts(t *testing.T) {
	s := serveLab(t, newHistory(t, seeded(t)))
	h, o := s.machine(t, testMAC), protocol.Order{}
	in := protocol.CheckIn{Protocol: protocol.Version, Machine: protocol.Machine{Ports: []protocol.Port{{MAC: testMAC}}}, Agent: "0.7.1 (commit 0123, go1.26)"}
	must(t, h.PostJSON(t.Context(), protocol.PathCheckIn, in, &o))
	lines := strings.Split(wantTroy(t, exitOK, "hosts").out, "\n")
	for _, line := range lines[1:3] {
		if seen := strings.Contains(line, "test-1"); strings.Contains(line, "agent 0.7.1 ") != seen || strings.Contains(line, "commit") {
			t.Errorf("%q", line)
		}
	}
}

// TestNote: date and note of a version are signed with it, and shown wherever one is chosen.
func TestNote(t *testing.T) {
	s := serveLab(t, newHistory(t, seeded(t)))
	child := filepath.Join(s.dir, "noted.vhdx")
	wantVHDX(t, exitOK, "create", "--type", "differencing", "--parent", s.child, child)
	for _, text := range []string{"two\nlines", strings.Repeat("ä", 201), "bell \a", "\xff"} {
		if r := wantTroy(t, exitUsage, "image", "add", "--force-unbootable", "--note", text, "pc", child); !strings.Contains(r.errOut, "--note: ") || strings.Count(r.errOut, "\n") != 1 {
			t.Errorf("%q: %s", text, r.errOut)
		}
	}
	const note = "Office 2024, für B204"
	before := time.Now().Add(-time.Second)
	m := wantJSON[image.Manifest](t, exitOK, "image", "add", "--force-unbootable", "--note", note, "pc", child)
	if m.Note != note || m.Published.Before(before) || m.Published.After(time.Now()) {
		t.Errorf("note %q, published %v", m.Note, m.Published)
	}
	wantTroy(t, exitOK, "promote", "--room", "test", "pc@3")
	today := m.Published.Local().Format(time.DateOnly)
	for _, x := range []struct{ args, says string }{
		{"image list", "pc                      3  " + today}, {"image list", note}, {"image show pc", "note:            " + note}, {"image show pc", "published:       " + today},
		{"promote --room B204 --dry-run pc@3", "pc version 3 of " + today + ": " + note}, {"promote --room B204 --dry-run pc@2", "pc version 2 of " + today + ": no note"},
		{"status", "note: " + note},
	} {
		if r := wantTroy(t, exitOK, strings.Fields(x.args)...); !strings.Contains(r.out, x.says) {
			t.Errorf("%s says %s, want %s", x.args, r.out, x.says)
		}
	}
	// Another note is another manifest: the signature is over its hash.
	x, err := image.LoadIndex(t.Context(), mustStore(t, s.store), "pc")
	must(t, err)
	_, same, err := m.Encode()
	must(t, err)
	m.Note = "Office 2021"
	_, other, err := m.Encode()
	must(t, err)
	if signed := x.Versions[2].Manifest.SHA256; signed != same.Manifest.SHA256 || signed == other.Manifest.SHA256 {
		t.Error("the hash of the manifest does not depend on the note")
	}
}
