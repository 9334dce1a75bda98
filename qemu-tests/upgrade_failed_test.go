package qemutests

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"troy/diskwriter/machine"
	"troy/internal/testing/testlab"
	"troy/trial/vm"
)

// The power is cut while the next agent is on trial and fetches a version: the agent of today reads
// its journal and goes on with what is on the disk.
func TestUpgradeFailed(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; package nextdocs has the journal, without a machine")
		return
	}
	u := newUpgrading(t, "failed")
	u.publishNext(u.next)
	u.serve(u.next, 1)
	u.cutOnTrial()
	if raised(t, u.PC) {
		t.Error("the agent on trial wrote the journal of its release")
	}
	serial := u.start(false, 1, "agent next did not come up on its trial", "are already on the disk from an earlier start", "order it again to retry", "version 2 is committed", windowsStarted)
	u.never(serial, "the next start tries", "cannot be read", `needs "next"`)
	holds(t, u.PC, u.lab.Windows.V2, machine.BootName, machine.BaseName)
	soundESP(t, u.PC)
}

// cutOnTrial cuts the power while the agent on trial fetches version 2, which is ordered once the
// agent before it is through.
func (u *upgrading) cutOnTrial() {
	u.t.Helper()
	order := func(keys string) {
		if _, err := u.next.LabFile(testlab.Room{Version: 2, Keys: "merge: now" + keys}); err != nil {
			u.t.Fatal(err)
		}
	}
	c, err := u.Config()
	if err != nil {
		u.t.Fatal(err)
	}
	m, err := vm.Start(u.t.Context(), c)
	if err != nil {
		u.t.Fatal(err)
	}
	defer m.Close()
	expect := func(line string) {
		if _, err := m.Expect(u.t.Context(), line); err != nil {
			u.t.Fatalf("%v\n%s", err, m.Log())
		}
	}
	expect("nothing to do")
	expect("restarting into the new agent")
	order(fmt.Sprintf(", bandwidth: %d", killedRate))
	expect("agent next is on trial in copy b")
	expect("deploy: .* version 1 → 2")
	time.Sleep(5 * time.Second)
	m.Kill()
	if err := m.Wait(u.t.Context()); !errors.Is(err, vm.ErrKilled) {
		u.t.Fatalf("it was through before the power was cut: %v\n%s", err, m.Log())
	}
	u.reports++ // of the start that fetched the agent
	order("")
}
