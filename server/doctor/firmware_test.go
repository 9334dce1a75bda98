package doctor

import (
	"strings"
	"testing"

	"troy/server/rooms"
)

// Each program that machines refuse is one finding, with the machines and what helps.
func TestFirmware(t *testing.T) {
	const manager, shim = "Windows Boot Manager of lab version 7: why", "shim of agent release 4: why"
	hosts := []rooms.Host{{Name: "a", Refuses: []string{shim, manager}}, {Name: "b", Refuses: []string{manager}}, {Name: "c", Refuses: []string{manager}},
		{Name: "d", Refuses: []string{manager}}, {Name: "e", Refuses: []string{manager}}, {Name: "f"}}
	all := checkFirmware(hosts)
	if len(all) != 2 || all[0].Level != Doubt || all[1].Level != Doubt {
		t.Fatalf("%v", all)
	}
	if f := all[0]; f.Text != "a, b, c and 2 more would not start "+manager || !strings.Contains(f.Do, "update the Windows") {
		t.Errorf("%v", f)
	}
	if f := all[1]; f.Text != "a would not start "+shim || !strings.Contains(f.Do, "shim-signed") {
		t.Errorf("%v", f)
	}
	if all := checkFirmware(hosts[5:]); len(all) != 1 || all[0].Level != Good {
		t.Errorf("nothing is refused: %v", all)
	}
	if all := checkFirmware(nil); all != nil {
		t.Errorf("no machine: %v", all)
	}
}
