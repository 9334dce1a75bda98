package main

import (
	"os"
	"strings"
	"testing"

	"troy/server/servedir"
)

// TestTokenCommand: the token is shown and replaced, also while the server runs.
func TestTokenCommand(t *testing.T) {
	h := newHistory(t, seeded(t))
	if r := wantTroy(t, exitFailed, "token", "show"); !strings.Contains(r.errOut, "there is no token; 'troy token rotate' makes one") {
		t.Errorf("it says %s", r.errOut)
	}
	s := serveLab(t, h)
	first := wantTroy(t, exitOK, "token", "show").out
	copied := writeText(t, s.dir, "token", first)
	wantTroy(t, exitOK, "status", "--server", s.url, "--token-file", copied)
	if second := wantTroy(t, exitOK, "token", "rotate").out; second == first || second != wantTroy(t, exitOK, "token", "show").out {
		t.Errorf("%q became %q", first, second)
	}
	if r := wantTroy(t, exitFailed, "status", "--server", s.url, "--token-file", copied); !strings.Contains(r.errOut, "the admin's token is needed") {
		t.Errorf("the token before: %s", r.errOut)
	}
	wantTroy(t, exitOK, "status") // by the socket, without a token
	must(t, os.WriteFile(servedir.Of(s.store).Token(), []byte("x"), 0o600))
	wantTroy(t, exitFailed, "token", "show")
	wantTroy(t, exitFailed, "token", "rotate", "--store", t.TempDir())
}
