package rooms

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"troy/server/protocol"
	"troy/server/state"
)

// TestEstimateKnows: what a machine reported counts before it checks in again, and one whose
// version the store lost is rewritten.
func TestEstimateKnows(t *testing.T) {
	w := newWorld(t)
	w.promote("B204", 2, "none")
	w.checkIn(201, 1, nil)
	w.report(201, 2, protocol.OutcomeDone, "")
	w.checkIn(202, 9, nil)
	w.checkIn(203, 99, nil)
	e, err := w.k.Estimate(t.Context(), Promotion{Room: "B204", Version: 2, After: "none"})
	if err != nil {
		t.Fatal(err)
	}
	if e.Machines != 4 || e.Current != 1 || e.Never != 1 || e.Fetch != 300<<20 || len(e.Warnings) != 2 || e.Warnings[0][:10] != "2 machines" ||
		!strings.Contains(e.Warnings[1], "1 machines have a newer version (b204-2)") || !strings.Contains(e.Warnings[1], "'troy rollback --room B204 win11@2'") {
		t.Errorf("%+v", e)
	}
}

// TestEstimateAnother: a machine with another content under the number that is to be promoted, or
// under another one, does not have it: it is rewritten.
func TestEstimateAnother(t *testing.T) {
	w := newWorld(t)
	for n, version := range map[int]int{201: 1, 202: 2} {
		w.checkIn(n, version, func(in *protocol.CheckIn) { in.Manifest = hash(7) })
	}
	w.checkIn(203, 2, func(in *protocol.CheckIn) { in.Manifest = hash(2) })
	e, err := w.k.Estimate(t.Context(), Promotion{Room: "B204", Version: 2, After: "none"})
	if err != nil {
		t.Fatal(err)
	}
	if e.Machines != 4 || e.Current != 1 || e.Never != 1 || len(e.Warnings) == 0 || !strings.HasPrefix(e.Warnings[0], "3 machines hold no version of the image that the store has") {
		t.Errorf("%+v", e)
	}
}

// What machines would refuse to start is said before a version is promoted, and of each machine
// whose room is to have it.
func TestEstimateWarnsOfFirmware(t *testing.T) {
	w := newWorld(t)
	secure := func(in *protocol.CheckIn) { in.SecureBoot = true }
	w.checkIn(201, 2, secure)
	w.checkIn(202, 2, secure)
	w.checkIn(203, 2, nil)
	const want = "the firmware of 2 machines would not start the manager of version 3"
	for version, warned := range map[int]bool{2: false, 3: true} {
		e, err := w.k.Estimate(t.Context(), Promotion{Room: "B204", Version: version, After: "none"})
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(e.Warnings, want) != warned {
			t.Errorf("version %d: %q", version, e.Warnings)
		}
	}
	w.promote("B204", 3, "none")
	for _, h := range w.k.Hosts("B204") {
		if refuses := h.ID == w.id(201) || h.ID == w.id(202); refuses != (len(h.Refuses) == 1) {
			t.Errorf("%s: %q", h.Name, h.Refuses)
		}
	}
}

// What a PC's disk needs is in the estimate, with the machines whose disk is too small for it:
// those that have no disk of Troy yet.
func TestEstimateOfDisks(t *testing.T) {
	w := newWorld(t)
	disk := func(size int64, troy bool) func(*protocol.CheckIn) {
		return func(in *protocol.CheckIn) {
			if !troy {
				in.Image, in.Version = "", 0
			}
			in.Disks = []protocol.Disk{{Path: "/dev/sda", Size: 1 << 30, SectorSize: 512}, {Path: "/dev/sdb", Size: size, SectorSize: 512, Empty: !troy, Troy: troy}}
		}
	}
	w.checkIn(201, 1, disk(128e9, false))
	w.checkIn(202, 1, disk(256e9, false))
	w.checkIn(203, 1, disk(120e9, true))
	e, err := w.k.Estimate(t.Context(), Promotion{Room: "B204", Version: 2, After: "none"})
	if err != nil {
		t.Fatal(err)
	}
	if e.Disk < 2*64<<30 || e.Disk > 22*64<<30/10 || e.Smallest != 120e9 || !slices.Contains(e.Warnings, "the disks of 1 machines are too small: b204-1") {
		t.Errorf("%+v", e)
	}
}

// A version whose Windows has still to be set up is promoted to several machines only if that is
// meant.
func TestPromoteSetup(t *testing.T) {
	w := newWorld(t)
	p := Promotion{Room: "B204", Image: "win11", Version: 8, After: "none"}
	if e, err := w.k.Estimate(t.Context(), p); err != nil || !e.Setup || e.Machines < 2 {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := w.k.Promote(t.Context(), p); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "has still to be set up") {
		t.Errorf("promoted: %v", err)
	}
	if p.Version = 7; w.k.setsUp(t.Context(), w.k.Lab(), &p, &state.Target{Image: "win11", Version: 7}) != nil {
		t.Error("a version that was set up is refused")
	}
	p.Version, p.Setup = 8, true
	if _, err := w.k.Promote(t.Context(), p); err != nil {
		t.Error(err)
	}
}

// TestEstimateWarnsOfDrivers: so are devices for which the version has no driver.
func TestEstimateWarnsOfDrivers(t *testing.T) {
	w := newWorld(t)
	for n := 201; n <= 203; n++ {
		w.checkIn(n, 2, func(in *protocol.CheckIn) {
			if n < 203 {
				in.Devices = []protocol.Device{{Kind: "network", Bus: "pci", ID: "8086:15fb", Class: "020000"}}
			}
		})
	}
	const want = "win11 version 4 has no driver for the device 8086:15fb, which 2 machines have"
	for version, warned := range map[int]bool{3: false, 4: true} {
		e, err := w.k.Estimate(t.Context(), Promotion{Room: "B204", Version: version, After: "none"})
		if err != nil || slices.Contains(e.Warnings, want) != warned {
			t.Errorf("version %d: %q, %v", version, e.Warnings, err)
		}
	}
}
