package qemutests

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"troy/diskwriter"
	"troy/qemu-tests/lab"
	"troy/qemu-tests/vm"
	"troy/server/protocol"
	"troy/server/rooms"
	"troy/server/rooms/api"
	"troy/server/state"
	"troy/vhdx"
)

// The PCs: a new one that nobody knows, and two that lab.yaml names by UUID and by MAC address.
const (
	newMAC     = "52:54:00:77:00:01"
	failUUID   = "b2040000-0000-4000-8000-000000000001"
	failMAC    = "52:54:00:77:00:02"
	killedMAC  = "52:54:00:77:00:03"
	killedRate = 6 // megabits per second of their room: slow enough for a kill in the middle
)

// building is a site: PCs of two rooms, `troy serve --lab`, and a DHCP server on another machine that knows nothing of Troy.
type building struct {
	t      *testing.T
	lab    *lab.Lab
	file   string   // lab.yaml
	serve  []string // arguments of the server
	server *lab.Server
	begin  time.Time
}

func newBuilding(t *testing.T) *building {
	t.Helper()
	dir, err := os.MkdirTemp(os.Getenv("TROY_CACHE"), "room-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	seed := rand.Uint64()
	t.Logf("seed of the disks %d", seed)
	b := &building{t: t, file: filepath.Join(dir, "lab.yaml"), begin: time.Now().UTC()}
	if b.lab, err = room.SmallNTFS(t.Context(), dir, "", seed); err != nil {
		t.Fatal(err)
	}
	if err := b.lab.Building(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.lab.Net.Close() })
	if soak() {
		tree, err := b.lab.NetTree(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b.serve = []string{"--boot", tree}
	}
	b.write(1)
	b.start()
	t.Cleanup(func() {
		b.server.Kill()
		if t.Failed() {
			t.Logf("the server said:\n%s", b.server.Said())
		}
	})
	return b
}

// write writes lab.yaml. Room b204 works now, in a window, one machine after the other; that many failures stop it.
func (b *building) write(failures int) {
	b.t.Helper()
	text := fmt.Sprintf(`format: 1
zone: Etc/UTC
images: [%[1]s]
defaults: {image: %[1]s, healthy: 100, always: true}
rooms:
  test:
  b204: {after: test, wave: 1, failures: %[2]d, bandwidth: %[3]d, always: false, windows: [{from: "%[4]s", to: "%[5]s"}]}
hosts:
  - {name: b204-01, room: b204, uuid: %[6]s}
  - {name: b204-02, room: b204, mac: "%[7]s"}
`, lab.Image, failures, killedRate, b.begin.Add(-time.Hour).Format("15:04"), b.begin.Add(5*time.Hour).Format("15:04"), failUUID, killedMAC)
	if err := os.WriteFile(b.file, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *building) start() {
	b.t.Helper()
	var err error
	if b.server, err = b.lab.ServeRooms(b.t.Context(), b.file, b.serve...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *building) pc(name, mac, uuid string, tap int) *lab.PC {
	b.t.Helper()
	pc, err := b.lab.NewPC(b.t.Context(), name)
	if err != nil {
		b.t.Fatal(err)
	}
	pc.MAC, pc.UUID, pc.Tap = mac, uuid, tap
	return pc
}

// admin runs a command; what it prints has to hold these words.
func (b *building) admin(words []string, command string, args ...string) {
	b.t.Helper()
	out, err := b.lab.Admin(b.t.Context(), command, args...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.holds("troy "+command, out, words...)
}

// holds fails unless a text has these words, in this order.
func (b *building) holds(what, text string, words ...string) {
	b.t.Helper()
	rest := text
	for _, w := range words {
		_, after, found := strings.Cut(rest, w)
		if !found {
			b.t.Fatalf("%s: %q is missing, or not in this order:\n%s", what, w, text)
		}
		rest = after
	}
}

func (b *building) host(name string) (h api.HostDetail) {
	b.t.Helper()
	if err := b.lab.AdminJSON(b.t.Context(), &h, "log", name); err != nil {
		b.t.Fatal(err)
	}
	return h
}

// is fails unless a machine stands there, as `troy log --json` tells.
func (b *building) is(name string, phase rooms.Phase, version int, health protocol.Health) {
	b.t.Helper()
	if h := b.host(name); h.Phase != phase || h.Version != version || h.Health != health {
		b.t.Fatalf("%s is %s with version %d, health %q; want %s, %d, %q: %+v", name, h.Phase, h.Version, h.Health, phase, version, health, h.Host)
	}
}

// room tells how a room stands.
func (b *building) room(name string) rooms.Room {
	b.t.Helper()
	var s rooms.Status
	if err := b.lab.AdminJSON(b.t.Context(), &s, "status"); err != nil {
		b.t.Fatal(err)
	}
	for _, r := range s.Rooms {
		if r.Name == name {
			return r
		}
	}
	b.t.Fatalf("no room %q: %+v", name, s)
	return rooms.Room{}
}

// eventually waits until a condition holds.
func (b *building) eventually(what string, most time.Duration, f func() bool) {
	b.t.Helper()
	for end := time.Now().Add(most); !f(); time.Sleep(250 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("after %v: not %s", most, what)
		}
	}
}

// boot starts a PC; the serial line has to say this. Windows then runs, or does not come up.
func (b *building) boot(pc *lab.PC, windows bool, words ...string) {
	b.t.Helper()
	serial, err := b.from(b.t.Context(), pc)
	if err != nil {
		b.t.Fatalf("%v\n%s", err, serial)
	}
	b.holds("the serial line", serial, words...)
	if windows {
		windowsRan(b.t, pc)
	}
}

// from starts the new machine by PXE in a soak, the others as PXE leaves them.
func (b *building) from(ctx context.Context, pc *lab.PC) (serial string, err error) {
	begin := time.Now()
	defer func() { b.t.Logf("a start: %.1f s", time.Since(begin).Seconds()) }()
	if soak() && pc.MAC == newMAC {
		return pc.FromNet(ctx)
	}
	return pc.ToWindows(ctx)
}

// windowsRan does to the boot child what a session of Windows does that changes nothing.
func windowsRan(t *testing.T, pc *lab.PC) {
	t.Helper()
	session(t, pc, func(c *vhdx.Chain) {
		page := make([]byte, 4096)
		if _, err := c.ReadAt(page, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := c.WriteAt(page, 0); err != nil {
			t.Fatal(err)
		}
	})
}

var codeLine = regexp.MustCompile(`its code is (\S+)`)

// A machine that nobody knows shows a code and starts what it has; assigned to a room it gets the room's version. A soak goes on
// with a whole release through two rooms, the new machine by PXE: the other room waits for the first one; a machine of it whose Windows does not come up goes back and stops
// the wave; the admin lets it go on; the last machine is cut off in its download, and so is the server.
func TestRoom(t *testing.T) {
	b := newBuilding(t)
	fresh := b.pc("fresh", newMAC, "", 0)
	serial, err := b.from(t.Context(), fresh)
	if err != nil {
		t.Fatalf("%v\n%s", err, serial)
	}
	windowsRan(t, fresh)
	code := codeLine.FindStringSubmatch(serial)
	if code == nil || !strings.Contains(serial, "restarting into Windows") {
		t.Fatalf("no code, or Windows is not started:\n%s", serial)
	}
	b.is(newMAC, rooms.PhaseUnknown, 1, protocol.HealthUnknown)
	b.admin([]string{"nobody knows", newMAC, code[1]}, "status")
	b.admin(nil, "assign", "--room", "test", code[1], "test-01")
	b.is("test-01", rooms.PhaseIdle, 1, protocol.HealthUnknown)
	b.admin([]string{"1 machines, 0 have", "estimate: ", "room test gets " + lab.Image + " version 2"}, "promote", "--room", "test", lab.Image+"@2")
	b.admin([]string{"before that: waits for room test", "room b204 gets"}, "promote", "--room", "b204", lab.Image+"@2")
	if soak() {
		b.release(fresh)
		return
	}
	b.boot(fresh, false, "version 2 is committed", "restarting into Windows")
	b.is("test-01", rooms.PhaseCurrent, 2, protocol.HealthUnknown)
	b.holds("the machine's log", b.host("test-01").Log, "version 2 is committed")
	holds(t, fresh, b.lab.Windows.V2, diskwriter.BootName, diskwriter.LayerAName, diskwriter.BaseName)
}

// release is the rest of TestRoom in a soak.
func (b *building) release(fresh *lab.PC) {
	t := b.t
	failing, killed := b.pc("failing", failMAC, failUUID, 1), b.pc("killed", killedMAC, "", 2)
	b.together(fresh, failing, killed)
	b.is("test-01", rooms.PhaseCurrent, 2, protocol.HealthUnknown)
	b.is("b204-01", rooms.PhaseOutdated, 1, protocol.HealthUnknown)
	b.admin([]string{"waits for room test: 0 of 1 machines have version 2 healthy"}, "status")

	b.boot(fresh, true, "the last hand-off worked, by BootNext")
	b.is("test-01", rooms.PhaseCurrent, 2, protocol.HealthGood)
	if r := b.room("b204"); r.Why != "" || !r.Open {
		t.Fatalf("room b204 does not go on: %+v", r)
	}
	b.boot(failing, false, "version 2 is committed")
	b.is("b204-01", rooms.PhaseCurrent, 2, protocol.HealthUnknown)
	b.boot(failing, false, "nothing shows that Windows ran", "nothing to do")
	b.boot(failing, false, "nothing shows that Windows ran", "nothing to do")
	b.is("b204-01", rooms.PhaseCurrent, 2, protocol.HealthFailing)
	b.admin([]string{"b204 ", "the wave was stopped: 1 machines failed"}, "status")
	b.boot(killed, true, "nothing to do: the wave was stopped: 1 machines failed")
	b.boot(failing, true, "going back to "+lab.Image+"@1", "order it again to try once more")
	b.is("b204-01", rooms.PhaseFailed, 1, protocol.HealthFailing)
	b.is("b204-02", rooms.PhaseOutdated, 1, protocol.HealthGood)

	b.write(2) // the admin has seen the machine, and lets the others go on
	b.eventually("lab.yaml in force", 30*time.Second, func() bool { return b.room("b204").Why == "" })
	b.cut(killed)
	b.boot(killed, true, "are here already from an earlier start", "version 2 is committed")
	b.finish(fresh, failing, killed)
}

// together starts three PCs at the same time: one deploys, two are told that it is not their turn.
func (b *building) together(fresh *lab.PC, others ...*lab.PC) {
	b.t.Helper()
	var wg sync.WaitGroup
	serials, errs := make([]string, 1+len(others)), make([]error, 1+len(others))
	for i, pc := range append([]*lab.PC{fresh}, others...) {
		wg.Go(func() { serials[i], errs[i] = b.from(b.t.Context(), pc) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		b.t.Fatalf("%v\n%s", err, strings.Join(serials, "\n======\n"))
	}
	b.holds("the serial line of the new machine", serials[0], "version 2 is committed")
	windowsRan(b.t, fresh)
	for i, pc := range others {
		b.holds("the serial line", serials[1+i], "nothing to do: waits for room test")
		windowsRan(b.t, pc)
	}
}

// cut ends the server in the middle of a download, starts it again, and then cuts the power of the PC while it goes on.
func (b *building) cut(pc *lab.PC) {
	t := b.t
	t.Helper()
	c, err := pc.KernelConfig("troy.server=" + lab.ServerURL)
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
	b.eventually("fetching", 2*time.Minute, fetching)
	b.admin([]string{"b204-02", "working", "fetch "}, "hosts", "--room", "b204")
	b.server.Kill()
	b.start()
	if h := b.host("b204-02"); h.Phase != rooms.PhaseWorking || h.Last == nil || h.Last.Result != state.ResultOpen {
		t.Fatalf("the server forgot who is at work: %+v", h.Host)
	}
	b.eventually("fetching after the server came back", time.Minute, fetching)
	m.Kill()
	if err := m.Wait(t.Context()); !errors.Is(err, vm.ErrKilled) {
		t.Fatalf("the PC ended before its power was cut: %v", err)
	}
	b.is("b204-02", rooms.PhaseWorking, 1, protocol.HealthGood) // it keeps its start slot
}

// finish looks at the end of the wave, and at the disks.
func (b *building) finish(fresh, failing, killed *lab.PC) {
	t := b.t
	b.is("test-01", rooms.PhaseCurrent, 2, protocol.HealthGood)
	b.is("b204-01", rooms.PhaseFailed, 1, protocol.HealthFailing)
	b.is("b204-02", rooms.PhaseCurrent, 2, protocol.HealthUnknown)
	if h := b.host("b204-02"); h.Last.Tries != 1 || h.Last.Result != state.ResultDone {
		t.Errorf("a cut download is another try: %+v", h.Last)
	}
	b.admin([]string{"b204 ", "2 machines, 1 current, 1 failed, 0 healthy", "test ", "1 machines, 1 current, 1 healthy"}, "status")
	b.admin([]string{"b204-01", "failed", "order it again", "b204-02", "current", "test-01", "current", "good"}, "hosts")
	b.admin([]string{"order ", "report ", "deploy: start: version " + lab.Image + "@2 was started 3 times without a sign of health"}, "log", "--failed", "b204-01")
	b.admin([]string{`name: "test-01", room: "test", mac: "` + newMAC}, "hosts", "--yaml")
	b.eventually("in the history", 30*time.Second, func() bool {
		var nights []state.Night
		if err := b.lab.AdminJSON(t.Context(), &nights, "status", "--nights", "2"); err != nil {
			t.Fatal(err)
		}
		return len(nights) > 0 && nights[0].Room == "b204" && nights[0].Done == 1 && nights[0].Failed == 1 && nights[0].Missing == 1
	})
	b.admin([]string{"b204 ", "1 done, 1 failed, 1 do not have it"}, "status", "--nights", "2")
	page, err := b.lab.Net.Command(t.Context(), "curl", "-sS", "--fail", lab.ServerURL+"/").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"test-01", "b204-01", "b204-02", "order it again to try once more"} {
		if !strings.Contains(string(page), word) {
			t.Errorf("the page does not say %q:\n%s", word, page)
		}
	}
	for pc, raw := range map[*lab.PC]string{fresh: b.lab.Windows.V2, failing: b.lab.Windows.V1, killed: b.lab.Windows.V2} {
		if _, err := pc.Holds(t.Context(), raw); err != nil {
			t.Errorf("%s: %v", filepath.Base(pc.Disk), err)
		}
	}
}
