package chainload

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"troy/chainload/efiboot"
	"troy/internal/format"
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

// start is one start of the agent, a minute after the last. It hands over by the first method; the
// Health is kept as JSON in between.
func (l *life) start(s Seen, want Verdict) Judgement {
	l.t.Helper()
	l.now = l.now.Add(time.Minute)
	if s.Now.IsZero() {
		s.Now = l.now
	} else {
		l.now = s.Now
	}
	d := Judge(l.h, s)
	if d.Verdict != want {
		l.t.Fatalf("%q with %+v and %+v, want %q (%q)", d.Verdict, l.h, s, want, d.Messages)
	}
	l.h = kept(l.t, d.Health.HandedOff(s.Version, d.Methods[0], l.now))
	return d
}

// kept is what a start finds of what the one before kept.
func kept(t *testing.T, h Health) Health {
	t.Helper()
	b, err := format.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseHealth(b)
	again, _ := format.Marshal(k)
	if err != nil || string(again) != string(b) {
		t.Fatalf("%s reads back as %s, %v", b, again, err)
	}
	return k
}

func TestHealthyLife(t *testing.T) {
	l := newLife(t)
	l.start(Seen{Version: "1"}, Unknown)
	for range 10 {
		d := l.start(Seen{Version: "1", Healthy: true, Ran: true}, Good)
		if d.worked != ByBootNext || !slices.Equal(d.Methods, allMethods()) {
			t.Errorf("%+v", d)
		}
	}
}

// The rule of three: never good, three hand-offs within loopWindow, and none of them closed in
// order.
func TestVerdict(t *testing.T) {
	t0 := time.Date(2026, 1, 2, 8, 0, 0, 0, time.UTC)
	at := func(minutes ...int) (times []time.Time) {
		for _, m := range minutes {
			times = append(times, t0.Add(time.Duration(m)*time.Minute))
		}
		return times
	}
	for name, c := range map[string]struct {
		h    Health
		s    Seen
		want Verdict
	}{
		"never started":                               {Health{}, Seen{}, Unknown},
		"two in vain":                                 {Health{Starts: 2, Times: at(0, 1)}, Seen{Ran: true}, Unknown},
		"three in vain":                               {Health{Starts: 3, Times: at(0, 1, 2)}, Seen{Ran: true}, Failing},
		"three within 30 minutes":                     {Health{Starts: 3, Times: at(0, 1, 30)}, Seen{Ran: true}, Failing},
		"three within 31 minutes":                     {Health{Starts: 3, Times: at(0, 1, 31)}, Seen{Ran: true}, Unknown},
		"the last three of many":                      {Health{Starts: 9, Times: at(100, 110, 120)}, Seen{Ran: true}, Failing},
		"switched off, day by day":                    {Health{Starts: 9, Times: at(0, 1440, 2880)}, Seen{Ran: true}, Unknown},
		"a clock that jumped back":                    {Health{Starts: 3, Times: at(0, 500, 40)}, Seen{Ran: true}, Failing},
		"a clock not known":                           {Health{Starts: 3, Times: []time.Time{{}, {}, {}}}, Seen{Ran: true}, Failing},
		"good once":                                   {Health{Starts: 9, Times: at(0, 1, 2), Proven: true}, Seen{Ran: true}, Unknown},
		"good now":                                    {Health{Starts: 3, Times: at(0, 1, 2)}, Seen{Ran: true, Healthy: true}, Good},
		"good, not started since":                     {Health{Proven: true}, Seen{}, Good},
		"the disk cannot be read":                     {Health{Starts: 3, Times: at(0, 1, 2)}, Seen{Blind: true}, Unknown},
		"whether it was closed cannot be told":        {Health{Starts: 3, Times: at(0, 1, 2)}, Seen{Ran: true, Untold: true}, Unknown},
		"another version":                             {Health{Starts: 3, Times: at(0, 1, 2), Version: "0"}, Seen{Ran: true}, Unknown},
		"twice nothing written":                       {Health{Starts: 2, Times: at(0, 1), Unwritten: 1, Method: ByBootNext, Worked: []Method{ByBootNext}}, Seen{}, Failing},
		"nothing written, by a way that never worked": {Health{Starts: 2, Times: at(0, 1), Unwritten: 1, Method: ByBootNext}, Seen{}, Unknown},
		"the firmware ignored it":                     {Health{Starts: 3, Times: at(0, 1, 2), Method: ByBootNext}, Seen{Left: Left{BootNext: true}}, Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			if c.h.Version == "" {
				c.h.Version = "1"
			}
			c.s.Version, c.s.Now = "1", t0.Add(72*time.Hour)
			if d := Judge(c.h, c.s); d.Verdict != c.want {
				t.Errorf("%q (%+v, %q), want %q", d.Verdict, d.Health, d.Messages, c.want)
			}
		})
	}
}

