package rooms

import (
	"slices"
	"strings"
	"testing"

	"troy/server/protocol"
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
