package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"troy/image"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/tlskey"
	"troy/netfetch"
	"troy/server/protocol"
	"troy/server/rooms"
	"troy/server/rooms/api"
	"troy/server/state"
	"troy/vhdx"
)

const labYAML = `format: 1
zone: Europe/Berlin
images: [pc]
defaults: {image: pc, always: true, wave: 2, failures: 1}
rooms: {test: , B204: {after: test}}
hosts:
  - {name: test-1, room: test, mac: "52:54:00:00:00:01"}
  - {name: b204-1, room: B204, mac: "52:54:00:00:02:01"}
`

// screen is what a command that goes on writes.
type screen struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// wait returns once a word is on the screen.
func (s *screen) wait(t *testing.T, word string) {
	t.Helper()
	for range 500 {
		s.mu.Lock()
		text := s.text.String()
		s.mu.Unlock()
		if strings.Contains(text, word) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%q does not come: %s", word, s.text.String())
}

// served is troy serve --lab in this process.
type servedLab struct {
	*history
	lab  string
	out  *screen
	stop func()
	url  string
	more []string               // flags of serve
	keys map[string]*tls.Config // by MAC address: how that machine talks to the server
}

func serveLab(t *testing.T, h *history) *servedLab {
	t.Helper()
	s := &servedLab{history: h, lab: filepath.Join(h.dir, "lab.yaml"), out: &screen{}}
	must(t, os.WriteFile(s.lab, []byte(labYAML), 0o644))
	s.start(t)
	return s
}

func (s *servedLab) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int, 1)
	s.out = &screen{}
	go func() {
		done <- run(ctx, append([]string{"serve", "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0", "--lab", s.lab, s.store}, s.more...), s.out, s.out)
	}()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if code := <-done; code != exitOK {
			t.Errorf("serve ends with %d: %s", code, s.out.text.String())
		}
	})
	t.Cleanup(s.stop)
	s.out.wait(t, "serving the rooms of ")
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	s.url = regexp.MustCompile(`https://127\S+[0-9]`).FindString(s.out.text.String())
}

// machine calls the server as the machine with this MAC address, which has a key of its own.
func (s *servedLab) machine(t *testing.T, mac string) *netfetch.HTTP {
	t.Helper()
	if s.keys[mac] == nil {
		key, err := tlskey.New()
		must(t, err)
		own, err := key.Certificate()
		must(t, err)
		repo, err := sign.Open(s.store, nil)
		must(t, err)
		list, err := repo.ServedList()
		must(t, err)
		if s.keys == nil {
			s.keys = map[string]*tls.Config{}
		}
		s.keys[mac] = tlskey.Client(list.Keys, &own)
	}
	h, err := netfetch.NewHTTP(s.url, &netfetch.HTTPOptions{TLS: s.keys[mac]})
	must(t, err)
	t.Cleanup(h.Reconnect)
	return h
}

// checkIn is a machine with this MAC address that holds a version.
func (s *servedLab) checkIn(t *testing.T, mac string, version int, health protocol.Health) (o protocol.Order) {
	t.Helper()
	h := s.machine(t, mac)
	in := protocol.CheckIn{Protocol: protocol.Version, Machine: protocol.Machine{Ports: []protocol.Port{{MAC: mac}}}, Image: "pc", Version: version, Health: health,
		FirmwareVersion: "Dell Inc. 1.2.3", Devices: []protocol.Device{{Kind: "network", Bus: "usb", ID: "0bda:8153", Class: "020600"}}}
	must(t, h.PostJSON(t.Context(), protocol.PathCheckIn, in, &o))
	return o
}

func (s *servedLab) report(t *testing.T, mac string, version int, outcome protocol.Outcome, log string) {
	t.Helper()
	h := s.machine(t, mac)
	r := protocol.Report{Protocol: protocol.Version, ID: mac, Machine: protocol.Machine{Ports: []protocol.Port{{MAC: mac}}}, Image: "pc", Version: version, Outcome: outcome, Message: log, Log: log,
		Steps: []protocol.Step{{Kind: "stage", Seconds: 1.5, Fetched: 1000, Reason: "it is wanted", Error: "it broke"}}}
	must(t, h.PostJSON(t.Context(), protocol.PathReport, r, nil))
}

const (
	testMAC = "52:54:00:00:00:01"
	roomMAC = "52:54:00:00:02:01"
	newMAC  = "52:54:00:00:09:09"
)