// A version that is given up stays so until the admin permits another try, and a sign of health
// clears it.
func TestGivenUp(t *testing.T) {
	h := Health{Version: "2", Starts: 3}.GivenUp("2")
	if !h.Refuses("2") || h.Refuses("1") || h.Renewed("2").Refuses("2") || h.Retried().Refuses("2") || len(h.GivenUp("2").Bad) != 1 {
		t.Errorf("%+v", h)
	}
	if d := Judge(h, Seen{Version: "2", Ran: true, Healthy: true}); d.Health.Refuses("2") || d.Verdict != Good {
		t.Errorf("%+v", d)
	}
	if !h.Refuses("2") {
		t.Error("Judge changed its argument")
	}
}

// People who switch off a version that was good do not make it a failing one, however often.
func TestProvenVersion(t *testing.T) {
	l := newLife(t)
	l.start(Seen{Version: "1"}, Unknown)
	l.start(Seen{Version: "1", Healthy: true, Ran: true}, Good)
	for range 10 {
		l.start(Seen{Version: "1", Ran: true}, Unknown)
	}
	if l.h.Wrote != 11 {
		t.Errorf("%+v", l.h)
	}
}

func TestBlind(t *testing.T) {
	l := newLife(t)
	l.start(Seen{Version: "1"}, Unknown)
	for range 10 {
		if d := l.start(Seen{Version: "1", Blind: true}, Unknown); len(d.Health.Ignored) != 0 {
			t.Errorf("%+v", d)
		}
	}
}

// Firmware that leaves BootNext set: the next method is taken, and no start is
// counted against the version.
func TestBootNextLeft(t *testing.T) {
	l := newLife(t)
	l.start(Seen{Version: "1"}, Unknown)
	d := l.start(Seen{Version: "1", Left: Left{BootNext: true}}, Unknown)
	if !slices.Equal(d.Methods, []Method{ByGRUB, ByBootOrder, ByBootNext}) || d.Health.Starts != 0 || !strings.Contains(d.Messages[0], "ignored BootNext") {
		t.Errorf("%+v", d)
	}
	d = l.start(Seen{Version: "1", Ran: true, Healthy: true}, Good)
	if d.worked != ByGRUB || d.Methods[0] != ByGRUB || d.Messages[0] != "the last hand-off worked, by GRUB" {
		t.Errorf("%+v", d)
	}
	d = l.start(Seen{Version: "1", Left: Left{GRUB: true}}, Good) // as before: Windows had no chance
	if d.Methods[0] != ByBootOrder {
		t.Errorf("GRUB that cannot write: %+v", d)
	}
}

