package blockdev

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"troy/internal/block"
)

// BenchmarkWrite64K writes scattered 64 KiB pieces from aligned memory with as many
// callers as the queue is to be deep, and flushes at the end.
func BenchmarkWrite64K(b *testing.B) {
	const size, piece = 1 << 30, 64 << 10
	path := filepath.Join(b.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		b.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		b.Fatal(err)
	}
	for _, buffered := range []bool{false, true} {
		d, err := Open(path, &Options{buffered: buffered})
		if err != nil {
			b.Fatal(err)
		}
		defer d.Close()
		for _, depth := range []int{1, 4, 8, 16} {
			b.Run(fmt.Sprintf("buffered=%v/depth=%d", buffered, depth), func(b *testing.B) {
				b.SetBytes(piece)
				var left atomic.Int64
				left.Store(int64(b.N))
				var wg sync.WaitGroup
				for w := range depth {
					wg.Go(func() {
						rng := rand.New(rand.NewPCG(1, uint64(w)))
						p := block.Aligned(piece)
						for left.Add(-1) >= 0 {
							if _, err := d.WriteAt(p, rng.Int64N(size/piece)*piece); err != nil {
								b.Error(err)
							}
						}
					})
				}
				wg.Wait()
				if err := d.Sync(); err != nil {
					b.Error(err)
				}
			})
		}
	}
}
