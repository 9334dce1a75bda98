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