// TestLabRelease is an admin's week: promote to the test room, then to the next, a machine that
// nobody knows, a failure, the way back.
func TestLabRelease(t *testing.T) {
	s := serveLab(t, newHistory(t, seeded(t)))
	plan, err := image.LoadPlan(t.Context(), mustStore(t, s.store), "pc", 0, 2)
	must(t, err)
	dry := wantJSON[rooms.Estimate](t, exitOK, "promote", "--room", "test", "--dry-run", "pc@2")
	if dry.Fetch != plan.FetchBytes || dry.Write != plan.WriteBytes || dry.Never != 1 || !dry.Fits {
		t.Errorf("%+v, the plan has %d and %d bytes", dry, plan.FetchBytes, plan.WriteBytes)
	}
	if o := s.checkIn(t, testMAC, 1, ""); begins(&o) {
		t.Errorf("a dry run promoted: %+v", o)
	}
	wantTroy(t, exitOK, "promote", "--room", "test", "pc@1")
	if r := wantTroy(t, exitOK, "promote", "--room", "test", "pc@2"); !strings.Contains(r.out, "estimate: ") || !strings.Contains(r.out, "room test gets pc version 2") {
		t.Errorf("promote says %s", r.out)
	}
	if r := wantTroy(t, exitOK, "promote", "--room", "B204", "--dry-run", "--at", "22:00-05:30", "pc@2"); !strings.Contains(r.out, "before that: waits for room test") || !strings.Contains(r.out, "window: ") {
		t.Errorf("promote says %s", r.out)
	}
	wantTroy(t, exitOK, "promote", "--room", "B204", "pc@2")
	if o := s.checkIn(t, testMAC, 1, ""); !begins(&o) || wanted(&o) != 2 {
		t.Fatalf("%+v", o)
	}
	if o := s.checkIn(t, roomMAC, 1, ""); begins(&o) || !strings.Contains(o.Reason, "waits for room test") {
		t.Errorf("%+v", o)
	}
	s.report(t, testMAC, 2, protocol.OutcomeDone, "all \x1b[2Jgood"[:4])
	s.checkIn(t, testMAC, 2, protocol.HealthGood)
	if o := s.checkIn(t, roomMAC, 1, ""); !begins(&o) {
		t.Errorf("after the test room: %+v", o)
	}
	s.report(t, roomMAC, 1, protocol.OutcomeFailed, "the disk is bad")
	s.unknown(t)
	s.look(t)
	s.stop()
	s.look(t) // from the state file
	s.start(t)
	s.look(t)

	// Back: the step is signed, the machine goes.
	if r := wantTroy(t, exitFailed, "rollback", "--room", "test", "--yes", "pc@1"); !strings.Contains(r.errOut, "ONLY THE SERVER SAYS which machine that is: test-1, key ") {
		t.Errorf("rollback of machines that nobody confirmed says %s", r.errOut)
	}
	wantTroy(t, exitOK, "hosts", "confirm", "--yes", "test")
	if r := wantTroy(t, exitOK, "rollback", "--room", "test", "pc@1"); !strings.Contains(r.out, "back to pc version 1, which is signed") {
		t.Errorf("rollback says %s", r.out)
	}
	if o := s.checkIn(t, testMAC, 2, ""); !begins(&o) || wanted(&o) != 1 || !o.Permits.Retry {
		t.Errorf("%+v", o)
	}
	s.allowed(t)
	s.forged(t)
	s.forget(t)
}

// forget drops a machine whose key is pinned, which has to be asked for.
func (s *servedLab) forget(t *testing.T) {
	t.Helper()
	if r := wantTroy(t, exitFailed, "forget", "test-1", "test-2"); !strings.Contains(r.errOut, "test-1: its key ") || !strings.Contains(r.errOut, "nothing was changed") {
		t.Errorf("without an answer: %s", r.errOut)
	}
	if r := wantTroy(t, exitOK, "forget", "--yes", "test-1", newMAC); r.out != "test-1 was forgotten\n"+newMAC+" was forgotten\n" {
		t.Errorf("it says %q", r.out)
	}
	wantTroy(t, exitFailed, "forget", "test-1", "test-2")
	if list := wantJSON[[]rooms.Host](t, exitOK, "hosts", "--room", "test"); len(list) != 1 || list[0].Name != "test-1" || list[0].ID != "" {
		t.Errorf("left are %+v", list)
	}
}

