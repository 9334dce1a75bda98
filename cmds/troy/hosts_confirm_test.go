package main

import (
	"strings"
	"testing"

	"troy/image/trust/sign"
	"troy/server/rooms"
)

// TestConfirm: what the server pinned is shown, noted beside the admin key when a person agrees, and
// known to the server; another key than the one that was shown is not.
func TestConfirm(t *testing.T) {
	s := serveLab(t, newHistory(t, seeded(t)))
	if r := wantTroy(t, exitOK, "hosts", "confirm", "test"); !strings.Contains(r.out, "nothing to confirm") {
		t.Errorf("before a machine has a key: %s", r.out)
	}
	s.checkIn(t, testMAC, 1, "")
	if r := wantTroy(t, exitFailed, "hosts", "confirm", "test"); !strings.Contains(r.errOut, "test-1") || !strings.Contains(r.errOut, "nothing was confirmed") {
		t.Errorf("without an answer: %s", r.errOut)
	}
	if r := wantTroy(t, exitOK, "hosts"); !strings.Contains(r.out, "not confirmed") {
		t.Errorf("hosts: %s", r.out)
	}
	for _, target := range []string{"test", "test-1"} {
		wantTroy(t, exitOK, "hosts", "confirm", "--yes", target)
	}
	if r := wantTroy(t, exitOK, "hosts"); strings.Contains(r.out, "not confirmed") {
		t.Errorf("hosts: %s", r.out)
	}
	repo, err := sign.Open(s.store, nil)
	must(t, err)
	list, err := repo.Confirmed()
	must(t, err)
	shown := wantJSON[[]rooms.Host](t, exitOK, "hosts", "--room", "test")
	if len(list) != 1 || list[0].Name != "test-1" || list[0].Key != shown[0].Pin || !shown[0].Confirmed {
		t.Errorf("beside the admin key: %+v, at the server: %+v", list, shown)
	}
	wantTroy(t, exitUsage, "hosts", "confirm")
	wantTroy(t, exitFailed, "hosts", "confirm", "--yes", "nobody")
}
