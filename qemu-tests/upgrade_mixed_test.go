package qemutests

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"troy/diskwriter/machine"
	"troy/internal/testing/diskfile"
	"troy/internal/testing/testlab"
	"troy/server/rooms"
)

// In one night a room has agents of two releases: one PC missed the upgrade, the other one was
// ahead of it. Both end with version 2 and the next agent. A stick with the agent of today that is
// still around does no harm to either.
func TestUpgradeMixed(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; packages protocol and rooms have the messages, without a machine")
		return
	}
	u := newUpgrading(t, "behind")
	ahead := u.ahead()
	u.serve(u.next, 2)
	u.together(ahead)
	for _, pc := range []*testlab.PC{u.PC, ahead} {
		holds(t, pc, u.lab.Windows.V2, machine.BootName, machine.BaseName)
		soundESP(t, pc)
	}
	u.are(2, u.PC, ahead)

	u.oldStick(ahead)
	for _, pc := range []*testlab.PC{u.PC, ahead} {
		u.never(u.startPC(pc, false, 1, "nothing to do", windowsStarted), "on trial", "the next start tries")
		if !raised(t, pc) {
			t.Errorf("%s: the next agent was kept and does not write the journal of its release", filepath.Base(pc.Disk))
		}
	}
	u.are(2, u.PC, ahead)
}

// ahead makes a PC that has the next agent before its server is upgraded: from a stick, and on its
// disk. The server of today serves it.
func (u *upgrading) ahead() *testlab.PC {
	u.t.Helper()
	next := u.publishNext(u.lab)
	pc, err := u.lab.NewPC(u.t.Context(), "ahead")
	if err != nil {
		u.t.Fatal(err)
	}
	mtools(u.t, "mdel", "-i", pc.Disk+"@@"+espOffset(u.t, pc.Disk), "::/EFI/BOOT/BOOTX64.EFI")
	pc.Tap = 1
	if pc.Stick, err = next.Stick(u.t.Context()); err != nil {
		u.t.Fatal(err)
	}
	u.startPC(pc, true, 1, "nothing to do", "agent: next is on this machine's disk, copy a", windowsStarted)
	u.never(u.startPC(pc, false, 1, "nothing to do", windowsStarted), "stopped:", "waiting:")
	if !raised(u.t, pc) {
		u.t.Error("the next agent is alone on the disk and does not write the journal of its release")
	}
	u.are(1, u.PC, pc)
	return pc
}

// together starts both PCs at the same time. The one with the agent of today gets the next one on
// its way, which commits what the other one has staged.
func (u *upgrading) together(ahead *testlab.PC) {
	u.t.Helper()
	var wg sync.WaitGroup
	pcs := []*testlab.PC{u.PC, ahead}
	serials, errs := make([]string, len(pcs)), make([]error, len(pcs))
	for i, pc := range pcs {
		wg.Go(func() { serials[i], errs[i] = pc.FromDisk(u.t.Context()) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		u.t.Fatalf("%v\n%s", err, strings.Join(serials, "\n======\n"))
	}
	inOrder(u.t, "the serial line of the PC with the agent of today", serials[0], "agent: the next start tries next, by BootNext",
		"restarting into the new agent", "agent next is on trial in copy b", "version 2 is committed", "agent: keeping the new one", windowsStarted)
	inOrder(u.t, "the serial line of the PC with the next agent", serials[1], "version 2 is committed", windowsStarted)
	u.never(serials[0], "did not come up")
	u.never(serials[1], "on trial", "the next start tries")
	for _, pc := range pcs {
		windowsRan(u.t, pc)
	}
	u.reports += 3
	reported(u.t, u.server, u.reports)
}

// oldStick starts a PC from a stick with the agent of today, which cannot read its journal any
// more: Windows starts, nothing is written, and the server names the machine.
func (u *upgrading) oldStick(pc *testlab.PC) {
	u.t.Helper()
	pc.Stick = ""
	before := withoutESP(u.t, pc)
	serial, err := pc.FromUSB(u.t.Context())
	if err != nil {
		u.t.Fatalf("%v\n%s", err, serial)
	}
	inOrder(u.t, "the serial line", serial, `the journal of this disk needs "next"`, "the disk is unchanged, its current version starts", windowsStarted)
	if withoutESP(u.t, pc) != before {
		u.t.Error("the disk was written to")
	}
	windowsRan(u.t, pc)
	u.reports++
	if r := reported(u.t, u.server, u.reports); !strings.Contains(r.Message, `needs "next"`) {
		u.t.Errorf("report: %+v", r)
	}
	if !slices.ContainsFunc(u.hosts(), func(h rooms.Host) bool {
		return strings.EqualFold(h.UUID, pc.UUID) && h.Room == "" && strings.Contains(h.Reason, `needs "next"`)
	}) {
		u.t.Error("the server does not name the machine")
	}
}

// withoutESP hashes a PC's disk but for the ESP, where boot files are kept right.
func withoutESP(t *testing.T, pc *testlab.PC) uint64 {
	t.Helper()
	esp := entryOfESP(t, pc.Disk)
	sum, err := diskfile.Sum(pc.Disk, diskfile.Range{Offset: esp.Start, Length: esp.Size})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func (u *upgrading) hosts() (hosts []rooms.Host) {
	u.t.Helper()
	if err := u.lab.AdminJSON(u.t.Context(), &hosts, "hosts"); err != nil {
		u.t.Fatal(err)
	}
	return hosts
}

// are fails unless the server says that these PCs, and no others of the room, have a version and
// need nothing: troy hosts, and /metrics.
func (u *upgrading) are(version int, pcs ...*testlab.PC) {
	u.t.Helper()
	hosts := u.hosts()
	for _, pc := range pcs {
		n := slices.IndexFunc(hosts, func(h rooms.Host) bool { return strings.EqualFold(h.UUID, pc.UUID) && h.Room != "" })
		if n < 0 {
			u.t.Fatalf("the server does not know %s: %+v", filepath.Base(pc.Disk), hosts)
		}
		if h := hosts[n]; h.Phase != rooms.PhaseCurrent || h.Version != version || h.Attention != "" {
			u.t.Errorf("%s is %s with version %d, attention %q, error %q; want version %d", h.Name, h.Phase, h.Version, h.Attention, h.Error, version)
		}
	}
	metrics, err := u.lab.Net.Command(u.t.Context(), "curl", "-sS", "--fail", "http://127.0.0.1:8080/metrics").Output()
	if err != nil {
		u.t.Fatal(err)
	}
	if want := fmt.Sprintf(`troy_machines{phase="current",room="default"} %d`, len(pcs)); !strings.Contains(string(metrics), want+"\n") {
		u.t.Errorf("/metrics does not say %s:\n%s", want, metrics)
	}
}
