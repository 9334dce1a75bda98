package chainload

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"troy/chainload/efiboot"
	"troy/internal/testing/efitest"
)

// life plays starts of a machine: what the agent sees, and what it decides.
type life struct {
	t   *testing.T
	h   Health
	now time.Time
}

func newLife(t *testing.T) *life {
	return &life{t: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

// start is one start of the agent. When it is to hand over, it does so by the
// first method; the Health is kept as JSON in between.
func (l *life) start(s Seen, want Action) Decision {
	l.t.Helper()
	l.now = l.now.Add(time.Minute)
	if s.Now.IsZero() {
		s.Now = l.now
	} else {
		l.now = s.Now
	}
	d := Plan(l.h, s)
	if d.Action != want {
		l.t.Fatalf("%s with %+v and %+v, want %s (%q)", d.Action, l.h, s, want, d.Messages)
	}
	version := s.Version
	if d.Action == RollBack {
		version = s.Previous
	}
	l.h = d.Health
	if d.Action != Stop {
		l.h = l.h.HandedOff(version, d.Methods[0], l.now)
	}
	b, err := json.Marshal(l.h)
	if err != nil {
		l.t.Fatal(err)
	}
	kept, err := ParseHealth(b)
	again, _ := json.Marshal(kept)
	if err != nil || string(again) != string(b) {
		l.t.Fatalf("%s reads back as %s, %v", b, again, err)
	}
	l.h = kept
	return d
}

func TestHealthyLife(t *testing.T) {
	l := newLife(t)
	l.start(Seen{Version: "1"}, Go)
	for range 10 {
		d := l.start(Seen{Version: "1", Previous: "0", Healthy: true, Ran: true}, Go)
		if d.worked != ByBootNext || !slices.Equal(d.Methods, allMethods()) {
			t.Errorf("%+v", d)
		}
	}
}

func TestLoopRollsBackOnceThenStops(t *testing.T) {
	l := newLife(t)
	l.start(Seen{Version: "1"}, Go)
	l.start(Seen{Version: "1", Healthy: true, Ran: true}, Go) // then version 2 is deployed
	l.h = l.h.HandedOff("2", ByBootNext, l.now)
	for range 2 {
		l.start(Seen{Version: "2", Previous: "1", Ran: true}, Go)
	}
	d := l.start(Seen{Version: "2", Previous: "1", Ran: true}, RollBack)
	if !d.Health.Refuses("2") || len(d.Messages) != 2 || !strings.Contains(d.Messages[1], "going back to 1") {
		t.Errorf("%+v", d)
	}
	// The old version fails as well: no way back to the one that was given up.
	for range 2 {
		l.start(Seen{Version: "1", Previous: "2", Ran: true}, Go)
	}
	d = l.start(Seen{Version: "1", Previous: "2", Ran: true}, Stop)
	if !strings.Contains(strings.Join(d.Messages, "\n"), "no version to go back to") {
		t.Errorf("%q", d.Messages)
	}
	// A person switches it on: one try each time.
	for range 3 {
		l.start(Seen{Version: "1", Previous: "2", Ran: true}, Go)
		l.start(Seen{Version: "1", Previous: "2", Ran: true}, Stop)
	}
	l.start(Seen{Version: "1", Healthy: true, Ran: true}, Go)
	if l.h.Starts != 1 || !l.h.Proven || !l.h.Refuses("2") || l.h.Forget("2").Refuses("2") {
		t.Errorf("%+v", l.h)
	}
}

// A roll-back that fails is planned again without it.
func TestRollBackImpossible(t *testing.T) {
	h := Health{Version: "2", Starts: 3, Method: ByBootNext}
	s := Seen{Version: "2", Previous: "1", Ran: true}
	if d := Plan(h, s); d.Action != RollBack {
		t.Errorf("%+v", d)
	}
	if h.Refuses("2") {
		t.Error("Plan changed its argument")
	}
	s.Previous = ""
	if d := Plan(h, s); d.Action != Stop || d.Health.Refuses("2") {
		t.Errorf("%+v", d)
	}
}

// People who switch off a version that was healthy do not stop it; one that
// comes back within minutes is stopped.
func TestProvenVersion(t *testing.T) {
	l := newLife(t)
	l.start(Seen{Version: "1"}, Go)
	l.start(Seen{Version: "1", Healthy: true, Ran: true}, Go)
	for range 10 {
		l.start(Seen{Version: "1", Ran: true, Now: l.now.Add(loopWindow)}, Go)
	}
	l.start(Seen{Version: "1", Ran: true}, Go)
	l.start(Seen{Version: "1", Ran: true}, Go)
	l.start(Seen{Version: "1", Ran: true}, Stop)
}

func TestBlind(t *testing.T) {
	l := newLife(t)
	l.start(Seen{Version: "1"}, Go)
	for range 10 {
		if d := l.start(Seen{Version: "1", Blind: true}, Go); len(d.Health.Ignored) != 0 {
			t.Errorf("%+v", d)
		}
	}
}

// Firmware that leaves BootNext set: the next method is taken, and no start is
// counted against the version.
func TestBootNextLeft(t *testing.T) {
	l := newLife(t)
	l.start(Seen{Version: "1"}, Go)
	d := l.start(Seen{Version: "1", Left: Left{BootNext: true}}, Go)
	if !slices.Equal(d.Methods, []Method{ByGRUB, ByBootOrder, ByBootNext}) || d.Health.Starts != 0 || !strings.Contains(d.Messages[0], "ignored BootNext") {
		t.Errorf("%+v", d)
	}
	d = l.start(Seen{Version: "1", Ran: true, Healthy: true}, Go)
	if d.worked != ByGRUB || d.Methods[0] != ByGRUB || d.Messages[0] != "the last hand-off worked, by GRUB" {
		t.Errorf("%+v", d)
	}
	d = l.start(Seen{Version: "1", Left: Left{GRUB: true}}, Go)
	if d.Methods[0] != ByBootOrder {
		t.Errorf("GRUB that cannot write: %+v", d)
	}
}

// Firmware that takes BootNext and starts the agent again at once.
func TestBootNextTakenAndIgnored(t *testing.T) {
	l := newLife(t)
	l.start(Seen{Version: "1"}, Go)
	d := l.start(Seen{Version: "1"}, Go)
	if d.Methods[0] != ByGRUB || d.worked != "" {
		t.Errorf("%+v", d)
	}
	d = l.start(Seen{Version: "1"}, Go)
	if d.Methods[0] != ByBootOrder {
		t.Errorf("%+v", d)
	}
	l.start(Seen{Version: "1"}, Stop)
	// Where BootNext has worked before, the version is to blame.
	l = newLife(t)
	l.start(Seen{Version: "1"}, Go)
	l.start(Seen{Version: "1", Healthy: true, Ran: true}, Go)
	if d := l.start(Seen{Version: "1"}, Go); d.Methods[0] != ByBootNext {
		t.Errorf("%+v", d)
	}
}

// Whatever comes back, Plan ends in a decision, bounded and repeatable, and a
// version never starts more than MaxStarts times without health or a person.
func TestPlanBounded(t *testing.T) {
	for bits := range 1 << 6 {
		on := func(i int) bool { return bits>>i&1 == 1 }
		l := newLife(t)
		stops, row := 0, 0
		for range 40 {
			s := Seen{Version: "7", Ran: on(0), Left: Left{BootNext: on(1), GRUB: on(2)}, Now: l.now.Add(time.Minute)}
			if on(3) {
				s.Previous = "6"
			}
			if on(4) {
				s.Now = time.Time{}
			}
			d := Plan(l.h, s)
			if again := Plan(l.h, s); !reflect.DeepEqual(d, again) {
				t.Fatal("Plan is not repeatable")
			}
			if len(d.Methods) != 3 || len(d.Health.Bad) > maxBad || len(d.Messages) > 3 {
				t.Fatalf("%+v", d)
			}
			l.h = d.Health
			if d.Action == Go {
				if row++; row > MaxStarts+2 { // two methods may be found ignored first
					t.Fatalf("bits %b: %d starts in a row: %+v", bits, row, l.h)
				}
				l.h = l.h.HandedOff("7", d.Methods[0], l.now)
				continue
			}
			stops, row = stops+1, 0
		}
		if stops == 0 {
			t.Errorf("bits %b: never stopped", bits)
		}
	}
}

func TestParseHealth(t *testing.T) {
	for _, bad := range []string{"x", `{"starts":"3"}`, `[]`} {
		if h, err := ParseHealth([]byte(bad)); err == nil || !reflect.DeepEqual(h, Health{}) {
			t.Errorf("%s: %+v, %v", bad, h, err)
		}
	}
	if h, err := ParseHealth([]byte(`{"starts":-5}`)); err != nil || h.Starts != 0 {
		t.Errorf("%+v, %v", h, err)
	}
	if h, err := ParseHealth(nil); err != nil || !reflect.DeepEqual(h, Health{}) {
		t.Errorf("%+v, %v", h, err)
	}
}

func FuzzParseHealth(f *testing.F) {
	seed, err := json.Marshal(Health{Version: "1", Starts: 2, Method: ByGRUB, Bad: []string{"3"}})
	if err != nil || len(seed) == 0 {
		f.Fatal("no seed", err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := ParseHealth(b); err == nil {
			Plan(h, Seen{Version: "1", Previous: "2"})
		}
	})
}

func TestFirmware(t *testing.T) {
	dir := t.TempDir()
	fw := efitest.New()
	open := func() (efiboot.Variables, error) { return fw, nil }
	f, err := firmwareAt(dir+"/none", open)
	if err != nil || f.Kind != BIOS || !errors.Is(f.Supported(), ErrNotEFI) || !strings.Contains(f.Supported().Error(), "Windows 11 needs UEFI") {
		t.Errorf("%+v, %v", f, err)
	}
	if f, err = firmwareAt(dir, open); err != nil || f != (FirmwareInfo{Kind: UEFI}) || f.Supported() != nil {
		t.Errorf("%+v, %v", f, err)
	}
	fw.Vars["SecureBoot"], fw.Vars["SetupMode"] = []byte{1}, []byte{0}
	if f, err = firmwareAt(dir, open); err != nil || !f.SecureBoot || f.SetupMode {
		t.Errorf("%+v, %v", f, err)
	}
	fw.Vars["SecureBoot"], fw.Vars["SetupMode"] = []byte{0}, []byte{1}
	if f, err = firmwareAt(dir, open); err != nil || f.SecureBoot || !f.SetupMode {
		t.Errorf("%+v, %v", f, err)
	}
	fw.Vars["SetupMode"] = nil
	if f, err = firmwareAt(dir, open); !errors.Is(err, ErrFirmware) || f.Kind != UEFI {
		t.Errorf("%+v, %v", f, err)
	}
	_, err = firmwareAt(dir, func() (efiboot.Variables, error) { return nil, syscall.EIO })
	if !errors.Is(err, ErrFirmware) {
		t.Error(err)
	}
	here, err := Firmware()
	if _, stat := os.Stat("/sys/firmware/efi"); errors.Is(stat, fs.ErrNotExist) && (here.Kind != BIOS || err != nil) {
		t.Errorf("this machine: %+v, %v", here, err)
	}
}

func TestRenewed(t *testing.T) {
	h := Health{Version: "a@1", Starts: MaxStarts, Proven: true, Worked: []Method{ByGRUB}, Bad: []string{"a@1", "a@2"}}
	r := h.Renewed("a@1").HandedOff("a@1", ByGRUB, time.Time{})
	if r.Starts != 1 || r.Proven || r.Refuses("a@1") || !r.Refuses("a@2") || len(r.Worked) != 1 {
		t.Errorf("after a new start: %+v", r)
	}
	if !h.Refuses("a@1") || h.Starts != MaxStarts {
		t.Errorf("the old record was changed: %+v", h)
	}
}
