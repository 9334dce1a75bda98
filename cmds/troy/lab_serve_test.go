package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"troy/server/lab"
	"troy/server/rooms"
	"troy/server/servedir"
	"troy/server/state"
)

// TestLabReload: SIGHUP reads lab.yaml; one that is wrong is told with its place, and does not
// count.
func TestLabReload(t *testing.T) {
	s := serveLab(t, newHistory(t, seeded(t)))
	hup := func(text, word string) {
		t.Helper()
		must(t, os.WriteFile(s.lab, []byte(text), 0o644))
		must(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
		s.out.wait(t, word)
	}
	hup(strings.Replace(labYAML, "wave: 2", "wave: x", 1), s.lab+":4:43: defaults.wave: found \"x\", expected a whole number from 1")
	if st := wantJSON[rooms.Status](t, exitOK, "status"); !strings.Contains(st.LabError, ":4:43") || len(st.Rooms) != 2 {
		t.Errorf("%+v", st)
	}
	hup(strings.Replace(labYAML, "test: ,", "test: , B205: ,", 1), "was reloaded")
	if st := wantJSON[rooms.Status](t, exitOK, "status"); st.LabError != "" || len(st.Rooms) != 3 {
		t.Errorf("%+v", st)
	}
}

func TestLabCommands(t *testing.T) {
	dir := t.TempDir()
	path, csv := filepath.Join(dir, "lab.yaml"), filepath.Join(dir, "hosts.csv")
	must(t, errors.Join(os.WriteFile(path, []byte(labYAML), 0o644), os.WriteFile(csv, []byte("name,room,mac\nx-1,B204,52:54:00:00:00:77\n"), 0o644)))
	if r := wantTroy(t, exitOK, "lab", "check", path); !strings.Contains(r.out, "2 rooms, 2 hosts") {
		t.Error(r.out)
	}
	if r := wantTroy(t, exitOK, "lab", "schema"); !strings.Contains(r.out, `"$schema"`) {
		t.Error(r.out)
	}
	if r := wantTroy(t, exitOK, "lab", "import-csv", "--lab", path, csv); !strings.Contains(r.out, `- {name: "x-1", room: "B204", mac: "52:54:00:00:00:77"}`) {
		t.Error(r.out)
	}
	must(t, os.WriteFile(csv, []byte("name,room,mac\nx-1,B205,52:54:00:00:00:01\n"), 0o644))
	wantTroy(t, exitCheck, "lab", "import-csv", "--lab", path, csv)
	must(t, os.WriteFile(path, []byte(labYAML+"  - {name: a b, room: B204}\n"), 0o644))
	if r := wantTroy(t, exitCheck, "lab", "check", path); !strings.Contains(r.errOut, fmt.Sprintf("%s:9:12: hosts[2].name: found \"a b\"", path)) {
		t.Error(r.errOut)
	}
	for _, args := range [][]string{{"promote", "pc@1"}, {"promote", "--room", "x", "pc"}, {"promote", "--room", "x", "pc@0"}, {"wake"}, {"wake", "--room", "a", "b"}, {"assign", "a", "b"}, {"forget"}, {"forget", "a", "--strangers"}, {"stop"}} {
		wantTroy(t, exitUsage, append(args, "--store", dir)...)
	}
}

// TestDamagedState: a state file that is damaged is one line with its name and the way back, from
// the server, from a command while none runs, and from doctor.
func TestDamagedState(t *testing.T) {
	s := serveLab(t, newHistory(t, seeded(t)))
	wantTroy(t, exitOK, "promote", "--room", "test", "pc@2")
	s.stop()
	path := servedir.Of(s.store).State()
	must(t, os.Rename(path, state.CopyOf(path))) // in place of the one that was made at the start
	whole, err := os.ReadFile(state.CopyOf(path))
	must(t, err)
	must(t, os.WriteFile(path, whole[:3*4096], 0o600))
	for _, args := range [][]string{{"serve", "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0", "--lab", s.lab, s.store}, {"status"}, {"stop", "--room", "test"}} {
		code := exitFailed
		if args[0] == "serve" {
			code = exitCheck // systemd does not start it again
		}
		r := wantTroy(t, code, args...)
		if want := path + " is damaged: it is cut short"; !strings.Contains(r.errOut, want) || !strings.Contains(r.errOut, "nothing was changed; 'cp -p "+path+".1 "+path+"'") || strings.Count(r.errOut, "\n") != 1 {
			t.Errorf("%s: %s", args[0], r.errOut)
		}
	}
	if r := wantTroy(t, exitCheck, "doctor", "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0", s.store); !strings.Contains(r.out, path+" is damaged") {
		t.Errorf("doctor says %s", r.out)
	}
	must(t, os.WriteFile(path, whole, 0o600))
	if r := wantTroy(t, exitOK, "status"); !strings.Contains(r.out, "pc version 2") {
		t.Errorf("after the way back: %s", r.out)
	}
}

// TestServeMissing: what is not there is an error with the command that makes it, and with the exit
// code after which systemd does not start the service again and again; a store as init
// leaves it is served, and the next steps are told until the room has a version.
func TestServeMissing(t *testing.T) {
	h := newHistory(t, seeded(t))
	for _, x := range []struct {
		args []string
		says string
	}{
		{[]string{t.TempDir()}, "troy init"},
		{[]string{"--lab", filepath.Join(h.dir, "none.yaml"), h.store}, "'troy lab init " + filepath.Join(h.dir, "none.yaml") + "'"},
		{[]string{"--lab", h.dir, h.store}, "is a directory"},
	} {
		if r := wantTroy(t, exitCheck, append([]string{"serve", "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0"}, x.args...)...); !strings.Contains(r.errOut, x.says) {
			t.Errorf("%q: %s", x.args, r.errOut)
		}
	}
	s := &servedLab{history: h, lab: filepath.Join(h.store, lab.FileName)}
	s.start(t)
	s.out.wait(t, "next: room default has no version yet: 'troy promote --store "+h.store+" --room default pc@2' gives it one")
	wantTroy(t, exitOK, "promote", "--room", "default", "pc@2")
	if o := s.checkIn(t, newMAC, 1, ""); o.Code == "" || o.Want != nil {
		t.Errorf("unknown machine: %+v", o)
	} else {
		wantTroy(t, exitOK, "assign", "--room", "default", o.Code, "pc-1")
	}
	if o := s.checkIn(t, newMAC, 1, ""); !begins(&o) || wanted(&o) != 2 {
		t.Errorf("assigned machine: %+v", o)
	}
}
