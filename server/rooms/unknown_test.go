package rooms

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/server/protocol"
	"troy/server/state"
)

// lab puts another lab.yaml into force.
func (w *world) lab(text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, "lab.yaml"), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	w.k.Reload(true)
	if err := w.k.LabError(); err != nil {
		w.t.Fatal(err)
	}
}

// TestUnknown: what a machine gets that is neither listed nor assigned, and one that is.
func TestUnknown(t *testing.T) {
	const guest, listed = 901, 201
	bare := func(c *protocol.CheckIn) { m := c.Machine; *c = bareMachine(); c.Machine = m }
	other := func(c *protocol.CheckIn) { c.Image = "win10" }
	unread := func(c *protocol.CheckIn) { c.Image, c.Version, c.Detail = "", 0, `the journal needs "next"` }
	for _, x := range []struct {
		name, unknown string
		machine       int
		is            func(*protocol.CheckIn)
		begins, code  bool
		permits       bool
		reason        string
		phase         Phase
	}{
		{"default", "", guest, nil, false, true, false, "assign its code", PhaseUnknown},
		{"code", "unknown: code\n", guest, nil, false, true, false, "assign its code", PhaseUnknown},
		{"unread disk", "", guest, unread, false, true, false, `assign its code to a room; its disk: the journal needs "next"`, PhaseUnknown},
		{"code, bare", "unknown: code\n", guest, bare, false, true, false, "assign its code", PhaseUnknown},
		{"room", "unknown: B205\n", guest, nil, true, false, false, "", PhaseWorking},
		{"room, bare", "unknown: B205\n", guest, bare, false, false, false, "set `provision: {allow: true}` for the room in lab.yaml and give the machine a name (troy assign --room ROOM " + name(guest) + " NAME)", PhaseOutdated},
		{"room, other image", "unknown: B205\n", guest, other, false, false, false, "set `reinstall: true` for the room in lab.yaml and give the machine a name", PhaseOutdated},
		{"listed, update", "unknown: test\n", listed, nil, true, false, true, "", PhaseWorking},
		{"listed, bare", "unknown: test\n", listed, bare, true, false, true, "", PhaseWorking},
		{"listed, other image", "unknown: test\n", listed, other, true, false, true, "", PhaseWorking},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t)
			text := strings.ReplaceAll(labText, "room: B204", "room: B205")
			w.lab(strings.Replace(text, "images:", x.unknown+"images:", 1))
			if _, err := w.k.Promote(t.Context(), Promotion{Room: "B205", Version: 2, Retry: true}); err != nil {
				t.Fatal(err)
			}
			o := w.checkIn(x.machine, 1, x.is)
			if begins(&o) != x.begins || (o.Code != "") != x.code || !strings.Contains(o.Reason, x.reason) {
				t.Errorf("order: %+v", o)
			}
			more := o.Permits.Reinstall && o.Permits.Retry
			if x.name == "listed, bare" { // it has no key that lasts
				more = !o.Permits.Reinstall && !o.Permits.Retry
			}
			permits := o.Permits.Provision != nil && more
			if permits != x.permits || !x.permits && o.Permits != (protocol.Permits{}) {
				t.Errorf("permits: %+v", o.Permits)
			}
			h, _, err := w.k.Host(name(x.machine))
			if err != nil || h.Phase != x.phase || h.Guest != (x.machine == guest && !x.code) || h.Assigned {
				t.Errorf("host: %+v, %v", h, err)
			}
		})
	}
}

// TestGuestBecomesMember: an assignment gives a guest what its room permits; a lab.yaml that wants
// codes again takes guests out of the room.
func TestGuestBecomesMember(t *testing.T) {
	w := newWorld(t)
	guests := strings.Replace(labText, "images:", "unknown: B205\nimages:", 1)
	w.lab(guests)
	w.promote("B205", 2, "")
	w.checkIn(901, 1, nil)
	w.checkIn(902, 1, nil)
	if r := w.room("B205"); r.Machines != 2 || len(w.k.Status().Unknown) != 0 {
		t.Errorf("guests: %+v, unknown %+v", r, w.k.Status().Unknown)
	}
	if _, err := w.k.Assign(name(901), "b205-1", "B205"); err != nil {
		t.Fatal(err)
	}
	if o := w.checkIn(901, 1, nil); o.Permits.Provision == nil || !o.Permits.Reinstall {
		t.Errorf("permits of a member: %+v", o.Permits)
	}
	w.lab(labText)
	if r := w.room("B205"); r.Machines != 1 || len(w.k.Status().Unknown) != 1 {
		t.Errorf("without guests: %+v, unknown %+v", r, w.k.Status().Unknown)
	}
	if o := w.checkIn(902, 1, nil); o.Code == "" || o.Want != nil {
		t.Errorf("order: %+v", o)
	}
}

// TestWithoutImages: a lab.yaml that lists no images takes those of the store, and a room the image
// of its promotion.
func TestWithoutImages(t *testing.T) {
	w := newWorld(t)
	w.lab("format: 1\nzone: UTC\nunknown: default\nrooms: {default: {always: true}}\n")
	if _, err := w.k.Promote(t.Context(), Promotion{Room: "default", Version: 2}); err == nil || !strings.Contains(err.Error(), "no image yet") {
		t.Errorf("no image: %v", err)
	}
	if _, err := w.k.Promote(t.Context(), Promotion{Room: "default", Image: "win12", Version: 2}); err == nil {
		t.Error("an image that the store lacks is promoted")
	}
	for _, image := range []string{"win11", ""} {
		got, err := w.k.Promote(t.Context(), Promotion{Room: "default", Image: image, Version: 2})
		if err != nil || got.Image != "win11" {
			t.Errorf("promotion of %q: %+v, %v", image, got, err)
		}
	}
	if o := w.checkIn(901, 1, nil); !begins(&o) || version(&o) != 2 {
		t.Errorf("order: %+v", o)
	}
	if h, _, err := w.k.Host(name(901)); err != nil || h.Last == nil || h.Last.Work != state.WorkUpdate {
		t.Errorf("host: %+v, %v", h, err)
	}
	if names := w.k.Images(); names != nil {
		t.Errorf("images of no store: %q", names)
	}
	w.k.o.Images = func() []string { return []string{"win11"} }
	if names := w.k.Images(); len(names) != 1 {
		t.Errorf("images of the store: %q", names)
	}
}
