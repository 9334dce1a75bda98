package daemon

import (
	"testing"

	"troy/server"
	"troy/server/protocol"
)

// TestEventsOfStrangers: machines that anybody can make up do not fill the journal; those of
// lab.yaml are told, whatever others do.
func TestEventsOfStrangers(t *testing.T) {
	checkIns, reports := 0, 0
	e := Events{CheckIn: func(protocol.CheckIn, protocol.Order, error) { checkIns++ }, Report: func(protocol.Report) { reports++ }}
	var so server.Options
	(&eventLog{}).tell(&so, &e)
	peer := protocol.Peer{Addr: "192.0.2.7"}
	for range 10_000 {
		so.OnCheckIn(peer, protocol.CheckIn{}, protocol.Order{Code: "ABCDEF"}, nil)
		so.OnReport(peer, protocol.Report{})
	}
	if n := checkIns + reports; n < toldAtOnce || n > toldAtOnce+toldPerMinute {
		t.Errorf("told %d times", n)
	}
	checkIns = 0
	for range 1000 {
		so.OnCheckIn(peer, protocol.CheckIn{}, protocol.Order{Name: "pc-1"}, nil)
	}
	if checkIns != 1000 {
		t.Errorf("of a machine of lab.yaml told %d times", checkIns)
	}
	reports = 0
	if so.OnReport(protocol.Peer{Addr: "192.0.2.8"}, protocol.Report{}); reports != 1 {
		t.Error("nothing is told of another address")
	}
}
