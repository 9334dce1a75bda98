package agent

import (
	"bytes"
	"strings"
	"testing"
)

// What a server says cannot move the cursor, clear the screen or forge a line of the log.
func TestConsolePrintable(t *testing.T) {
	var out bytes.Buffer
	c := &console{out: &out}
	c.say("server: \x1b[2Jä\u009bnothing\x07 to do")
	if want := "deploy: server: ?[2Jä?nothing? to do\n"; out.String() != want || c.log() != strings.TrimSpace(want) {
		t.Errorf("%q and %q, want %q", out.String(), c.log(), want)
	}
}