// Direct starts explain that Windows ran: no alarm, and no start against the version. Firmware that
// left BootNext set started Windows by them alone.
func TestDirectStarts(t *testing.T) {
	l := newLife(t)
	l.start(Seen{Version: "1"}, Unknown)
	l.start(Seen{Version: "1", Ran: true, Healthy: true}, Good)
	for _, s := range []Seen{
		{Version: "1", Ran: true, Healthy: true, Direct: 4},
		{Version: "1", Ran: true, Direct: 1}, // cut off
		{Version: "1", Direct: 3},            // Windows did not come up in any of them
	} {
		want := Unknown
		if s.Healthy {
			want = Good
		}
		d := l.start(s, want)
		if d.Without != "" || d.Methods[0] != ByBootNext || !strings.Contains(d.Messages[0], fmt.Sprint("without the agent: ", s.Direct)) {
			t.Errorf("%+v: %+v", s, d)
		}
	}
	for range 20 {
		l.start(Seen{Version: "1", Ran: true, Direct: 4}, Unknown)
	}
	l.start(Seen{Version: "1", Ran: true, Healthy: true}, Good)
	d := l.start(Seen{Version: "1", Ran: true, Healthy: true, Direct: 2, Left: Left{Firmware: true, BootNext: true}}, Good)
	if d.Without != "" || d.worked != "" || d.Methods[0] != ByGRUB {
		t.Errorf("%+v", d)
	}
	// Where Windows comes first, the agent does not start again by itself: that is said all the same.
	d = l.start(Seen{Version: "1", Ran: true, Healthy: true, Direct: 2, Left: Left{Firmware: true, Behind: true}}, Good)
	if d.Without == "" {
		t.Errorf("%+v", d)
	}
}

// Firmware that takes BootNext and starts the agent again at once.
func TestBootNextTakenAndIgnored(t *testing.T) {
	l := newLife(t)
	l.start(Seen{Version: "1"}, Unknown)
	d := l.start(Seen{Version: "1"}, Unknown)
	if d.Methods[0] != ByGRUB || d.worked != "" {
		t.Errorf("%+v", d)
	}
	d = l.start(Seen{Version: "1"}, Unknown)
	if d.Methods[0] != ByBootOrder {
		t.Errorf("%+v", d)
	}
	l.start(Seen{Version: "1"}, Failing)
	// Where BootNext has worked before, the version is to blame.
	l = newLife(t)
	l.start(Seen{Version: "1"}, Unknown)
	l.start(Seen{Version: "1", Healthy: true, Ran: true}, Good)
	if d := l.start(Seen{Version: "1"}, Unknown); d.Methods[0] != ByBootNext {
		t.Errorf("%+v", d)
	}
}

// Whatever comes back, Judge is repeatable and bounded; a version that gives no sign of health
// within minutes is failing at the latest after MaxStarts hand-offs that the firmware took.
func TestJudgeBounded(t *testing.T) {
	for bits := range 1 << 5 {
		on := func(i int) bool { return bits>>i&1 == 1 }
		l := newLife(t)
		failing := 0
		for range 40 {
			s := Seen{Version: "7", Ran: on(0), Left: Left{BootNext: on(1), GRUB: on(2)}, Now: l.now.Add(time.Minute)}
			if on(3) {
				s.Now = time.Time{}
			}
			d := Judge(l.h, s)
			if again := Judge(l.h, s); !reflect.DeepEqual(d, again) {
				t.Fatal("Judge is not repeatable")
			}
			if len(d.Methods) != 3 || len(d.Health.Bad) > maxBad || len(d.Health.Times) > MaxStarts || len(d.Messages) > 3 {
				t.Fatalf("%+v", d)
			}
			if d.Verdict == Failing {
				failing++
			}
			l.h, l.now = kept(t, d.Health.HandedOff("7", d.Methods[0], s.Now)), l.now.Add(time.Minute)
		}
		if failing < 30 {
			t.Errorf("bits %b: failing at %d of 40 starts", bits, failing)
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
	seed, err := format.Marshal(Health{Version: "1", Starts: 2, Method: ByGRUB, Bad: []string{"3"}})
	if err != nil || len(seed) == 0 {
		f.Fatal("no seed", err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := ParseHealth(b); err == nil {
			Judge(h, Seen{Version: "1"})
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
	if other := h.Renewed("a@2"); other.Starts != MaxStarts || !other.Proven || other.Refuses("a@2") {
		t.Errorf("another version: %+v", other)
	}
	if !h.Refuses("a@1") || h.Starts != MaxStarts {
		t.Errorf("the old record was changed: %+v", h)
	}
}
