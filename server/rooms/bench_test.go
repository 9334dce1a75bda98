package rooms

import (
	"path/filepath"
	"sync"
	"testing"

	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/state"
)

// BenchmarkCheckIn1000 is a thousand machines that check in at the same instant, without the network.
func BenchmarkCheckIn1000(b *testing.B) {
	const machines = 1000
	f := newFarm(b, machines)
	file, err := lab.Open(filepath.Join(f.dir, "lab.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	st, err := state.Open(filepath.Join(f.dir, "state.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	k, err := New(&Options{Lab: file, State: st, Sizes: fixedSizes{}})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		var wg sync.WaitGroup
		for i := range machines {
			wg.Go(func() {
				if _, err := k.Order(b.Context(), protocol.CheckIn{Protocol: protocol.Version, Machine: machine(i), Image: "win11", Version: 1}); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
}
