package rooms

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/state"
)

// BenchmarkCheckIn1000 is a thousand machines that check in at the same instant, without the
// network.
func BenchmarkCheckIn1000(b *testing.B) {
	k := benchKeeper(b, benchMachines)
	for b.Loop() {
		checkInAll(b, k, benchMachines)
	}
}

// checkInAll lets n machines check in at the same instant.
func checkInAll(b *testing.B, k *Keeper, n int) {
	b.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if _, err := k.Order(b.Context(), peer(i), protocol.CheckIn{Protocol: protocol.Version, Machine: machine(i), Image: "win11", Version: 1}); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
}

// BenchmarkStatus1000 is what the status page asks for.
func BenchmarkStatus1000(b *testing.B) {
	k := benchKeeper(b, benchMachines)
	checkInAll(b, k, benchMachines)
	for b.Loop() {
		if s := k.Status(); len(s.Rooms) != benchMachines/40 || len(k.Hosts("")) != benchMachines {
			b.Fatal(s)
		}
	}
}

// BenchmarkLarge is a lab of 10,000 machines, in two rooms or in rooms of forty, of which all but
// the first wait for the first: what the page and the clock ask for.
func BenchmarkLarge(b *testing.B) {
	for _, rooms := range []int{2, benchLarge / 40} {
		k := largeKeeper(b, rooms)
		if h, _, err := k.Host("m1"); err != nil || h.Phase != PhaseOutdated || h.Reason == "" {
			b.Fatal(h, err)
		}
		for name, do := range map[string]func(){
			"status": func() { k.Status() }, "hosts": func() { k.Hosts("") }, "tick": func() { k.Tick() },
			"page": func() { k.Overview() },
		} {
			b.Run(fmt.Sprintf("%d rooms/%s", rooms, name), func(b *testing.B) {
				used := cpuTime(b)
				for b.Loop() {
					do()
				}
				b.ReportMetric(float64((cpuTime(b)-used).Microseconds())/1000/float64(b.N), "CPU-ms/op")
			})
		}
	}
}

// cpuTime is what this process has used: on a machine with other work the clock tells little.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// largeKeeper knows benchLarge machines in so many rooms. Those of every room but the first wait
// for the first.
func largeKeeper(b *testing.B, rooms int) *Keeper {
	b.Helper()
	var text strings.Builder
	text.WriteString("format: 1\nzone: UTC\nimages: [win11]\ndefaults: {image: win11, always: true, wave: 1}\nrooms:\n")
	for i := range rooms {
		after := ""
		if i > 0 {
			after = "{after: r0}"
		}
		fmt.Fprintf(&text, "  r%d: %s\n", i, after)
	}
	text.WriteString("hosts:\n")
	for i := range benchLarge {
		fmt.Fprintf(&text, "  - {name: m%d, room: r%d, mac: %q}\n", i, i%rooms, name(i))
	}
	k := openKeeper(b, b.TempDir(), text.String())
	for i := range rooms {
		if _, err := k.Promote(b.Context(), Promotion{Room: fmt.Sprint("r", i), Version: 2}); err != nil {
			b.Fatal(err)
		}
	}
	checkInAll(b, k, benchLarge)
	return k
}

// BenchmarkNight1000 is a thousand machines that check in within two seconds and report, by mutual
// TLS and beside that by plain HTTP: the CPU time of the server for each, the 99th percentile of a
// check-in, and the server's memory.
func BenchmarkNight1000(b *testing.B) {
	for _, plain := range []bool{true, false} {
		b.Run(map[bool]string{true: "plain", false: "TLS"}[plain], func(b *testing.B) {
			for b.Loop() {
				f := newFarm(b, benchMachines)
				f.plain = plain
				f.start()
				took := f.nights(0)
				held := f.memory()
				f.kill()
				used := f.cmd.ProcessState.UserTime() + f.cmd.ProcessState.SystemTime()
				b.ReportMetric(float64(used.Milliseconds())/benchMachines, "CPU-ms/machine")
				b.ReportMetric(float64(took[benchMachines*99/100].Milliseconds()), "p99-ms")
				b.ReportMetric(float64(held>>20), "MB")
			}
		})
	}
}

const (
	benchMachines = 1000
	benchLarge    = 10_000
)

func benchKeeper(b *testing.B, machines int) *Keeper {
	b.Helper()
	f := newFarm(b, machines)
	text, err := os.ReadFile(filepath.Join(f.dir, "lab.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	return openKeeper(b, f.dir, string(text))
}

// openKeeper is a Keeper in a folder, with a lab.yaml.
func openKeeper(b *testing.B, dir, text string) *Keeper {
	b.Helper()
	path := filepath.Join(dir, "lab.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
	file, err := lab.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	st, err := state.Open(filepath.Join(dir, "state.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { st.Close() })
	k, err := New(&Options{Lab: file, State: st, Sizes: fixedSizes{}})
	if err != nil {
		b.Fatal(err)
	}
	return k
}
