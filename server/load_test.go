package server

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"troy/netfetch"
	"troy/server/protocol"
)

// TestManyMachines has a crowd check in, fetch a range and report, all at
// once. TROY_SOAK=1 has 1000 machines; the slowest check-in in a hundred is logged.
func TestManyMachines(t *testing.T) {
	machines := 100
	if os.Getenv("TROY_SOAK") == "1" {
		machines = 1000
	}
	dir, pack := store(t)
	var reported sync.Map
	_, web := newServer(t, Options{Dir: dir, OnReport: func(_ protocol.Peer, r protocol.Report) { reported.Store(r.Machine.String(), true) }})
	took := make([]time.Duration, machines)
	var wg sync.WaitGroup
	for i := range machines {
		wg.Go(func() {
			h, err := netfetch.NewHTTP(web.URL, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer h.Reconnect()
			m := protocol.Machine{Ports: []protocol.Port{{MAC: fmt.Sprintf("52:54:00:00:%02x:%02x", i>>8, i&255)}}}
			begin := time.Now()
			var o protocol.Order
			if err := h.PostJSON(t.Context(), protocol.PathCheckIn, protocol.CheckIn{Protocol: protocol.Version, Machine: m}, &o); err != nil || o.Want.Version != 2 {
				t.Errorf("machine %d: %+v, %v", i, o, err)
			}
			took[i] = time.Since(begin)
			off := int64(i * 997)
			if b, err := h.ReadRange(t.Context(), "repo/objects/ab/ab12.pack", off, 100_000); err != nil || !bytes.Equal(b, pack[off:off+100_000]) {
				t.Errorf("machine %d: %v", i, err)
			}
			r := protocol.Report{Protocol: protocol.Version, ID: "x", Machine: m, Outcome: protocol.OutcomeDone, Image: o.Want.Image, Version: o.Want.Version}
			if err := h.PostJSON(t.Context(), protocol.PathReport, r, nil); err != nil {
				t.Errorf("machine %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	n := 0
	for range reported.Range {
		n++
	}
	if n != machines {
		t.Errorf("%d of %d machines reported", n, machines)
	}
	slices.Sort(took)
	t.Logf("%d machines: check-in median %v, 99 %% under %v", machines, took[machines/2], took[machines*99/100])
}
