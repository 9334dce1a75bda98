package qemutests

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"troy/diskwriter/machine"
	"troy/internal/testing/testlab"
	"troy/server/protocol"
	"troy/server/rooms"
	"troy/server/rooms/api"
	"troy/vhdx"
)

// The PCs: an unknown new one, and two that lab.yaml names by UUID and by MAC address.
const (
	newMAC     = "52:54:00:77:00:01"
	failUUID   = "b2040000-0000-4000-8000-000000000001"
	failMAC    = "52:54:00:77:00:02"
	killedMAC  = "52:54:00:77:00:03"
	killedRate = 6 // megabits per second of their room: slow enough for a kill in the middle
)

// building is a site: PCs of two rooms, `troy serve`, and a DHCP server on another machine that
// knows nothing of Troy.
type building struct {
	t      *testing.T
	lab    *testlab.Lab
	file   string   // lab.yaml
	serve  []string // arguments of the server
	server *testlab.Server
	begin  time.Time
}

func newBuilding(t *testing.T) *building {
	t.Helper()
	b := &building{t: t, file: filepath.Join(t.TempDir(), "lab.yaml"), lab: smallLab(t, ""), begin: time.Now().UTC()}
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

// write writes lab.yaml. Room b204 works now, in a window, one machine after the other; that many
// failures stop it.
func (b *building) write(failures int) {
	b.t.Helper()
	text := fmt.Sprintf(`format: 1
zone: Etc/UTC
images: [%[1]s]
defaults: {image: %[1]s, healthy: 100, always: true}
rooms:
  test: {identity: required}
  b204: {after: test, wave: 1, failures: %[2]d, bandwidth: %[3]d, always: false, windows: [{from: "%[4]s", to: "%[5]s"}]}
hosts:
  - {name: b204-01, room: b204, uuid: %[6]s}
  - {name: b204-02, room: b204, mac: "%[7]s"}
`, testlab.Image, failures, killedRate, b.begin.Add(-time.Hour).Format("15:04"), b.begin.Add(5*time.Hour).Format("15:04"), failUUID, killedMAC)
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

func (b *building) pc(name, mac, uuid string, tap int) *testlab.PC {
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
	inOrder(b.t, "troy "+command, out, words...)
}

// inOrder fails unless a text has these words, in this order.
func inOrder(t *testing.T, what, text string, words ...string) {
	t.Helper()
	rest := text
	for _, w := range words {
		_, after, found := strings.Cut(rest, w)
		if !found {
			t.Fatalf("%s: %q is missing, or not in this order:\n%s", what, w, text)
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
func (b *building) boot(pc *testlab.PC, windows bool, words ...string) {
	b.t.Helper()
	serial, err := b.from(b.t.Context(), pc)
	if err != nil {
		b.t.Fatalf("%v\n%s", err, serial)
	}
	inOrder(b.t, "the serial line", serial, words...)
	if windows {
		windowsRan(b.t, pc)
	}
}

// from starts a machine by PXE in a soak, else as PXE leaves it.
func (b *building) from(ctx context.Context, pc *testlab.PC) (serial string, err error) {
	begin := time.Now()
	defer func() { b.t.Logf("a start: %.1f s", time.Since(begin).Seconds()) }()
	if soak() {
		return pc.FromNet(ctx)
	}
	return pc.ToWindows(ctx)
}

// imageAt is how commands name a version.
func imageAt(version int) string { return fmt.Sprintf("%s@%d", testlab.Image, version) }

// windowsRan does to the boot child what a session of Windows does that changes nothing: without it
// the version would be given up after three starts.
func windowsRan(t *testing.T, pc *testlab.PC) {
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

// An unknown machine shows a code and starts what it has; assigned to a room it gets the room's version,
// and its name in Windows. In a soak all machines start by PXE, the admin does all that on the status page
// in a browser, and a whole release goes through two rooms: the other room waits for the first one;
// a machine of it whose Windows does not come up goes back and stops the wave; the admin lets it go
// on; the last machine is cut off in its download, and so is the server.
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
	var d desk = commands{b}
	if soak() {
		d = b.openPage()
	}
	d.assign(code[1], "test-01", "test")
	b.is("test-01", rooms.PhaseIdle, 1, protocol.HealthUnknown)
	d.promote("test")
	d.promote("b204", "waits for room test")
	if p, ok := d.(*page); ok {
		b.release(p, fresh)
		return
	}
	b.boot(fresh, false, "version 2 is committed", "restarting into Windows")
	b.is("test-01", rooms.PhaseCurrent, 2, protocol.HealthUnknown)
	inOrder(b.t, "the machine's log", b.host("test-01").Log, "version 2 is committed")
	(&naming{t: t, lab: b.lab}).named(fresh, "test-01", "test-01", "test", machine.BootName, machine.LayerAName, machine.BaseName)
}
