package rooms

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/image"
	"troy/image/fields"
	"troy/server/protocol"
)

// someFields has room for names of 15 letters, one setting and a small machine.json.
func someFields() (list []image.Field) {
	for _, name := range []string{fields.ComputerName, fields.Hostname, fields.NVHostname} {
		list = append(list, image.Field{Kind: image.FieldText, Name: name, Where: "SYSTEM", At: []image.Range{{Offset: 0, Length: 32}}})
	}
	return append(list, image.Field{Kind: image.FieldNumber, Name: fields.DisablePasswordChange, Where: "SYSTEM", At: []image.Range{{Offset: 64, Length: 4}}},
		image.Field{Kind: image.FieldFile, Name: fields.MachineFile, Where: `\Troy\machine.json`, At: []image.Range{{Offset: 4096, Length: 150}}})
}

// namedLab is labText in which room B204 names its machines.
func namedLab(more string) string {
	return strings.Replace(labText, "B204: {", "B204: {identity: wanted, settings: {disable-password-change: 1}, values: {printer: hp}"+more+", ", 1)
}

const hidden = "c2VjcmV0IG9mIGIyMDQ="

// secrets are the texts of an order that are.
func secrets(o *protocol.Order) (list []string) {
	if o.Identity == nil {
		return nil
	}
	for _, v := range o.Identity.Values {
		if v.Secret {
			list = append(list, v.Text)
		}
	}
	return list
}

