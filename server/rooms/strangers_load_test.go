package rooms

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"troy/server/protocol"
)

// flood has n machines that do not exist check in and report over HTTP, from a few connections.
func (f *farm) flood(b testing.TB, n int) {
	const clients = 8
	var wg sync.WaitGroup
	for c := range clients {
		p := f.pc(c)
		wg.Go(func() {
			for i := c; i < n; i += clients {
				in, r := forged(i)
				var o protocol.Order
				if err := p.post(protocol.PathCheckIn, in, &o); err != nil && !strings.Contains(err.Error(), "503") {
					b.Error(err)
					return
				}
				if err := p.post(protocol.PathReport, r, &protocol.Ack{}); err != nil && !strings.Contains(err.Error(), "403") {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkStrangers is what 10,000 machines that do not exist, with all that calls can hold, take
// of the server's memory and of its disk.
func BenchmarkStrangers(b *testing.B) {
	const strangers = 10_000
	for b.Loop() {
		f := newFarm(b, 40)
		f.start()
		f.flood(b, strangers)
		held := f.memory()
		f.kill()
		info, err := os.Stat(filepath.Join(f.dir, "state.db"))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(held)/1e6, "MB-memory")
		b.ReportMetric(float64(info.Size())/1e6, "MB-state.db")
		b.ReportMetric(float64(info.Size())/strangers, "B/stranger")
	}
}
