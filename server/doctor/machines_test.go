package doctor

import (
	"strings"
	"testing"

	"troy/server/rooms"
)

func TestMachines(t *testing.T) {
	list := []rooms.Host{{Name: "pc-01"}, {Name: "pc-02", Attention: "no check-in for 9 days"}}
	all := checkMachines(list)
	if len(all) != 1 || all[0].Level != Doubt || !strings.Contains(all[0].Text, "pc-02: no check-in") || !strings.Contains(all[0].Do, "troy log pc-02") {
		t.Errorf("%v", all)
	}
	if all := checkMachines(list[:1]); len(all) != 1 || all[0].Level != Good {
		t.Errorf("%v", all)
	}
}
