package main

import (
	"strings"
	"testing"

	"troy/server/protocol"
	"troy/server/rooms/api"
)

// forged: a laptop that shows the address of a PC of the room, and a key of its own, gets a code and
// marks nobody; commands find the PC by any notation of its address.
func (s *servedLab) forged(t *testing.T) {
	t.Helper()
	laptop := s.machine(t, "02:00:00:00:00:01") // whose key it is
	id := protocol.Machine{Ports: []protocol.Port{{MAC: roomMAC}}, UUID: "f0000000-0000-4000-8000-000000000001"}
	var o protocol.Order
	must(t, laptop.PostJSON(t.Context(), protocol.PathCheckIn, protocol.CheckIn{Protocol: protocol.Version, Machine: id, Image: "pc", Version: 1}, &o))
	if o.Code == "" || o.Want != nil || !strings.Contains(o.Reason, "the address of b204-1, but not its key") {
		t.Errorf("a laptop with the address of a PC: %+v", o)
	}
	id.UUID = ""
	report := protocol.Report{Protocol: protocol.Version, Machine: id, Image: "pc", Version: 1, Outcome: protocol.OutcomeFailed}
	if err := s.machine(t, "02:00:00:00:00:02").PostJSON(t.Context(), protocol.PathReport, report, nil); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("the report of another one in the name of the PC: %v", err)
	}
	if r := wantTroy(t, exitOK, "status"); !strings.Contains(r.out, "code "+o.Code+": it has the address of b204-1, but not its key") {
		t.Errorf("status says %s", r.out)
	}
	for _, address := range []string{"5254.0000.0201", "52-54-00-00-02-01"} {
		if h := wantJSON[api.HostDetail](t, exitOK, "log", address); h.Name != "b204-1" || !h.Keyed || h.Doubt != "" {
			t.Errorf("log %s: %+v", address, h.Host)
		}
	}
}
