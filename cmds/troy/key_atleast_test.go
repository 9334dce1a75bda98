package main

import (
	"slices"
	"strings"
	"testing"

	"troy/image/trust/sign"
	"troy/server/protocol"
)

// TestKeySignAtLeast: a PC has seen more than the store has. doctor says so and names the command,
// which signs above what the PC tells; numbers that cannot be right are asked about.
func TestKeySignAtLeast(t *testing.T) {
	s := serveLab(t, newHistory(t, seeded(t)))
	repo, err := sign.Open(s.store, nil)
	must(t, err)
	have, err := repo.Numbers()
	must(t, err)
	command := []string{"key", "sign", "--at-least", "--store", s.store, "--yes"}
	if r := wantTroy(t, exitFailed, command...); !strings.Contains(r.errOut, "start one PC") {
		t.Errorf("without a PC: %s", r.errOut)
	}
	tell := func(ahead int64, version int) {
		t.Helper()
		in := protocol.CheckIn{Protocol: protocol.Version, Machine: protocol.Machine{Ports: []protocol.Port{{MAC: testMAC}}}, Image: "pc", Version: 1,
			Trusted: &protocol.Trusted{Store: have.Store, Root: 1, Targets: have.Targets, Snapshot: have.Snapshot + ahead, Timestamp: have.Timestamp + ahead,
				Images: []protocol.Held{{Image: "pc", Version: version}}}}
		var o protocol.Order
		must(t, s.machine(t, testMAC).PostJSON(t.Context(), protocol.PathCheckIn, in, &o))
	}
	doctor := []string{"doctor", "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0", s.store}
	tell(0, 2)
	if r := troy(doctor...); !strings.Contains(r.out, "as new as the 1 machines") || strings.Contains(r.out, "old backup") {
		t.Errorf("doctor says %s", r.out)
	}
	tell(20_000, 4)
	if r := wantTroy(t, exitCheck, doctor...); !strings.Contains(r.out, "old backup; timestamp: ") || !strings.Contains(r.out, "newest version of pc: 2 here, 4 on PCs (the highest: test-1)") ||
		!strings.Contains(r.out, "troy key sign --at-least --store "+s.store) {
		t.Errorf("doctor says %s", r.out)
	}
	if r := wantTroy(t, exitFailed, command...); !strings.Contains(r.errOut, "a jump by 20000 needs more than --yes") {
		t.Errorf("a jump: %s", r.errOut)
	}
	for _, wrong := range []string{"0", "x", "99999999999"} {
		wantTroy(t, exitUsage, "key", "sign", "--at-least="+wrong, "--store", s.store, "--yes")
	}
	tell(20, 4)
	r := wantTroy(t, exitOK, command...)
	if !strings.Contains(r.errOut, "next version of pc: other than before: 5, was 3") || !strings.Contains(r.out, "above all that PCs have seen") {
		t.Errorf("key sign says %s%s", r.out, r.errOut)
	}
	now, err := repo.Numbers()
	must(t, err)
	if now.Timestamp != have.Timestamp+21 || now.Targets != have.Targets+1 || now.Images["pc"] != 4 {
		t.Errorf("after %+v the store has %+v", have, now)
	}
	if r := troy(doctor...); strings.Contains(r.out, "old backup") {
		t.Errorf("doctor says %s", r.out)
	}
	wantTroy(t, exitOK, append(slices.Clone(command), "--at-least=30000")...)
	if now, err = repo.Numbers(); err != nil || now.Timestamp != 30_001 || now.Targets != 30_001 {
		t.Errorf("%+v, %v", now, err)
	}
}
