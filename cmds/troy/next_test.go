package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// backCommand is the way back that a server names.
var backCommand = regexp.MustCompile(`'mv (\S+) (\S+)'`)

// TestDowngrade: the next release (internal/format) has served the store and published a version.
// The server of today then does not start, says why in one line and changes nothing; with the copy
// that the line names it does, and says what of the store it cannot read.
func TestDowngrade(t *testing.T) {
	if os.Getenv("TROY_SOAK") == "" {
		t.Log("only with TROY_SOAK=1; package nextdocs has the state file, without a server")
		return
	}
	next := filepath.Join(t.TempDir(), "troy-next")
	if out, err := exec.Command("go", "build", "-tags", "next", "-o", next, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := serveLab(t, newHistory(t, seeded(t)))
	wantTroy(t, exitOK, "promote", "--room", "test", "pc@2")
	s.stop()
	serve := []string{"serve", "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0", "--lab", s.lab, s.store}
	serveOnce(t, next, serve...)

	path := filepath.Join(s.store, "serve", "state.db")
	before, err := os.ReadFile(path)
	must(t, err)
	r := wantTroy(t, exitCheck, serve...)
	back := backCommand.FindStringSubmatch(r.errOut)
	if back == nil || back[2] != path || !strings.Contains(r.errOut, `Troy 0.2-next wrote it (format 3): state.db needs "next"`) || !strings.Contains(r.errOut, "nothing was changed") || strings.Count(r.errOut, "\n") != 1 {
		t.Fatalf("the server says %s", r.errOut)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("state.db was changed (%v)", err)
	}
	must(t, os.Rename(back[1], back[2]))
	s.start(t)
	if r := wantTroy(t, exitOK, "status"); !strings.Contains(r.out, "pc version 2") {
		t.Errorf("with the copy status says %s", r.out)
	}
	if o := s.checkIn(t, "52:54:00:00:00:01", 1, ""); o.Want == nil || o.Want.Version != 2 {
		t.Errorf("with the copy the order is %+v", o)
	}
	s.stop()

	must(t, os.Rename(s.base, s.child)) // any disk of that size
	if out, err := exec.Command(next, "image", "add", "--force-unbootable", "--compare", "pc", s.child).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.start(t)
	s.out.wait(t, `machines are ordered nothing: trust: the store is not what was signed: images/pc/versions.json: image: unsupported: versions.json needs "next"`)
	if o := s.checkIn(t, "52:54:00:00:00:01", 1, ""); o.Want != nil {
		t.Errorf("of what it cannot read the server orders %+v", o)
	}
}

// serveOnce runs a server until it serves, and ends it.
func serveOnce(t *testing.T, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	out, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	serves := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "serving the rooms of ") {
			serves = true
			must(t, cmd.Process.Signal(syscall.SIGTERM))
		}
	}
	if err := cmd.Wait(); err != nil || !serves {
		t.Fatalf("the server of the next release: served %v, %v", serves, err)
	}
}
