package trial

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"troy/trial/vm"
)

// What docs/real-windows.md says of a usual Windows, and that a small one is told less.
func TestEstimate(t *testing.T) {
	const gb, gib = 1e9, 1 << 30
	o := &Options{Cuts: 20}
	s := &Source{Medium: true, Setup: true, Bytes: 15 * gib}
	near := func(what string, got, want float64) {
		t.Helper()
		if got < want*0.85 || got > want*1.15 {
			t.Errorf("%s: %.1f, want about %.0f", what, got, want)
		}
	}
	whole := estimate(o, s, true)
	near("GB", float64(whole.Bytes)/gb, 125)
	near("minutes", whole.Time.Minutes(), 60)
	short := *o
	short.Until = "broken"
	near("GB until broken", float64(estimate(&short, s, true).Bytes)/gb, 75)
	slow := estimate(o, s, false)
	near("hours without KVM", slow.Time.Hours(), 10)
	small := estimate(o, &Source{Medium: true, Setup: true, Bytes: 128 << 20}, false)
	if small.Time > slow.Time/4 || small.Time < time.Hour {
		t.Errorf("a small Windows without KVM: %s, a usual one %s", small.Time, slow.Time)
	}
	for held := int64(1 << 30); held <= 64*gib; held *= 2 {
		a, b := estimate(o, &Source{Bytes: held}, true), estimate(o, &Source{Bytes: 2 * held}, true)
		if b.Time < a.Time || b.Bytes <= a.Bytes {
			t.Errorf("%d bytes: %s; twice as many: %s", held, a, b)
		}
	}
}

func TestRoundTime(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Second: "1 minutes", 90 * time.Second: "2 minutes", 2*time.Hour - time.Minute: "119 minutes",
		2 * time.Hour: "2 hours", 47 * time.Hour: "47 hours", 48 * time.Hour: "2 days",
	} {
		if got := roundTime(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

func TestFreeMemory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "meminfo")
	for text, want := range map[string]int64{
		"MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:    8000000 kB\n": 8000000 << 10,
		"MemTotal: 16000000 kB\n": -1,
		"MemAvailable: many kB\n": -1,
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := freeMemory(file)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
}

// The PCs keep the firmware that they began with.
func TestSameFirmware(t *testing.T) {
	tr := &Trial{host: &Host{Firmware: &vm.Firmware{Secure: true}}}
	for range 2 {
		if err := tr.sameFirmware(); err != nil {
			t.Fatal(err)
		}
	}
	tr.host.Firmware = &vm.Firmware{}
	if err := tr.sameFirmware(); err == nil {
		t.Error("the firmware is another one, and nothing is said")
	}
}
