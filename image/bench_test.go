package image

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// benchState is a disk full of real programs: DLLs of TROY_CACHE/programs, one behind the other.
func benchState(b *testing.B, size int64) *state {
	b.Helper()
	files, err := filepath.Glob(filepath.Join(os.Getenv("TROY_CACHE"), "programs/wine/usr/lib/*/wine/x86_64-windows/*.dll"))
	if err != nil || len(files) == 0 {
		b.Fatalf("no programs in TROY_CACHE, run make deps: %v", err)
	}
	s := &state{data: make([]byte, 0, size), id: guid(1)}
	for _, f := range files {
		c, err := os.ReadFile(f)
		if err != nil {
			b.Fatal(err)
		}
		c = append(c, make([]byte, -len(c)&(PageSize-1))...)
		s.data = append(s.data, c[:min(int64(len(c)), size-int64(len(s.data)))]...)
	}
	if int64(len(s.data)) != size {
		b.Fatalf("%d bytes of programs", len(s.data))
	}
	return s
}

// work is what something took: by the clock, and of the processors.
type work struct {
	clock, cpu time.Duration
	ratio      float64
}

// besideZstd runs the zstd program on the same bytes, at the same level and with as many threads, and returns the best of three runs.
func besideZstd(b *testing.B, data []byte, threads int) (best work) {
	b.Helper()
	in := filepath.Join(b.TempDir(), "data")
	if err := os.WriteFile(in, data, 0o644); err != nil {
		b.Fatal(err)
	}
	best = work{clock: math.MaxInt64, cpu: math.MaxInt64}
	for range 3 {
		cmd := exec.Command("zstd", "-q", "-f", fmt.Sprintf("-%d", DefaultLevel), fmt.Sprintf("-T%d", threads), "-o", in+".zst", in)
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

// BenchmarkPublish publishes data that is all new, on one core and on two, beside zstd on the same bytes.
func BenchmarkPublish(b *testing.B) {
	s := benchState(b, 128<<20)
	onCores(b, s.data, func(b *testing.B) {
		b.StopTimer()
		store := newStore(b)
		b.StartTimer()
		m, err := store.Import(b.Context(), "pc", s.disk(nil), nil)
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

// discardAt is a sink that only counts.
type discardAt struct{}

func (discardAt) WriteAt(p []byte, off int64) (int, error) { return len(p), nil }

func benchImport(b *testing.B, workers int) {
	s := benchState(b, 128<<20)
	b.SetBytes(int64(len(s.data)))
	for b.Loop() {
		b.StopTimer()
		store := newStore(b)
		b.StartTimer()
		m, err := store.Import(b.Context(), "pc", s.disk(nil), &PublishOptions{Workers: workers})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(m.Figures.Ratio(), "ratio")
	}
}

func BenchmarkImport1Core(b *testing.B)  { benchImport(b, 1) }
func BenchmarkImport2Cores(b *testing.B) { benchImport(b, 2) }

// BenchmarkScan is the comparison alone: a child that names everything and changes one page; the version below is looked through for its content, too.
func BenchmarkScan(b *testing.B) {
	v1 := benchState(b, 128<<20)
	v2 := &state{data: bytes.Clone(v1.data), id: guid(2), diff: []Range{{0, int64(len(v1.data))}}}
	v2.data[77] ^= 1
	store := newStore(b)
	if _, err := store.Import(b.Context(), "pc", v1.disk(nil), &PublishOptions{Level: 1}); err != nil {
		b.Fatal(err)
	}
	onCores(b, v1.data, func(b *testing.B) {
		m, err := store.Add(b.Context(), "pc", v2.disk(v1), nil)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := store.Remove(b.Context(), "pc", m.Version); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	})
}

// BenchmarkFetch plans and fetches a version from nothing, from a folder into nowhere.
func BenchmarkFetch(b *testing.B) {
	s := benchState(b, 128<<20)
	store := newStore(b)
	if _, err := store.Import(b.Context(), "pc", s.disk(nil), nil); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(s.data)))
	for b.Loop() {
		p, err := LoadPlan(b.Context(), store, "pc", 0, 1)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Fetch(b.Context(), store, discardAt{}, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPlan plans the way over a version of 200,000 scattered pages on a disk of 64 GiB.
func BenchmarkPlan(b *testing.B) {
	r := seeded(b, 1)
	const size = 64 << 30
	page := make([]byte, PageSize)
	fill(r, page)
	v1 := &Disk{Reader: zeroDisk{}, Size: size, SectorSize: 512, DataWriteGUID: guid(1), Data: rangeSeq(nil)}
	v2 := *v1
	v2.DataWriteGUID, v2.Reader = guid(2), stripedDisk{page}
	v2.Since = func(string) (*Delta, error) {
		var l []Range
		for i := range int64(200000) {
			l = append(l, Range{i * 2 * PageSize, PageSize})
		}
		return &Delta{Parent: zeroDisk{}, ParentSize: size, Changed: rangeSeq(l)}, nil
	}
	store := newStore(b)
	if _, err := store.Import(b.Context(), "pc", v1, nil); err != nil {
		b.Fatal(err)
	}
	if _, err := store.Add(b.Context(), "pc", &v2, &PublishOptions{Level: 1}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		p, err := LoadPlan(b.Context(), store, "pc", 1, 2)
		if err != nil || len(p.Runs()) < 200000 {
			b.Fatal(err)
		}
	}
}

// zeroDisk reads as zeros, stripedDisk as a page of data in every second one of the first.
type zeroDisk struct{}

func (zeroDisk) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }

type stripedDisk struct{ page []byte }

func (s stripedDisk) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	for i := int64(0); i < int64(len(p)); i += PageSize {
		if n := (off + i) / PageSize; n%2 == 0 && n < 200000*2 {
			copy(p[i:], s.page)
		}
	}
	return len(p), nil
}

var _ io.ReaderAt = stripedDisk{}