// TestIdentityOrder: who gets a name, and who gets secrets.
func TestIdentityOrder(t *testing.T) {
	w := newWorld(t)
	if o := w.checkIn(201, 1, nil); o.Identity != nil {
		t.Errorf("identity is off: %+v", o.Identity)
	}
	w.lab(strings.Replace(namedLab(`, secrets: {key: k.txt}`), "zone:", "unknown: B204\nzone:", 1))
	key := filepath.Join(w.dir, "k.txt")
	if err := os.WriteFile(key, []byte(hidden+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := w.checkIn(201, 1, nil)
	if id := o.Identity; id == nil || id.Name != "b204-1" || id.Required || len(id.Settings) != 1 || len(id.Values) != 1 || id.Values[0] != (protocol.Value{Key: "printer", Text: "hp"}) {
		t.Fatalf("%+v", id)
	}
	if o := w.checkIn(901, 1, nil); o.Identity != nil || o.Room != "B204" {
		t.Errorf("a guest: %+v", o)
	}
	if h, _, _ := w.k.Host("b204-1"); h.Unnamed != "it gets the name b204-1 in Windows at its next start" || h.WantPCName != "b204-1" || h.Attention != "" || w.room("B204").Unnamed != 1 {
		t.Errorf("%+v", h)
	}
	if err := w.k.Confirm("b204-1", peer(201).Key); err != nil {
		t.Fatal(err)
	}
	if o = w.checkIn(201, 1, nil); len(secrets(&o)) != 1 || secrets(&o)[0] != hidden || o.Identity.Name != "b204-1" {
		t.Errorf("confirmed: %+v", o.Identity)
	}
	in := protocol.CheckIn{Protocol: protocol.Version, Machine: machine(201), Image: "win11", Version: 1}
	for _, other := range []string{"", "another"} {
		if o, err := w.k.Order(t.Context(), protocol.Peer{Key: other}, in); err != nil || len(secrets(&o)) != 0 || o.Identity != nil {
			t.Errorf("the key %q: %+v, %v", other, o.Identity, err)
		}
	}
	// A machine without a disk has no key that lasts.
	bare := bareMachine()
	bare.Machine = machine(202)
	if o, err := w.k.Order(t.Context(), peer(202), bare); err != nil || o.Identity == nil || len(secrets(&o)) != 0 {
		t.Errorf("bare: %+v, %v", o.Identity, err)
	}
	// Too old or too new an agent is told nothing.
	if o, err := w.k.Order(t.Context(), peer(201), protocol.CheckIn{Protocol: protocol.Version + 9, Oldest: protocol.Version + 9, Machine: machine(201)}); err != nil || o.Identity != nil {
		t.Errorf("no common protocol: %+v, %v", o.Identity, err)
	}
	w.state.Close()
	b, err := os.ReadFile(filepath.Join(w.dir, "state.db"))
	if err != nil || !bytes.Contains(b, []byte("b204-1")) || bytes.Contains(b, []byte(hidden)) {
		t.Errorf("the state holds the secret, or no machine: %v", err)
	}
	if strings.Contains(strings.Join(w.notes, "\n"), hidden) {
		t.Errorf("told: %q", w.notes)
	}
}

// TestSecretMissing: the order goes out without it, which is told once and shown, until the file is
// there.
func TestSecretMissing(t *testing.T) {
	w := newWorld(t)
	w.lab(namedLab(`, secrets: {key: k.txt}`))
	w.checkIn(201, 1, nil)
	if err := w.k.Confirm("b204-1", peer(201).Key); err != nil {
		t.Fatal(err)
	}
	named := func(c *protocol.CheckIn) { c.Named = &protocol.Named{Name: "b204-1"} }
	key := filepath.Join(w.dir, "k.txt")
	for range 3 {
		if o := w.checkIn(201, 1, named); o.Identity.Name != "b204-1" || len(secrets(&o)) != 0 {
			t.Errorf("%+v", o.Identity)
		}
	}
	if h, _, _ := w.k.Host("b204-1"); !strings.Contains(h.Attention, key+": it does not exist") || w.noted() != 1 || w.room("B204").Unnamed != 1 {
		t.Errorf("%q, told %q", h.Attention, w.notes)
	}
	if err := os.WriteFile(key, bytes.Repeat([]byte(hidden), 2000), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := w.checkIn(201, 1, named); len(secrets(&o)) != 0 || w.noted() != 2 || strings.Contains(strings.Join(w.notes, ""), hidden) {
		t.Errorf("%+v, %q", o.Identity, w.notes)
	}
	if err := os.WriteFile(key, []byte(hidden), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := w.checkIn(201, 1, named); len(secrets(&o)) != 1 || w.noted() != 2 {
		t.Errorf("%+v, %q", o.Identity, w.notes)
	}
	if h, _, _ := w.k.Host("b204-1"); h.Attention != "" || h.Unnamed != "it has not all of its secrets yet" || w.room("B204").Unnamed != 0 {
		t.Errorf("%+v", h)
	}
	w.checkIn(201, 1, func(c *protocol.CheckIn) { c.Named = &protocol.Named{Name: "b204-1", Secrets: true} })
	if h, _, _ := w.k.Host("b204-1"); h.Unnamed != "" || h.PCName != "b204-1" {
		t.Errorf("%+v", h)
	}
}

// TestUnnamable: names that Windows cannot have, or that another machine has there, are refused when
// they are given. What came about otherwise gets no identity, which is told once, and keeps what it has:
// an order without a room takes no name away.
func TestUnnamable(t *testing.T) {
	w := newWorld(t)
	for i, name := range []string{"a-machine-of-the-library", "lab.one", "B204-1x", "twice", "Twice-2"} {
		w.checkIn(900+i, 1, nil)
		if _, err := w.k.Assign(machine(900 + i).Ports[0].MAC, name, "B204"); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(time.Hour)
	}
	w.lab(strings.Replace(namedLab(""), "b204-2, room: B204,", "b204-2, room: B204, pc_name: b204-1X,", 1) + `  - {name: again, room: B204, mac: "52:54:00:00:02:09", pc_name: twice}` + "\n")
	for i, want := range []string{`"a-machine-of-the-library" has 24 characters, at most 15`, `"lab.one": want letters, digits and dashes`, "b204-2 is called B204-1x there", "again is called twice there", ""} {
		for range 2 {
			o := w.checkIn(900+i, 1, nil)
			if (o.Identity == nil) != (want != "") || (o.Room == "") != (want != "") || !strings.Contains(o.Reason, want) || want != "" && strings.Count(o.Reason, "cannot be named in Windows") != 1 {
				t.Errorf("%d: %+v, %s", i, o.Identity, o.Reason)
			}
		}
		h, _, err := w.k.Host(machine(900 + i).Ports[0].MAC)
		if err != nil || want != "" && (!strings.Contains(h.Attention, want) || !strings.Contains(h.Unnamed, "'troy assign' gives it another name")) || want == "" && h.Attention != "" {
			t.Errorf("%d: %+v, %v", i, h, err)
		}
	}
	if w.noted() != 4 || w.room("B204").Unnamed != 5 {
		t.Errorf("told %q, %d unnamed", w.notes, w.room("B204").Unnamed)
	}
	// Of two that were assigned the first one keeps the name: by the pattern they have the same one.
	w.lab(strings.Replace(namedLab(`, pc_name: "pc{number}"`), "b204-1, room: B204,", "b204-1, room: B204, pc_name: x1,", 1))
	w.checkIn(905, 1, nil)
	w.now = w.now.Add(time.Hour)
	w.checkIn(906, 1, nil)
	if _, err := w.k.Assign(machine(905).Ports[0].MAC, "left-77", "B204"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"right-77": "left-77 is called pc77 there", "any-2": "b204-2 is called pc2 there", "none": `"none" ends in no digits`} {
		if _, err := w.k.Assign(machine(906).Ports[0].MAC, name, "B204"); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is assigned: %v", name, err)
		}
	}
	if _, err := w.k.Assign(machine(906).Ports[0].MAC, "right-78", "B204"); err != nil {
		t.Error(err)
	}
	if o := w.checkIn(905, 1, nil); o.Identity == nil || o.Identity.Name != "pc77" {
		t.Errorf("%+v, %s", o.Identity, o.Reason)
	}
}

// TestNamed: what a machine says that it has of its identity is kept and shown; what it lacks calls
// for a person, with what to do.
func TestNamed(t *testing.T) {
	w := newWorld(t)
	w.lab(strings.Replace(namedLab(""), "identity: wanted", "identity: required", 1))
	report := func(outcome protocol.Outcome, version int, n *protocol.Named) {
		t.Helper()
		w.now = w.now.Add(time.Minute)
		if err := w.k.Report(t.Context(), peer(201), protocol.Report{Protocol: protocol.Version, ID: w.now.String(), Machine: machine(201), Image: "win11", Version: version,
			Outcome: outcome, Message: "it is as it is", Named: n}); err != nil {
			t.Fatal(err)
		}
	}
	shows := func(pc, unnamed, attention string, notes int) {
		t.Helper()
		h, _, err := w.k.Host("b204-1")
		if err != nil || h.PCName != pc || !strings.Contains(h.Unnamed, unnamed) || (h.Unnamed == "") != (unnamed == "") ||
			!strings.Contains(h.Attention, attention) || (h.Attention == "") != (attention == "") || w.noted() != notes {
			t.Errorf("in Windows %q, unnamed %q, attention %q, notes %q, %v", h.PCName, h.Unnamed, h.Attention, w.notes, err)
		}
	}
	w.checkIn(201, 0, nil)
	shows("", "", "", 0) // there is no Windows yet
	w.checkIn(201, 1, nil)
	shows("", "at its next start", "", 0)
	report(protocol.OutcomeKept, 1, nil)
	shows("", "is its agent older", "is its agent older", 1)
	const lacks = "the version has no field hostname"
	report(protocol.OutcomeFailed, 1, &protocol.Named{Lacks: lacks})
	shows("", lacks+"; identity: required keeps it from the version: publish one", "set identity: wanted", 2)
	report(protocol.OutcomeKept, 1, &protocol.Named{Name: "b204-1"})
	shows("b204-1", "", "", 2)
	w.restart()
	w.now = w.now.Add(time.Minute)
	w.checkIn(201, 1, func(c *protocol.CheckIn) {
		c.Named = &protocol.Named{Name: "b204-1", Lacks: "b204-one: after the next reset"}
	})
	shows("b204-1", "after the next reset", "after the next reset", 3)
	if r := w.room("B204"); r.Unnamed != 1 || r.Alarms != 1 {
		t.Errorf("%+v", r)
	}
	w.lab(labText) // off
	shows("b204-1", "", "", 3)
}

// TestPromoteUnplaced: a version without a place for what is a machine's own is told before, and
// refused where that is required.
func TestPromoteUnplaced(t *testing.T) {
	w := newWorld(t)
	estimate := func(version int) string {
		t.Helper()
		e, err := w.k.Estimate(t.Context(), Promotion{Room: "B204", Version: version, After: "none"})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(e.Warnings, "\n")
	}
	w.lab(namedLab(""))
	if got := estimate(7); strings.Contains(got, "of their own") || strings.Contains(got, "secret") {
		t.Errorf("all has a place: %s", got)
	}
	if got := estimate(2); !strings.Contains(got, "4 machines would lack something of their own in Windows: the version has no field computer-name ('troy image show' says why) (b204-1, b204-2, b204-3 and 1 more)") || strings.Contains(got, "refuses") {
		t.Errorf("no fields: %s", got)
	}
	w.lab(namedLab(`, secrets: {key: k.txt}`))
	key := filepath.Join(w.dir, "k.txt")
	for _, text := range []string{"", hidden} { // also while the file is missing
		if text != "" {
			if err := os.WriteFile(key, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got := estimate(7)
		if !strings.Contains(got, "machine-file takes no secret: users of the PC can read it") || strings.Contains(got, hidden) {
			t.Errorf("a file that users can read: %s", got)
		}
		if !strings.Contains(got, "4 machines are not confirmed, so they get no secrets ('troy hosts confirm' once they have checked in): b204-1, b204-2, b204-3 and 1 more") {
			t.Errorf("not confirmed: %s", got)
		}
		if missing := "4 machines would lack a secret: secret file " + key + ": it does not exist (b204-1, b204-2, b204-3 and 1 more)"; strings.Contains(got, missing) != (text == "") {
			t.Errorf("the file %q: %s", text, got)
		}
	}
	w.checkIn(201, 1, nil)
	if err := w.k.Confirm("b204-1", peer(201).Key); err != nil {
		t.Fatal(err)
	}
	if got := estimate(7); !strings.Contains(got, "3 machines are not confirmed, so they get no secrets") || !strings.Contains(got, ": b204-2, b204-3, b204-4") {
		t.Errorf("one is confirmed: %s", got)
	}
	w.promote("B204", 2, "none")
	long := strings.Replace(namedLab(`, values: {note: NOTE}`), "values: {printer: hp}, ", "", 1)
	long = strings.Replace(long, "NOTE", strings.Repeat("x", 100), 1)
	long = strings.Replace(long, "b204-2, room: B204,", "b204-2, room: B204, values: {note: short},", 1)
	w.lab(strings.Replace(long, "identity: wanted", "identity: required", 1))
	if got := estimate(7); !strings.Contains(got, "3 machines would lack something of their own in Windows: machine-file needs 1") || !strings.Contains(got, `in \Troy\machine.json, which has room for 150 (b204-1, b204-3, b204-4); identity: required of the room refuses the version`) {
		t.Errorf("no room: %s", got)
	}
	_, err := w.k.Promote(t.Context(), Promotion{Room: "B204", Version: 7, After: "none"})
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "room B204 has identity: required, and 3 of its machines would not install win11 version 7") || w.room("B204").Want != 2 {
		t.Errorf("promoted: %v", err)
	}
	w.lab(strings.Replace(namedLab(""), "identity: wanted", "identity: required", 1))
	w.promote("B204", 7, "none")
	if _, err := w.k.Rollback(t.Context(), Promotion{Room: "B204"}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "would not install win11 version 2") {
		t.Errorf("rolled back: %v", err)
	}
	w.lab(namedLab(""))
	if _, err := w.k.Rollback(t.Context(), Promotion{Room: "B204"}); err != nil {
		t.Error(err)
	}
}

// TestValuesOf: machine.json is written where a version has a place for it, also without values.
func TestValuesOf(t *testing.T) {
	id := &protocol.Identity{Name: "PC-1", Settings: []protocol.Setting{{Field: "f", Number: 2}}}
	v := valuesOf(id, "pc-1", "B204", someFields())
	if string(v.Machine) != `{"host":"pc-1","name":"PC-1","room":"B204"}` || v.Name != "PC-1" || v.Settings["f"] != 2 {
		t.Errorf("%+v, %s", v, v.Machine)
	}
	if v = valuesOf(id, "pc-1", "B204", nil); v.Machine != nil {
		t.Errorf("no place: %s", v.Machine)
	}
	id.Values = []protocol.Value{{Key: "a", Text: "1"}, {Key: "x/y/z", Text: "2", Secret: true}}
	v = valuesOf(id, "pc-1", "B204", nil)
	if string(v.Machine) != `{"host":"pc-1","name":"PC-1","room":"B204","values":{"a":"1"}}` || v.Answers["x/y/z"] != "2" || len(v.Secret) != 1 || v.Secret[0] != "x/y/z" {
		t.Errorf("%+v, %s", v, v.Machine)
	}
}
