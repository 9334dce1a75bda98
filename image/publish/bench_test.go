package publish_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"troy/image"
	"troy/image/publish"
	"troy/internal/testing/imagetest"
)

// work is what something took: by the clock, and of the processors.
type work struct {
	clock, cpu time.Duration
	ratio      float64
}

// besideZstd runs the zstd program on the same bytes, at the same level and with as many threads,
// and returns the best of three runs.
func besideZstd(b *testing.B, data []byte, threads int) (best work) {
	b.Helper()
	in := filepath.Join(b.TempDir(), "data")
	if err := os.WriteFile(in, data, 0o644); err != nil {
		b.Fatal(err)
	}
	best = work{clock: math.MaxInt64, cpu: math.MaxInt64}
	for range 3 {
		cmd := exec.Command("zstd", "-q", "-f", fmt.Sprintf("-%d", publish.DefaultLevel), fmt.Sprintf("-T%d", threads), "-o", in+".zst", in)
		began := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("zstd: %v\n%s", err, out)
		}
		best.clock = min(best.clock, time.Since(began))
		best.cpu = min(best.cpu, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	}
	st, err := os.Stat(in + ".zst")
	if err != nil {
		b.Fatal(err)
	}
	best.ratio = float64(len(data)) / float64(st.Size())
	return best
}

// ownCPU is what this process has used of the processors.
func ownCPU(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPublish publishes data that is all new, on one core and on two, beside zstd on the same
// bytes.
func BenchmarkPublish(b *testing.B) {
	s := imagetest.Programs(b, 128<<20)
	onCores(b, s.Data, func(b *testing.B) {
		b.StopTimer()
		store := imagetest.NewStore(b)
		b.StartTimer()
		m, err := publish.Import(b.Context(), store, "pc", s.Disk(nil), nil)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(m.Figures.Ratio(), "ratio")
	})
}

// onCores runs do, which publishes data once, with one and with two cores.
func onCores(b *testing.B, data []byte, do func(b *testing.B)) {
	for _, cores := range []int{1, 2} {
		b.Run(fmt.Sprintf("%d-cores", cores), func(b *testing.B) {
			zstd := besideZstd(b, data, cores)
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
			b.SetBytes(int64(len(data)))
			before := ownCPU(b)
			for b.Loop() {
				do(b)
			}
			cpu := (ownCPU(b) - before).Seconds() / float64(b.N)
			size := float64(len(data)) / 1e6
			b.ReportMetric(size/zstd.clock.Seconds(), "zstd-MB/s")
			b.ReportMetric(zstd.clock.Seconds()*float64(b.N)/b.Elapsed().Seconds(), "speed-of-zstd")
			b.ReportMetric(size/cpu, "MB/cpu-s") // other work on the machine does not change these two much
			b.ReportMetric(size/zstd.cpu.Seconds(), "zstd-MB/cpu-s")
			b.ReportMetric(zstd.ratio, "zstd-ratio")
		})
	}
}

func benchImport(b *testing.B, workers int) {
	s := imagetest.Programs(b, 128<<20)
	b.SetBytes(int64(len(s.Data)))
	for b.Loop() {
		b.StopTimer()
		store := imagetest.NewStore(b)
		b.StartTimer()
		m, err := publish.Import(b.Context(), store, "pc", s.Disk(nil), &publish.Options{Workers: workers})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(m.Figures.Ratio(), "ratio")
	}
}

func BenchmarkImport1Core(b *testing.B) { benchImport(b, 1) }

func BenchmarkImport2Cores(b *testing.B) { benchImport(b, 2) }

// BenchmarkScan is the comparison alone: a child that names everything and changes one page; the
// version below is looked through for its content as well.
func BenchmarkScan(b *testing.B) {
	v1 := imagetest.Programs(b, 128<<20)
	v2 := &imagetest.State{Data: bytes.Clone(v1.Data), ID: imagetest.GUID(2), Diff: []image.Range{{Offset: 0, Length: int64(len(v1.Data))}}}
	v2.Data[77] ^= 1
	store := imagetest.NewStore(b)
	if _, err := publish.Import(b.Context(), store, "pc", v1.Disk(nil), &publish.Options{Level: 1}); err != nil {
		b.Fatal(err)
	}
	onCores(b, v1.Data, func(b *testing.B) {
		m, err := publish.Add(b.Context(), store, "pc", v2.Disk(v1), nil)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := publish.Remove(b.Context(), store, "pc", m.Version); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	})
}
