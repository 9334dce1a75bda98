package qemutests

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"troy/internal/testing/browser"
	"troy/internal/testing/testlab"
	"troy/server/protocol"
	"troy/server/rooms"
	"troy/server/state"
	"troy/trial/vm"
)

// release is the rest of TestRoom in a soak.
func (b *building) release(p *page, fresh *testlab.PC) {
	t := b.t
	failing, killed := b.pc("failing", failMAC, failUUID, 1), b.pc("killed", killedMAC, "", 2)
	b.together(fresh, failing, killed)
	b.is("test-01", rooms.PhaseCurrent, 2, protocol.HealthUnknown)
	b.is("b204-01", rooms.PhaseOutdated, 1, protocol.HealthUnknown)
	b.admin([]string{"waits for room test: 0 of 1 machines have version 2 healthy"}, "status")
	p.head("b204", "waits for room test: 0 of 1 machines have version 2 healthy")

	b.boot(fresh, true, "the last hand-off worked, by BootNext")
	b.is("test-01", rooms.PhaseCurrent, 2, protocol.HealthGood)
	if r := b.room("b204"); r.Why != "" || !r.Open {
		t.Fatalf("room b204 does not go on: %+v", r)
	}
	b.boot(failing, false, "version 2 is committed")
	b.is("b204-01", rooms.PhaseCurrent, 2, protocol.HealthUnknown)
	b.boot(failing, false, "nothing shows that Windows ran", "nothing to do")
	b.is("b204-01", rooms.PhaseCurrent, 2, protocol.HealthUnknown)
	b.boot(failing, true, "nothing shows that Windows ran", "rolling back to "+testlab.Image+"@1", "order it again to retry")
	b.is("b204-01", rooms.PhaseFailed, 1, protocol.HealthFailing)
	b.admin([]string{"b204 ", "the wave was stopped: 1 machines failed"}, "status")
	p.head("b204", "the wave was stopped: 1 machines failed")
	b.boot(killed, true, "nothing to do: the wave was stopped: 1 machines failed")
	b.is("b204-02", rooms.PhaseOutdated, 1, protocol.HealthGood)

	b.write(2) // the admin has seen the machine, and lets the others go on
	b.eventually("lab.yaml in force", 30*time.Second, func() bool { return b.room("b204").Why == "" })
	b.cut(p, killed)
	b.boot(killed, true, "are already on the disk from an earlier start", "version 2 is committed")
	p.tile("test-01", "v2", "up to date")
	p.tile("b204-01", "v1 → 2", "failed", "order it again to retry")
	p.tile("b204-02", "v2", "up to date")
	browser.Shot(t, p.ctx, "release-end")
	b.finish(fresh, failing, killed)
}

// together starts three PCs at the same time: one deploys, two are told that it is not their turn.
func (b *building) together(fresh *testlab.PC, others ...*testlab.PC) {
	b.t.Helper()
	var wg sync.WaitGroup
	serials, errs := make([]string, 1+len(others)), make([]error, 1+len(others))
	for i, pc := range append([]*testlab.PC{fresh}, others...) {
		wg.Go(func() { serials[i], errs[i] = b.from(b.t.Context(), pc) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		b.t.Fatalf("%v\n%s", err, strings.Join(serials, "\n======\n"))
	}
	inOrder(b.t, "the serial line of the new machine", serials[0], "version 2 is committed")
	windowsRan(b.t, fresh)
	for i, pc := range others {
		inOrder(b.t, "the serial line", serials[1+i], "nothing to do: waits for room test")
		windowsRan(b.t, pc)
	}
}

// cut ends the server in the middle of a download, starts it again, and then cuts the power of the
// PC while it goes on.
func (b *building) cut(p *page, pc *testlab.PC) {
	t := b.t
	t.Helper()
	c, err := pc.NetConfig()
	if err != nil {
		t.Fatal(err)
	}
	m, err := vm.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	fetching := func() bool {
		h := b.host("b204-02")
		return h.Phase == rooms.PhaseWorking && h.Live != nil && h.Live.Phase == "fetch" && h.Live.Done > 0 && h.Live.Done < h.Live.Total
	}
	b.eventually("fetching", 4*time.Minute, fetching)
	b.admin([]string{"b204-02", "working", "fetch "}, "hosts", "--room", "b204")
	p.tile("b204-02", "v1 → 2", "fetch ", " %", "/s")
	browser.Shot(t, p.ctx, "release-fetch")
	b.server.Kill()
	b.start()
	if h := b.host("b204-02"); h.Phase != rooms.PhaseWorking || h.Last == nil || h.Last.Result != state.ResultOpen {
		t.Fatalf("the server forgot who is at work: %+v", h.Host)
	}
	b.eventually("fetching after the server came back", time.Minute, fetching)
	p.tile("b204-02", "fetch ")
	m.Kill()
	if err := m.Wait(t.Context()); !errors.Is(err, vm.ErrKilled) {
		t.Fatalf("the PC ended before its power was cut: %v", err)
	}
	b.is("b204-02", rooms.PhaseWorking, 1, protocol.HealthGood) // it keeps its start slot
}

// finish looks at the end of the wave, and at the disks.
func (b *building) finish(fresh, failing, killed *testlab.PC) {
	t := b.t
	b.is("test-01", rooms.PhaseCurrent, 2, protocol.HealthGood)
	b.is("b204-01", rooms.PhaseFailed, 1, protocol.HealthFailing)
	b.is("b204-02", rooms.PhaseCurrent, 2, protocol.HealthUnknown)
	if h := b.host("b204-02"); h.Last.Tries != 1 || h.Last.Result != state.ResultDone {
		t.Errorf("a cut download is another try: %+v", h.Last)
	}
	b.admin([]string{"b204 ", "2 machines, 1 current, 1 failed, 0 healthy", "test ", "1 machines, 1 current, 1 healthy"}, "status")
	b.admin([]string{"b204-01", "failed", "order it again", "b204-02", "current", "test-01", "current", "good"}, "hosts")
	b.admin([]string{"order ", "report ", "deploy: start: version " + testlab.Image + "@2 was started 2 times without a sign of health"}, "log", "--failed", "b204-01")
	b.admin([]string{`name: "test-01", room: "test", mac: "` + newMAC}, "hosts", "--yaml")
	b.eventually("in the history", 30*time.Second, func() bool {
		var nights []state.Night
		if err := b.lab.AdminJSON(t.Context(), &nights, "status", "--nights", "2"); err != nil {
			t.Fatal(err)
		}
		return len(nights) > 0 && nights[0].Room == "b204" && nights[0].Done == 1 && nights[0].Failed == 1 && nights[0].Missing == 1
	})
	b.admin([]string{"b204 ", "1 done, 1 failed, 1 do not have it"}, "status", "--nights", "2")
	page, err := b.lab.Net.Command(t.Context(), "curl", "-sS", "--fail", "--cacert", filepath.Join(b.lab.Store, "serve/page/ca.crt"), "https://127.0.0.1:8443/").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"test-01", "b204-01", "b204-02", "order it again to retry"} {
		if !strings.Contains(string(page), word) {
			t.Errorf("the page does not say %q:\n%s", word, page)
		}
	}
	for pc, raw := range map[*testlab.PC]string{fresh: b.lab.Windows.V2, failing: b.lab.Windows.V1, killed: b.lab.Windows.V2} {
		if _, err := pc.Holds(t.Context(), raw); err != nil {
			t.Errorf("%s: %v", filepath.Base(pc.Disk), err)
		}
	}
}
