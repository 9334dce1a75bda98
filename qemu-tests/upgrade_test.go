package qemutests

import (
	"errors"
	"testing"
	"time"

	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/initramfs"
	"troy/internal/format"
	"troy/internal/testing/testlab"
	"troy/server/protocol"
)

// upgrading is a site on its way to the next release (internal/format).
type upgrading struct {
	*agentPC                // with the agent of today on its disk, and today's server
	next     *testlab.Lab   // the same after its server was upgraded
	agent    initramfs.File // the agent of the next release
}

// newUpgrading makes a PC that has started once, with the agent and the server of today.
func newUpgrading(t *testing.T, name string) *upgrading {
	t.Helper()
	u := &upgrading{agentPC: newAgentPC(t, name, false, "merge: now")}
	var err error
	if u.next, err = u.lab.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	if u.agent, err = testlab.NextAgent(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	u.serve(u.lab, 1)
	u.start(true, 1, "agent: 1 is on this machine's disk, copy a", windowsStarted)
	return u
}

// serve ends the server and starts that of a lab, which orders a version.
func (u *upgrading) serve(l *testlab.Lab, version int) {
	u.t.Helper()
	if _, err := u.server.Stop(); err != nil {
		u.t.Fatal(err)
	}
	var err error
	if u.server, err = l.Serve(u.t.Context(), testlab.Room{Version: version, Keys: "merge: now"}); err != nil {
		u.t.Fatal(err)
	}
	u.reports = 0
}

// publishNext publishes the agent of the next release as "next", with the troy of a lab.
func (u *upgrading) publishNext(l *testlab.Lab) testlab.Release {
	u.t.Helper()
	r, err := u.release.Overlay("agent-next", u.agent)
	if err != nil {
		u.t.Fatal(err)
	}
	if err := l.PublishAgent(u.t.Context(), "next", r); err != nil {
		u.t.Fatal(err)
	}
	return r
}

// start is startPC for the PC that has the agent of today.
func (u *upgrading) start(stick bool, reports int, want ...string) (serial string) {
	u.t.Helper()
	return u.startPC(u.PC, stick, reports, want...)
}

// startPC starts a PC until Windows was started. The last report has to be good.
func (u *upgrading) startPC(pc *testlab.PC, stick bool, reports int, want ...string) (serial string) {
	u.t.Helper()
	begin, from := time.Now(), pc.FromDisk
	if stick {
		from = pc.FromUSB
	}
	serial, err := from(u.t.Context())
	if err != nil {
		u.t.Fatalf("%v\n%s", err, serial)
	}
	windowsRan(u.t, pc)
	u.reports += reports
	if r := reported(u.t, u.server, u.reports); r.ExitCode != 0 || r.Outcome == protocol.OutcomeFailed {
		u.t.Errorf("report: %+v", r)
	}
	inOrder(u.t, "the serial line", serial, want...)
	u.t.Logf("Windows started after %.0f s", time.Since(begin).Seconds())
	return serial
}

// raised tells whether only the next agent reads the PC's journal.
func raised(t *testing.T, pc *testlab.PC) bool {
	t.Helper()
	disk, err := pcdisk.Find([]string{pc.Disk})
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	files, err := disk.MapFiles()
	if err != nil {
		t.Fatal(err)
	}
	_, err = machine.OpenJournal(files.Journal)
	if _, newer := errors.AsType[*format.NeedsError](err); err != nil && !newer {
		t.Fatal(err)
	}
	return err != nil
}

// A PC with the agent of today meets the server of the next release, whose store has a version that
// only the next agent reads: in one night it gets that agent, keeps it, and has the version.
func TestUpgrade(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; package nextdocs has the documents, without a machine")
		return
	}
	u := newUpgrading(t, "upgrade")
	u.publishNext(u.next)
	if err := u.next.AddRaw(t.Context(), u.lab.Windows.V2); err != nil {
		t.Fatal(err)
	}
	u.serve(u.next, 3)
	serial := u.start(false, 2,
		"agent: the next start tries next, by BootNext", `needs "next"`, "restarting into the new agent",
		"agent next is on trial in copy b", "version 3 is committed", "agent: keeping the new one", windowsStarted)
	u.never(serial, "did not come up")
	holds(t, u.PC, u.lab.Windows.V2, machine.BootName, machine.BaseName)
	u.never(u.start(false, 1, "nothing to do", windowsStarted), "on trial", "the next start tries")
	if !raised(t, u.PC) {
		t.Error("the next agent was kept and does not write the journal of its release")
	}
	soundESP(t, u.PC)
}