// TestEstimateCopies: an estimate counts what agents fetch. What a machine has elsewhere on its
// disk it does not.
func TestEstimateCopies(t *testing.T) {
	h := newHistory(t, seeded(t))
	s := serveLab(t, h)
	h.addMoved(t)
	whole, err := image.LoadPlan(t.Context(), mustStore(t, h.store), "pc", 2, 3)
	must(t, err)
	local, err := image.LoadLocalPlan(t.Context(), mustStore(t, h.store), "pc", 2, 3)
	must(t, err)
	bare, err := image.LoadPlan(t.Context(), mustStore(t, h.store), "pc", 0, 3)
	must(t, err)
	if local.CopyBytes == 0 || local.FetchBytes >= whole.FetchBytes {
		t.Fatalf("no copies in %+v", local)
	}
	for _, x := range []struct {
		have         int
		fetch, write int64
	}{{2, local.FetchBytes, local.WriteBytes}, {0, bare.FetchBytes, bare.WriteBytes}, {99, bare.FetchBytes, bare.WriteBytes}, {3, 0, 0}} {
		s.checkIn(t, testMAC, x.have, "")
		if e := wantJSON[rooms.Estimate](t, exitOK, "promote", "--room", "test", "--dry-run", "pc@3"); e.Fetch != x.fetch || e.Write != x.write {
			t.Errorf("from version %d: %d to fetch and %d to write, want %d and %d", x.have, e.Fetch, e.Write, x.fetch, x.write)
		}
	}
}

// addMoved publishes a version 3 in which pages of version 2 stand once more, at places that were
// empty.
func (h *history) addMoved(t *testing.T) {
	t.Helper()
	child := filepath.Join(h.dir, "moved.vhdx")
	wantVHDX(t, exitOK, "create", "--type", "differencing", "--parent", h.child, child)
	c, err := vhdx.OpenChain(child, &vhdx.ChainOptions{Writable: true, Parents: &vhdx.Parents{Named: []string{h.child, h.base}}})
	must(t, err)
	var full, empty []int64
	for off := int64(0); off+image.PageSize <= int64(len(h.v2)); off += image.PageSize {
		page := h.v2[off : off+image.PageSize]
		if len(bytes.TrimLeft(page, "\x00")) == 0 {
			empty = append(empty, off)
		} else {
			full = append(full, off)
		}
	}
	n := min(len(full), len(empty), 200)
	for i := range n {
		_, err := c.WriteAt(h.v2[full[i]:full[i]+image.PageSize], empty[i])
		must(t, err)
	}
	must(t, errors.Join(c.Sync(), c.Close()))
	if m := wantJSON[image.Manifest](t, exitOK, "image", "add", "--force-unbootable", "pc", child); m.Version != 3 || m.Figures.Copied < int64(n)*image.PageSize/2 {
		t.Fatalf("%d pages moved: %+v", n, m.Figures)
	}
}

func mustStore(t *testing.T, dir string) *image.Store {
	t.Helper()
	s, err := image.OpenStore(dir)
	must(t, err)
	return s
}

// unknown brings a machine that nobody knows, which gets a name.
func (s *servedLab) unknown(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{{s.checkIn(t, newMAC, 1, "").Code}, {"--strangers"}} {
		wantTroy(t, exitOK, append([]string{"forget"}, args...)...)
		if r := wantTroy(t, exitOK, "status"); strings.Contains(r.out, "unknown machine") {
			t.Errorf("after forget %s status says %s", args, r.out)
		}
		s.checkIn(t, newMAC, 1, "")
	}
	code := s.checkIn(t, newMAC, 1, "").Code
	if r := wantTroy(t, exitOK, "status"); len(code) != 6 || !strings.Contains(r.out, code) {
		t.Errorf("code %q, status says %s", code, r.out)
	}
	wantTroy(t, exitFailed, "assign", "--room", "B999", code, "test-2")
	wantTroy(t, exitFailed, "assign", "--room", "test", "XXXXXX", "test-2")
	wantTroy(t, exitOK, "assign", "--room", "test", code, "test-2")
	if o := s.checkIn(t, newMAC, 1, ""); !begins(&o) {
		t.Errorf("assigned: %+v", o)
	}
	lines := wantTroy(t, exitOK, "hosts", "--yaml").out
	if !strings.Contains(lines, newMAC) || strings.Contains(lines, roomMAC) {
		t.Errorf("--yaml says %s", lines)
	}
	full := filepath.Join(s.dir, "full.yaml")
	must(t, os.WriteFile(full, []byte(labYAML+lines), 0o644))
	wantTroy(t, exitOK, "lab", "check", "--store", s.store, full)
}

