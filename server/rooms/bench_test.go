package rooms

import (
	"path/filepath"
	"sync"
	"testing"

	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/state"
)

// BenchmarkCheckIn1000 is a thousand machines that check in at the same instant, without the
// network.
func BenchmarkCheckIn1000(b *testing.B) {
	k := benchKeeper(b, benchMachines)
	for b.Loop() {
		var wg sync.WaitGroup
		for i := range benchMachines {
			wg.Go(func() {
				if _, err := k.Order(b.Context(), protocol.Peer{}, protocol.CheckIn{Protocol: protocol.Version, Machine: machine(i), Image: "win11", Version: 1}); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

// BenchmarkStatus1000 is what the status page asks for.
func BenchmarkStatus1000(b *testing.B) {
	k := benchKeeper(b, benchMachines)
	for i := range benchMachines {
		if _, err := k.Order(b.Context(), protocol.Peer{}, protocol.CheckIn{Protocol: protocol.Version, Machine: machine(i), Image: "win11", Version: 1}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if s := k.Status(); len(s.Rooms) != benchMachines/40 || len(k.Hosts("")) != benchMachines {
			b.Fatal(s)
		}
	}
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

const benchMachines = 1000

func benchKeeper(b *testing.B, machines int) *Keeper {
	b.Helper()
	f := newFarm(b, machines)
	file, err := lab.Open(filepath.Join(f.dir, "lab.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	st, err := state.Open(filepath.Join(f.dir, "state.db"), nil)
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
