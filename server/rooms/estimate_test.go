package rooms

import (
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
	w.checkIn(202, 99, nil)
	e, err := w.k.Estimate(t.Context(), Promotion{Room: "B204", Version: 2, After: "none"})
	if err != nil {
		t.Fatal(err)
	}
	if e.Machines != 4 || e.Current != 1 || e.Never != 2 || e.Fetch != 300<<20 || len(e.Warnings) != 2 || e.Warnings[0][:10] != "3 machines" ||
		!strings.Contains(e.Warnings[1], "1 machines have a newer version") || !strings.Contains(e.Warnings[1], "'troy rollback --room B204 win11@2'") {
		t.Errorf("%+v", e)
	}
}
