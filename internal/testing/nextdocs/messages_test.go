package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/internal/format"
	"troy/server/protocol"
	"troy/server/state"
)

// TestNextMessages: agents and servers of this release and of the next work together, in the
// protocol of this one.
func TestNextMessages(t *testing.T) {
	run := program(t)
	today := map[string]func(string) error{"offer": offer, "answer": answer, "follow": follow}
	next := func(act, path string) error {
		out, err := run(act, path)
		if err != nil {
			return errors.New(out)
		}
		return nil
	}
	path := filepath.Join(t.TempDir(), "message")
	read := func() string {
		b, err := os.ReadFile(path)
		must(t, err)
		return string(b)
	}

	// Today's agent at the next server.
	must(t, today["offer"](path))
	must(t, next("answer", path))
	must(t, today["follow"](path))
	if o, err := protocol.ReadOrder([]byte(read())); err != nil || o.Protocol != protocol.Version || o.Want == nil || o.Agent != "2" || !strings.Contains(read(), `"next":true`) {
		t.Errorf("the next server answers %s, %v", read(), err)
	}

	// The next agent at today's server.
	must(t, next("offer", path))
	if in := read(); !strings.Contains(in, `"protocol":6,"oldest":5`) || !strings.Contains(in, `"next":true`) {
		t.Errorf("the next agent says %s", in)
	}
	must(t, today["answer"](path))
	must(t, next("follow", path))

	// An order of the next protocol, which was meant for an agent of the next release.
	must(t, next("offer", path))
	must(t, next("answer", path))
	must(t, next("follow", path))
	o, err := protocol.ReadOrder([]byte(read()))
	if err != nil || !strings.Contains(o.Refused, `the order needs "next"`) || o.Want != nil || o.Agent != "2" || o.Repo != "repo" {
		t.Errorf("of %s today's agent makes %+v, %v", read(), o, err)
	}
}

// TestNextState: the next server migrates the state of this one, after it has made a copy. This one
// says what the other one did, changes nothing, and starts with the copy.
func TestNextState(t *testing.T) {
	run, path := program(t), filepath.Join(t.TempDir(), "state.db")
	s, err := state.Open(path, nil)
	must(t, err)
	_, err = s.Update("a", func(m *state.Machine) error { m.Name = "b204-01"; return nil })
	must(t, errors.Join(err, s.Close()))
	if out, err := run("keep", path); err != nil {
		t.Fatal(out)
	}
	before, err := os.ReadFile(path)
	must(t, err)
	copied := state.BackupOf(path, state.Kind.Current())
	var newer *state.NewerError
	if err := keep(path); !errors.As(err, &newer) || newer.Program != "0.2-next" || newer.Format != state.Kind.Number+1 ||
		!strings.Contains(err.Error(), `state.db needs "next", which this program (`+format.Release+`) does not understand`) || !strings.Contains(err.Error(), copied) {
		t.Errorf("today's server says %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the file was changed (%v)", err)
	}
	must(t, os.Rename(copied, path))
	s, err = state.Open(path, nil)
	must(t, err)
	if m := s.Get("a"); m == nil || m.Name != "b204-01" {
		t.Errorf("the copy holds %+v", m)
	}
	must(t, s.Close())
}