// look asks for everything that is to be seen.
func (s *servedLab) look(t *testing.T) {
	t.Helper()
	st := wantJSON[rooms.Status](t, exitOK, "status")
	if len(st.Rooms) != 2 || st.Rooms[0].Name != "B204" || st.Rooms[0].Counts[rooms.PhaseFailed] != 1 || st.Rooms[1].Counts[rooms.PhaseCurrent] != 1 || st.Rooms[1].Healthy != 1 {
		t.Errorf("status: %+v", st)
	}
	if r := wantTroy(t, exitOK, "status"); !strings.Contains(r.out, "the wave was stopped: 1 machines failed") {
		t.Errorf("status says %s", r.out)
	}
	if list := wantJSON[[]rooms.Host](t, exitOK, "hosts", "--room", "B204"); len(list) != 1 || list[0].Error != "the disk is bad" {
		t.Errorf("hosts: %+v", list)
	}
	if d := wantJSON[api.HostDetail](t, exitOK, "log", "b204-1"); d.Log != "the disk is bad" || d.FailLog != d.Log || len(d.History) < 3 {
		t.Errorf("log: %+v", d)
	}
	if r := wantTroy(t, exitOK, "log", "test-1"); !strings.Contains(r.out, "all ") || !strings.Contains(r.out, "order     pc version 2") || !strings.Contains(r.out, "stage         1.50 s  1.0 kB fetched  it is wanted; failed: it broke") {
		t.Errorf("log says %s", r.out)
	}
	if r := wantTroy(t, exitOK, "log", "test-1"); !strings.Contains(r.out, "unknown make, firmware Dell Inc. 1.2.3\nnetwork: usb 0bda:8153 class 020600 without driver\n") {
		t.Errorf("the log does not show what the machine is made of: %q", r.out)
	}
	wantTroy(t, exitFailed, "log", "nobody")
	if list := wantJSON[[]state.Night](t, exitOK, "status", "--nights", "3"); list == nil {
		t.Error("no list of nights")
	}
}

// allowed: a client that has seen version 2 takes version 1 by the signed permit.
func (s *servedLab) allowed(t *testing.T) {
	t.Helper()
	repo, err := sign.Open(s.store, nil)
	must(t, err)
	root, err := repo.Root()
	must(t, err)
	src, _, err := trust.Pinned(t.Context(), mustStore(t, s.store), time.Now(), &trust.PinnedOptions{Root: root})
	must(t, err)
	list, err := repo.Confirmed()
	must(t, err)
	if err := src.Permitted(t.Context(), trust.Use{Scope: trust.Downgrade, Key: list[0].Key, Image: "pc", Version: 1}, time.Now()); err != nil {
		t.Errorf("the step back is not signed: %v", err)
	}
}

// TestRollbackWithoutKey: nothing changes where the signature is missing, and what to do is said.
func TestRollbackWithoutKey(t *testing.T) {
	s := serveLab(t, newHistory(t, seeded(t)))
	wantTroy(t, exitOK, "promote", "--room", "test", "pc@1")
	wantTroy(t, exitOK, "promote", "--room", "test", "pc@2")
	moveKeys(t, s.store, t.TempDir())
	r := wantTroy(t, exitFailed, "rollback", "--room", "test", "pc@1")
	if !strings.Contains(r.errOut, "room test keeps the version it has") || !strings.Contains(r.errOut, "troy permit downgrade test --to pc@1") {
		t.Errorf("it says %s", r.errOut)
	}
	if o := s.checkIn(t, testMAC, 2, ""); begins(&o) {
		t.Errorf("%+v", o)
	}
	wantTroy(t, exitOK, "rollback", "--signed", "--room", "test")
	if o := s.checkIn(t, testMAC, 2, ""); begins(&o) || wanted(&o) != 1 || !strings.Contains(o.Reason, "it waits for a permit: 'troy permit downgrade test-1 --to pc@1 --until DATE'") {
		t.Errorf("before it is signed elsewhere: %+v", o)
	}
}

// TestPromoteUnsigned: what machines cannot see is not promoted.
func TestPromoteUnsigned(t *testing.T) {
	s := serveLab(t, newHistory(t, seeded(t)))
	g := filepath.Join(s.dir, "g.vhdx")
	wantVHDX(t, exitOK, "create", "--type", "differencing", "--parent", s.child, g)
	addForeign(t, s.store, g)
	if r := wantTroy(t, exitFailed, "promote", "--room", "test", "pc@3"); !strings.Contains(r.errOut, "troy key sign") {
		t.Errorf("it says %s", r.errOut)
	}
	if st := wantJSON[rooms.Status](t, exitOK, "status"); st.Rooms[1].Target != nil {
		t.Errorf("%+v", st.Rooms[1].Target)
	}
	wantTroy(t, exitOK, "key", "sign", "--yes")
	wantTroy(t, exitOK, "promote", "--room", "test", "pc@3")
}

// begins says whether an order lets a machine begin.
func begins(o *protocol.Order) bool { return o.Want != nil && o.Wait == 0 && o.Reason == "" }

// wanted is the version that an order names, 0 if none.
func wanted(o *protocol.Order) int {
	if o.Want == nil {
		return 0
	}
	return o.Want.Version
}
